//! Compiles the protocol files with protox, so that no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=etcd");
    println!("cargo:rerun-if-changed=cri");
    println!("cargo:rerun-if-changed=kontiki");
    let files = [
        "etcd/rpc.proto",
        "etcd/lock.proto",
        "etcd/election.proto",
        "kontiki/raft.proto",
        "kontiki/objects.proto",
        "kontiki/store.proto",
        "cri/runtime.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
