//! Pod network and the service proxy.
