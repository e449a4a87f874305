//! The tables that packets are looked up in. None of them does I/O or reads a clock.

pub mod affinity_table;
pub mod control;
pub mod flow_table;
pub mod fragment_table;
pub mod maglev;
pub mod mapping_table;
pub mod neighbour_table;
pub mod port_allocator;
pub mod port_set;
pub mod port_table;
pub mod region;
pub mod session_table;
pub mod tunnel_table;
