//! The single-role binary kontiki-scheduler.

fn main() {}
