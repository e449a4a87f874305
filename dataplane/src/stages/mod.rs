//! The stages of the pipeline, a file each. `pipeline::decide` calls them; they never call each other.

pub mod admit;
pub mod connection;
pub mod destination;
pub mod firewall;
pub mod output;
pub mod respond;
pub mod route;
pub mod source;
