//! Properties of the tables and of configuration, each against a small model or a rule without exceptions.
//!
//! What is found once becomes a named test beside the code or a conformance case.

mod firewall;
mod flow_table;
mod maglev;
mod port_allocator;
mod snapshot;
