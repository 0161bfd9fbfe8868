//! Tests of the store as a whole, from one state machine to a cluster.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

extern crate kontiki_store as store;

mod alarms;
mod auth;
mod backup;
mod certificates;
mod cluster;
mod ctl;
mod damage;
mod etcd;
mod flood;
mod gateway;
mod history;
mod local;
mod metrics;
mod model;
mod plain;
mod queues;
mod rotation;
mod scripts;
mod single;
mod watches;
