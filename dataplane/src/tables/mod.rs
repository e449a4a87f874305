//! The tables that packets are looked up in. None of them does I/O or reads a clock.

pub mod region;
