//! Operations: work that takes longer than a request, watched and cancelled through the API.
//!
//! An operation is stored when it begins and when it ends, so that what became of it can be asked for after a restart;
//! its progress in between is in memory. One that was running when the daemon ended has failed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgestack_model::Problem;
use edgestack_model::operation::{Operation, OperationPhase, Progress};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::store::{Store, StoreError, Transaction};

/// Prefix of stored operations.
pub const OPERATIONS: &str = "operations/";
/// Operations that are kept; the oldest that have ended give way.
pub const OPERATIONS_MAX: usize = 256;
/// Operations that run at the same time.
pub const RUNNING_MAX: usize = 4;

/// All operations.
pub struct Operations {
    store: Arc<dyn Store>,
    running: Mutex<HashMap<String, Arc<Running>>>,
}

/// An operation that is being worked on, as its work sees it.
pub struct Running {
    state: watch::Sender<Operation>,
    cancelled: AtomicBool,
}

/// How an operation ended.
pub enum Ending {
    /// It is done, with this result.
    Succeeded(Value),
    /// It could not be done.
    Failed(Problem),
    /// It was given up.
    Cancelled,
}

/// Why an operation was not begun or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// There are too many.
    #[error("{RUNNING_MAX} operations are running already; wait for one of them")]
    TooMany,
    /// There is no such operation.
    #[error("there is no operation `{0}`")]
    NotFound(String),
    /// It has ended.
    #[error("the operation `{0}` has ended; there is nothing to cancel")]
    Ended(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Running {
    /// Says how far the work is; false when it should be given up.
    pub fn advance(&self, step: &str, done: u64, total: u64) -> bool {
        self.state.send_modify(|operation| operation.progress = Progress::new(step, done, total));
        !self.cancelled.load(Ordering::Relaxed)
    }
}

impl Operations {
    /// The operations of a store. Those that are said to run were cut off.
    pub fn new(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        for mut operation in read_all(store.as_ref())? {
            if operation.phase == OperationPhase::Running {
                operation.phase = OperationPhase::Failed;
                operation.ended_at = Some(Timestamp::now());
                operation.error = Some(cut_off());
                store.commit(Transaction::default().put(key(&operation.id), encode(&operation)))?;
            }
        }
        Ok(Self { store, running: Mutex::default() })
    }

    /// Begins an operation whose `work` runs on a thread that may block.
    pub fn begin(
        self: &Arc<Self>,
        action: &str,
        target: &str,
        work: impl FnOnce(&Running) -> Ending + Send + 'static,
    ) -> Result<Operation, OperationError> {
        let operation = Operation {
            id: Uuid::now_v7().to_string(),
            action: action.to_owned(),
            target: target.to_owned(),
            phase: OperationPhase::Running,
            progress: Progress::default(),
            result: Value::Null,
            error: None,
            created_at: Timestamp::now(),
            ended_at: None,
        };
        let running = Arc::new(Running {
            state: watch::Sender::new(operation.clone()),
            cancelled: AtomicBool::new(false),
        });
        {
            let mut all = self.running();
            if all.len() >= RUNNING_MAX {
                return Err(OperationError::TooMany);
            }
            all.insert(operation.id.clone(), Arc::clone(&running));
        }
        if let Err(error) = self.remember(&operation) {
            self.running().remove(&operation.id);
            return Err(error.into());
        }
        let operations = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let ending = work(&running);
            operations.end(&running, ending);
        });
        Ok(operation)
    }

    fn end(&self, running: &Running, ending: Ending) {
        let mut operation = running.state.borrow().clone();
        operation.ended_at = Some(Timestamp::now());
        match ending {
            Ending::Succeeded(result) => {
                operation.phase = OperationPhase::Succeeded;
                operation.result = result;
                let Progress { step, total, .. } = operation.progress;
                operation.progress = Progress { percent: 100, ..Progress::new(step, total, total) };
            }
            Ending::Failed(problem) => {
                operation.phase = OperationPhase::Failed;
                operation.error = Some(problem);
            }
            Ending::Cancelled => operation.phase = OperationPhase::Cancelled,
        }
        if let Err(error) =
            self.store.commit(Transaction::default().put(key(&operation.id), encode(&operation)))
        {
            tracing::error!(%error, operation = operation.id, "the end of an operation could not be stored");
        }
        let id = operation.id.clone();
        running.state.send_replace(operation);
        self.running().remove(&id);
    }

    /// Stores a new operation; the oldest give way.
    fn remember(&self, operation: &Operation) -> Result<(), StoreError> {
        let mut transaction = Transaction::default();
        let all = self.store.list(OPERATIONS)?.entries;
        let too_many = (all.len() + 1).saturating_sub(OPERATIONS_MAX);
        let running = self.running();
        // Their ids are in the order of time, and so are their keys.
        let ended = all.iter().filter(|entry| !running.keys().any(|id| key(id) == entry.key));
        for entry in ended.take(too_many) {
            transaction.delete(entry.key.clone());
        }
        drop(running);
        transaction.put(key(&operation.id), encode(operation));
        self.store.commit(&transaction).map(|_| ())
    }

    /// All operations, the oldest first.
    pub fn list(&self) -> Result<Vec<Operation>, StoreError> {
        let mut all = read_all(self.store.as_ref())?;
        let running = self.running();
        for operation in &mut all {
            if let Some(running) = running.get(&operation.id) {
                *operation = running.state.borrow().clone();
            }
        }
        Ok(all)
    }

    /// One operation.
    pub fn get(&self, id: &str) -> Result<Operation, OperationError> {
        if let Some(running) = self.running().get(id) {
            return Ok(running.state.borrow().clone());
        }
        let stored = self.store.get(&key(id))?;
        let operation = stored.and_then(|stored| serde_json::from_slice(&stored.value).ok());
        operation.ok_or_else(|| OperationError::NotFound(id.to_owned()))
    }

    /// Waits for the end of an operation; returns at once where it has ended or is none.
    pub async fn ended(&self, id: &str) {
        let state = self.running().get(id).map(|running| running.state.subscribe());
        if let Some(mut state) = state {
            // An error says that it is gone, which is as good.
            let _ = state.wait_for(|operation| operation.phase != OperationPhase::Running).await;
        }
    }

    /// Asks an operation to give up. It ends at the next place where that leaves nothing half done.
    pub fn cancel(&self, id: &str) -> Result<Operation, OperationError> {
        if let Some(running) = self.running().get(id) {
            running.cancelled.store(true, Ordering::Relaxed);
            return Ok(running.state.borrow().clone());
        }
        self.get(id)?;
        Err(OperationError::Ended(id.to_owned()))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(id: &str) -> String {
    format!("{OPERATIONS}{id}")
}

fn encode(operation: &Operation) -> Vec<u8> {
    serde_json::to_vec(operation).unwrap_or_default()
}

fn read_all(store: &dyn Store) -> Result<Vec<Operation>, StoreError> {
    let entries = store.list(OPERATIONS)?.entries;
    Ok(entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect())
}

fn cut_off() -> Problem {
    Problem {
        kind: "/problems/cut-off".to_owned(),
        title: "The operation was cut off".to_owned(),
        status: 500,
        detail: "the daemon ended while it was running; begin it again".to_owned(),
        code: "cut_off".to_owned(),
        errors: Vec::new(),
        users: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use edgestack_model::operation::OperationPhase;
    use serde_json::json;

    use super::{Ending, OPERATIONS_MAX, OperationError, Operations, RUNNING_MAX};
    use crate::store::MemoryStore;

    #[tokio::test(flavor = "multi_thread")]
    async fn operations_run_end_and_are_remembered() {
        let store = Arc::new(MemoryStore::default());
        let operations = Arc::new(Operations::new(store.clone()).unwrap());
        let (go_on, wait) = mpsc::channel::<()>();
        let begun = operations.begin("test", "a", move |running| {
            running.advance("half", 1, 2);
            wait.recv().unwrap();
            Ending::Succeeded(json!({"made": 1}))
        });
        let id = begun.unwrap().id;
        while operations.get(&id).unwrap().progress.percent != 50 {
            tokio::task::yield_now().await;
        }
        assert_eq!(operations.list().unwrap()[0].phase, OperationPhase::Running);
        go_on.send(()).unwrap();
        operations.ended(&id).await;
        let ended = operations.get(&id).unwrap();
        assert_eq!((ended.phase, &ended.result), (OperationPhase::Succeeded, &json!({"made": 1})));
        assert!(ended.ended_at.is_some());
        assert!(matches!(operations.cancel(&id), Err(OperationError::Ended(_))));
        assert!(matches!(operations.cancel("none"), Err(OperationError::NotFound(_))));
        let again = Operations::new(store).unwrap();
        assert_eq!(again.get(&id).unwrap(), ended, "over a restart");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn operations_are_cancelled_cut_off_and_limited() {
        let store = Arc::new(MemoryStore::default());
        let operations = Arc::new(Operations::new(store.clone()).unwrap());
        let until_cancelled = |running: &super::Running| {
            while running.advance("waiting", 0, 0) {
                std::thread::yield_now();
            }
            Ending::Cancelled
        };
        let ids: Vec<String> =
            (0..RUNNING_MAX).map(|_| operations.begin("test", "a", until_cancelled).unwrap().id).collect();
        assert!(matches!(operations.begin("test", "a", until_cancelled), Err(OperationError::TooMany)));
        // What another process finds of them: they were cut off.
        let after_a_crash = Operations::new(store).unwrap();
        let cut_off = after_a_crash.get(&ids[0]).unwrap();
        assert_eq!(
            (cut_off.phase, cut_off.error.unwrap().code.as_str()),
            (OperationPhase::Failed, "cut_off")
        );
        for id in &ids {
            operations.cancel(id).unwrap();
            operations.ended(id).await;
            assert_eq!(operations.get(id).unwrap().phase, OperationPhase::Cancelled);
        }
        for _ in 0..OPERATIONS_MAX {
            let one = operations.begin("test", "b", |_| Ending::Cancelled).unwrap();
            operations.ended(&one.id).await;
            while operations.running().contains_key(&one.id) {
                tokio::task::yield_now().await;
            }
        }
        let all = operations.list().unwrap();
        assert_eq!(all.len(), OPERATIONS_MAX);
        assert!(all.iter().all(|operation| operation.target == "b"), "the oldest gave way");
    }
}
