//! Tests of the store as a whole, from one state machine to a cluster.

extern crate kontiki_store as store;

mod cluster;
mod etcd;
mod local;
mod model;
mod scripts;
mod single;
mod watches;
