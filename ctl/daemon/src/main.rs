//! The EdgeStack daemon.

fn main() {}
