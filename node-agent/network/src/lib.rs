//! Pod network and the service proxy.
//!
//! [`pod`] gives every pod of a node an address and connects nodes. Behind the feature `proxy`, services are translated
//! to pods.

pub mod address;
pub mod pod;
#[cfg(feature = "proxy")]
pub mod proxy;
