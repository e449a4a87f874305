//! Black-box tests of `edgectl`: the real program, run against a daemon that answers as each test tells it to.

mod commands;
mod dataplane;
mod support;
