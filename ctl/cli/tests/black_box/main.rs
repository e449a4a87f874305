//! Black-box tests of `edgectl`: the real program, run against a daemon that answers as each test tells it to,
//! and against the real `edgestackd` without its dataplane.

mod commands;
mod daemon;
mod dataplane;
mod sites;
mod support;
mod waiting;
