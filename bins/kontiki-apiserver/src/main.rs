//! The single-role binary kontiki-apiserver.

fn main() {}
