//! A revisioned, replicated key-value store with watch streams and the etcd v3 API.
