//! Command line of EdgeStack.

fn main() {}
