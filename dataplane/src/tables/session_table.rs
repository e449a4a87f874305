//! The sessions: which two flows make a connection, and its state.
//!
//! Sessions live in shared memory beside the flow table so that the next engine finds them; the list of free
//! numbers is this engine's own and made anew from them. Only called under the engine's slow-path lock.

use edgestack_abi::Session;
use edgestack_abi::session::SESSION_VALID;

use super::region::Region;

/// Due at every round of the sweep.
const ALWAYS_DUE: u32 = 0;

/// The session table over its region.
#[derive(Debug)]
pub struct SessionTable {
    sessions: Region<Session>,
    free: Vec<u32>,
    /// Sessions at and above this number were never used since the engine started, and are not in `free`.
    unused_from: u32,
    /// From which tick on the sweep has to look at a session, by its number. Here and not in the record, so that a sweep
    /// that finds nothing due reads four bytes of a session and none of its flows, which the kernel programs write to.
    due_ticks: Vec<u32>,
}

impl SessionTable {
    /// The table in `sessions`, with all that it holds.
    pub fn new(sessions: Region<Session>) -> Self {
        let length = sessions.len() as u32;
        let is_valid = |index: &u32| sessions.read(*index as usize).valid == SESSION_VALID;
        let unused_from = (0..length).rev().find(is_valid).map_or(0, |last| last + 1);
        let free = (0..unused_from).rev().filter(|index| !is_valid(index)).collect();
        Self { sessions, free, unused_from, due_ticks: vec![ALWAYS_DUE; length as usize] }
    }

    /// Most sessions that there may be.
    pub fn capacity(&self) -> u32 {
        self.sessions.len() as u32
    }

    /// Sessions in use.
    pub fn len(&self) -> u32 {
        self.unused_from - self.free.len() as u32
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All sessions in use have a number below this.
    pub fn end(&self) -> u32 {
        self.unused_from
    }

    /// A free number, which stays free until a session is written to it.
    pub fn next_free(&self) -> Option<u32> {
        self.free.last().copied().or((self.unused_from < self.capacity()).then_some(self.unused_from))
    }

    /// Writes a session to the number that [`Self::next_free`] gave.
    pub fn insert(&mut self, index: u32, session: Session) {
        if self.free.last() == Some(&index) {
            self.free.pop();
        } else {
            assert_eq!(index, self.unused_from, "the number is the next free one");
            self.unused_from += 1;
        }
        self.due_ticks[index as usize] = ALWAYS_DUE;
        // The mark of validity last: a crash in between leaves the number free.
        self.sessions.write(index as usize, Session { valid: 0, ..session });
        self.sessions.write(index as usize, Session { valid: SESSION_VALID, ..session });
    }

    /// The session of this number, where it is in use.
    pub fn get(&self, index: u32) -> Option<Session> {
        if index >= self.unused_from {
            return None;
        }
        let session = self.sessions.read(index as usize);
        (session.valid == SESSION_VALID).then_some(session)
    }

    /// Writes back a session in use; the sweep has to look at it, as another state may end sooner.
    pub fn update(&mut self, index: u32, session: &Session) {
        self.due_ticks[index as usize] = ALWAYS_DUE;
        self.sessions.write(index as usize, *session);
    }

    /// Whether the sweep has to look at the session of this number, below [`Self::end`].
    pub fn is_due(&self, index: u32, now_ticks: u32) -> bool {
        let due_ticks = self.due_ticks[index as usize];
        due_ticks == ALWAYS_DUE || now_ticks.wrapping_sub(due_ticks) as i32 >= 0
    }

    /// Says that there is nothing to see at a session before `due_ticks`, unless it is updated.
    pub fn rest_until(&mut self, index: u32, due_ticks: u32) {
        self.due_ticks[index as usize] = due_ticks;
    }

    /// Frees a session in use.
    pub fn remove(&mut self, index: u32) {
        let session = self.sessions.read(index as usize);
        debug_assert_eq!(session.valid, SESSION_VALID, "session {index} is freed once");
        self.sessions.write(index as usize, Session { valid: 0, ..session });
        self.free.push(index);
    }

    /// Every session in use, with its number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Session)> + '_ {
        (0..self.unused_from).filter_map(|index| Some((index, self.get(index)?)))
    }
}

#[cfg(test)]
mod tests {
    use edgestack_abi::Session;

    use super::SessionTable;
    use crate::tables::region::Region;

    #[test]
    fn numbers_are_used_again_and_never_twice() {
        let mut table = SessionTable::new(Region::anonymous(3).unwrap());
        let take = |table: &mut SessionTable| {
            let index = table.next_free()?;
            table.insert(index, Session::default());
            Some(index)
        };
        assert_eq!([take(&mut table), take(&mut table), take(&mut table)], [Some(0), Some(1), Some(2)]);
        assert_eq!(take(&mut table), None);
        table.remove(1);
        assert_eq!((table.len(), table.get(1).is_none()), (2, true));
        assert_eq!(take(&mut table), Some(1));
        assert_eq!(table.iter().count(), 3);
    }

    #[test]
    fn a_session_rests_until_it_is_due_or_changes() {
        let mut table = SessionTable::new(Region::anonymous(2).unwrap());
        table.insert(0, Session::default());
        assert!(table.is_due(0, 5), "a new one");
        table.rest_until(0, u32::MAX);
        assert_eq!(
            [u32::MAX - 1, u32::MAX, 3].map(|now_ticks| table.is_due(0, now_ticks)),
            [false, true, true]
        );
        let session = table.get(0).unwrap();
        table.update(0, &session);
        assert!(table.is_due(0, 5), "one that has changed");
        table.rest_until(0, 9);
        table.remove(0);
        table.insert(0, session);
        assert!(table.is_due(0, 5), "another of this number");
    }

    #[test]
    fn a_new_table_adopts_what_the_memory_holds() {
        let region = Region::anonymous(8).unwrap();
        for index in [1, 4] {
            region.write(index, Session { valid: 1, created_ticks: index as u32, ..Session::default() });
        }
        let table = SessionTable::new(region);
        assert_eq!(table.iter().map(|(index, _)| index).collect::<Vec<_>>(), [1, 4]);
        assert_eq!((table.len(), table.end(), table.next_free()), (2, 5, Some(0)));
    }
}
