//! The single-role binary kontiki-node.

fn main() {}
