//! Properties of the tables and of configuration, each against a small model or a rule without exceptions.
//!
//! What is found once becomes a named test beside the code or a conformance case.

#[path = "../../fuzz/src/site.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the fuzz targets, which use all of it")]
mod site;

mod firewall;
mod flow_table;
mod maglev;
mod port_allocator;
mod snapshot;
