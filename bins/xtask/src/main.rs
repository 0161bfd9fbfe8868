//! The project's own tasks: verify, schema, bench, simulate.

fn main() {}
