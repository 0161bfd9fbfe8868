//! Pod network and the service proxy.

#[cfg(feature = "proxy")]
pub mod proxy;
