//! All of Kontiki in one binary, by subcommand.

fn main() {}
