//! Helpers of the end-to-end tests: namespaces, the daemon under test, traffic.
