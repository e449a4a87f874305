//! EdgeGateway: the dataplane of EdgeStack.
//!
//! A library that the daemon, the tests and the benches drive. It never reads the daemon's configuration file,
//! never talks HTTP and never stores anything on disk.
pub mod address;
pub mod capture;
pub mod config;
pub mod connection;
pub mod counters;
pub mod engine;
pub mod exchange;
pub mod fastpath;
pub mod inspect;
pub mod io;
pub mod live_trace;
pub mod packet;
pub mod pipeline;
pub mod rewrite;
pub mod runtime;
pub mod snapshot;
pub mod stages;
pub mod tables;
pub mod trace;
pub mod tuple;
pub mod virtual_stack;
pub mod wire;
pub mod worker;
