//! The wire and nothing else.
//!
//! | module | protocol | spoken between |
//! |---|---|---|
//! | [`etcd`] | etcd v3 | any etcd client and the store |
//! | [`raft`] | kontiki.raft.v1 | members of one store |
//! | [`objects`] | kontiki.objects.v1 | plugins and the API server |
//! | [`store`] | kontiki.store.v1 | clients and the store, beyond etcd's API |
//! | [`cri`] | Kubernetes CRI v1 | the node agent and a container runtime |
//!
//! [`codec`] is how the messages of all of them become bytes.

#![allow(missing_docs, reason = "generated code; the protocol files are the documentation")]
#![allow(clippy::all, reason = "generated code")]

pub mod codec;

/// The packages of the etcd v3 API.
pub mod etcd {
    /// Descriptions of all of them, as an encoded set of descriptors of files: for who translates messages without knowing them.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.bin"));

    /// Keys and values.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }
    /// Users and roles.
    pub mod authpb {
        tonic::include_proto!("authpb");
    }
    /// KV, Watch, Lease, Cluster, Maintenance and Auth.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
    /// Locks.
    pub mod v3lockpb {
        tonic::include_proto!("v3lockpb");
    }
    /// Elections.
    pub mod v3electionpb {
        tonic::include_proto!("v3electionpb");
    }
}

/// Peer transport of the Raft members.
pub mod raft {
    tonic::include_proto!("kontiki.raft.v1");
}

/// The control plane's gRPC API.
pub mod objects {
    tonic::include_proto!("kontiki.objects.v1");
}

/// What the store can do beyond etcd's API.
pub mod store {
    tonic::include_proto!("kontiki.store.v1");
}

/// The container runtime interface.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}
