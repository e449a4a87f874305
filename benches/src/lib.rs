//! The lab that runs EdgeStack beside its peers, and what the benches share.
//!
//! `make bench-peers` runs it as root in network namespaces; benches/README.md says how to read the result.

pub mod peers;
pub mod rule_change;
