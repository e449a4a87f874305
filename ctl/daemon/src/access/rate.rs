//! Rate limits: a bucket of requests for each caller, filled at a steady rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers that are told apart; more share one bucket.
const CALLERS_MAX: usize = 4096;

/// The buckets.
#[derive(Debug)]
pub struct Buckets {
    per_second: f64,
    burst: f64,
    of_callers: Mutex<HashMap<String, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl Buckets {
    /// Lets each caller make `per_second` requests in the long run and `burst` at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: f64::from(per_second), burst: f64::from(burst), of_callers: Mutex::default() }
    }

    /// Others of the same size.
    #[must_use]
    pub fn of_others(&self) -> Self {
        Self { per_second: self.per_second, burst: self.burst, of_callers: Mutex::default() }
    }

    /// Takes one request from a caller's bucket; where it is empty, says how long to wait.
    pub fn take(&self, caller: &str, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.of_callers.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= CALLERS_MAX && !buckets.contains_key(caller) {
            // A bucket that is full again says no more than none.
            buckets.retain(|_, bucket| self.filled(bucket, now) < self.burst);
        }
        let known = buckets.len() < CALLERS_MAX || buckets.contains_key(caller);
        let caller = if known { caller } else { "" };
        let bucket =
            buckets.entry(caller.to_owned()).or_insert(Bucket { tokens: self.burst, filled_at: now });
        bucket.tokens = self.filled(bucket, now);
        bucket.filled_at = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        (bucket.tokens + elapsed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Buckets, CALLERS_MAX};

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let buckets = Buckets::new(10, 3);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        let wait = buckets.take("a", start).unwrap_err();
        assert!(wait > Duration::from_millis(90) && wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(buckets.take("b", start), Ok(()), "another caller has its own");
        assert_eq!(buckets.take("a", start + Duration::from_millis(110)), Ok(()));
        assert!(buckets.take("a", start + Duration::from_millis(120)).is_err());
        for _ in 0..3 {
            assert_eq!(
                buckets.take("a", start + Duration::from_mins(1)),
                Ok(()),
                "it never is more than full"
            );
        }
        assert!(buckets.take("a", start + Duration::from_mins(1)).is_err());
    }

    #[test]
    fn the_memory_for_callers_is_bounded() {
        let buckets = Buckets::new(1, 2);
        let start = Instant::now();
        for caller in 0..CALLERS_MAX * 2 {
            let _ = buckets.take(&caller.to_string(), start);
        }
        assert!(buckets.of_callers.lock().unwrap().len() <= CALLERS_MAX + 1);
        buckets.take("late", start + Duration::from_secs(10)).unwrap();
        assert!(buckets.of_callers.lock().unwrap().len() < 10, "those that are full again are forgotten");
    }
}
