//! Replicates bytes with Raft; knows no keys.
