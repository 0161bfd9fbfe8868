//! Custom resources: what a CustomResourceDefinition adds to the catalog.
//!
//! The pure half knows definitions as trees: [`rows`] says what one serves, [`names`] who holds which name,
//! [`status`] what its status should say, [`definition`] what is wrong with one. The effect is [`follow`]: every
//! server watches the definitions and serves what they say; whoever notices first writes the status and clears away
//! the objects of a definition that goes. All of it may be done twice, by any server, with the same outcome.

pub(crate) mod definition;
pub(crate) mod follow;
mod names;
mod rows;
mod status;

use api::GroupVersionResource;

/// Holds a definition until its objects are gone.
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Where definitions are.
fn definitions() -> GroupVersionResource {
    GroupVersionResource::new("apiextensions.k8s.io", "v1", "customresourcedefinitions")
}
