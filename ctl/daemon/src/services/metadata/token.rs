//! Session tokens (IMDSv2): random words that a port has asked for, good for that port and for a time.
//!
//! They are kept in memory: after a restart of the daemon clients are told to ask for new ones, as they are when one is
//! over.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::services::random_bytes;

/// Longest time that a token is good for, six hours.
pub(super) const TTL_SECONDS_MAX: u32 = 21_600;
/// Tokens of one port; the oldest gives way.
const TOKENS_PER_PORT_MAX: usize = 64;
/// Ports with tokens; when there are more, those whose tokens are over go first.
const PORTS_MAX: usize = 16_384;

/// The tokens, by port.
#[derive(Default)]
pub(super) struct Tokens {
    ports: Mutex<HashMap<Arc<str>, VecDeque<Token>>>,
}

struct Token {
    word: String,
    until: Instant,
}

impl Tokens {
    /// A new token for a port.
    pub(super) fn issue(&self, port: &Arc<str>, ttl_seconds: u32, now: Instant) -> io::Result<String> {
        let bytes: [u8; 32] = random_bytes()?;
        let word = bytes.iter().fold(String::with_capacity(64), |mut word, byte| {
            // Writing to a string does not fail.
            let _ = write!(word, "{byte:02x}");
            word
        });
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.len() >= PORTS_MAX {
            ports.retain(|_, tokens| tokens.iter().any(|token| token.until > now));
        }
        if ports.len() >= PORTS_MAX {
            ports.clear();
        }
        let tokens = ports.entry(Arc::clone(port)).or_default();
        tokens.retain(|token| token.until > now);
        if tokens.len() >= TOKENS_PER_PORT_MAX {
            tokens.pop_front();
        }
        tokens.push_back(Token { word: word.clone(), until: now + Duration::from_secs(ttl_seconds.into()) });
        Ok(word)
    }

    /// Whether a token is the port's, and not over.
    pub(super) fn is_good(&self, port: &str, word: &[u8], now: Instant) -> bool {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = ports.get(port).into_iter().flatten();
        // All of it is compared, whatever is known already: how long that takes tells nothing.
        tokens.filter(|token| token.until > now).any(|token| {
            let word_of_port = token.word.as_bytes();
            word_of_port.len() == word.len()
                && word_of_port.iter().zip(word).fold(0, |differing, (one, other)| differing | (one ^ other))
                    == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{TOKENS_PER_PORT_MAX, Tokens};

    #[test]
    fn a_token_is_good_for_its_port_and_its_time() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let ports: [Arc<str>; 2] = ["one".into(), "other".into()];
        let word = tokens.issue(&ports[0], 60, now).unwrap();
        assert!(tokens.is_good("one", word.as_bytes(), now));
        assert!(!tokens.is_good("other", word.as_bytes(), now));
        assert!(!tokens.is_good("one", &word.as_bytes()[1..], now) && !tokens.is_good("one", b"", now));
        assert!(!tokens.is_good("one", word.as_bytes(), now + Duration::from_mins(1)));
        for _ in 0..TOKENS_PER_PORT_MAX {
            assert_ne!(tokens.issue(&ports[0], 60, now).unwrap(), word);
        }
        assert!(!tokens.is_good("one", word.as_bytes(), now), "the oldest gave way");
    }
}
