//! Pods: one worker each, which observes, plans and acts.
//!
//! ```text
//!   API (informer) --\                              /--> report --> pods/status
//!                     supervisor --> worker: observe -> plan -> status, actions --> CRI, volumes, probes
//!   CRI (events)   --/                 ^                          |
//!                                      +------- outcomes ---------+
//! ```
//!
//! | module | is |
//! |---|---|
//! | [`plan`], [`status`], [`phase`], [`conditions`], [`backoff`] | pure: what should happen, and what is shown |
//! | [`resources`], [`security`], [`dns`], [`hosts`], [`sandbox`], [`image`] | pure: the API's words in CRI's |
//! | [`observed`] | what the runtime has |
//! | [`worker`], [`start`], [`kill`], [`hook`] and `effects` | thin effects |
//! | [`supervisor`], [`orphan`] | all pods of the node |

pub mod backoff;
pub mod conditions;
pub mod dns;
mod effects;
pub mod events;
pub mod hook;
pub mod hosts;
pub mod image;
pub mod kill;
pub mod last_words;
pub mod observed;
pub mod orphan;
pub mod phase;
pub mod plan;
pub mod report;
pub mod resources;
pub mod sandbox;
pub mod security;
pub mod spec;
pub mod start;
pub mod status;
pub mod supervisor;
#[cfg(test)]
mod tests;
pub mod worker;
