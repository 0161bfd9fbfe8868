//! The single-role binary kontiki-controllers.

fn main() {}
