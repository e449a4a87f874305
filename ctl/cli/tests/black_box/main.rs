//! Black-box tests of `edgectl`: the real program, run against a daemon that answers as each test tells it to,
//! and against the real `edgestackd` without its dataplane.

mod commands;
mod contexts;
mod daemon;
mod dataplane;
mod edit;
mod fig5;
mod shell;
mod sites;
mod support;
mod support_bundle;
mod terminal;
mod top;
mod waiting;
