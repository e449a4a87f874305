//! Clients that fetch a page over and over, each time by a new connection, and remember when and what they got.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::LabError;
use crate::namespace::Namespace;
use crate::traffic::http::fetch_within;
use crate::wait;

/// How long a number of requests may take.
const REQUESTS_TIMEOUT: Duration = Duration::from_mins(2);

/// How long one may take: far more than any should, for machines that have much else to do.
const REQUEST_LIMIT_SECONDS: u32 = 20;

/// A page that was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// When.
    pub started: Instant,
    /// What came; none where nothing did.
    pub page: Option<String>,
}

/// Clients in the background; dropping them ends them.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `clients` clients in the namespace `from`, which fetch `http://TARGET/`.
    pub fn start(from: &Namespace, target: &str, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let client = |_| {
            let from = Namespace::existing(from.name());
            let (target, stop, requests) = (target.to_owned(), Arc::clone(&stop), Arc::clone(&requests));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    let started = Instant::now();
                    // What could not be asked was not answered either.
                    let page = fetch_within(&from, &target, REQUEST_LIMIT_SECONDS).ok().flatten();
                    let request = Request { started, page };
                    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                }
            })
        };
        let threads = (0..clients).map(client).collect();
        Self { stop, requests, threads }
    }

    /// Waits until `count` further requests, begun after this call, have ended; returns all those begun after it.
    pub fn next(&self, count: usize) -> Result<Vec<Request>, LabError> {
        let begin = Instant::now();
        wait::value(&format!("{count} requests"), REQUESTS_TIMEOUT, || {
            let requests = self.since(begin);
            if requests.len() >= count { Ok(requests) } else { Err(format!("{} requests", requests.len())) }
        })
    }

    /// The requests that were begun after a time and have ended.
    pub fn since(&self, begin: Instant) -> Vec<Request> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|request| request.started >= begin).cloned().collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
