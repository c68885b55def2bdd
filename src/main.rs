//! The command line of ferrymq.

fn main() {}
