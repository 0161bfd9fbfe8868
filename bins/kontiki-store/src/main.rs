//! The single-role binary kontiki-store.

fn main() {}
