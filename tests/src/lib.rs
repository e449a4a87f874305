//! The lab: sites in network namespaces, the daemon under test and the traffic that goes through it.
//!
//! The end-to-end tests, the demo and the peers' bench build their sites with it. Everything that it makes is owned
//! by a guard that removes it again, also when a test panics; what a killed run left behind is removed by the next
//! run ([`namespace::remove_stale`]). It never touches an interface, address or process that it did not make.

pub mod capture;
pub mod command;
pub mod daemon;
pub mod edgectl;
pub mod error;
pub mod inspect;
pub mod link;
pub mod namespace;
pub mod site;
pub mod tenants;
pub mod traffic;
pub mod vlan_switch;
pub mod wait;

pub use command::{Process, run};
pub use daemon::{Daemon, DaemonSettings};
pub use edgectl::Edgectl;
pub use error::LabError;
pub use namespace::Namespace;
