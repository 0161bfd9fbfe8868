//! The registry on a store in memory, through its public interface: what clients of the API rely on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

extern crate kontiki_registry as registry;

mod admission;
mod deletion;
mod errors;
mod lists;
mod patches;
mod pods;
mod services;
mod support;
mod verbs;
mod watches;
