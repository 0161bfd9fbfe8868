//! Compiles the protocol files with protox, so that no `protoc` is needed.

use std::error::Error;
use std::path::Path;

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=etcd");
    println!("cargo:rerun-if-changed=cri");
    println!("cargo:rerun-if-changed=kontiki");
    let etcd = ["etcd/rpc.proto", "etcd/lock.proto", "etcd/election.proto"];
    let out = std::env::var_os("OUT_DIR").ok_or("cargo names a directory for what is built")?;
    std::fs::write(Path::new(&out).join("etcd.bin"), protox::compile(etcd, ["."])?.encode_to_vec())?;
    let ours = ["kontiki/raft.proto", "kontiki/objects.proto", "cri/runtime.proto"];
    let descriptors = protox::compile(etcd.into_iter().chain(ours), ["."])?;
    services().compile_fds(descriptors)?;
    // By itself, because a package named as an external one is not generated in the same run.
    let descriptors = protox::compile(["kontiki/store.proto"], ["."])?;
    let store = services().extern_path(".mvccpb", "crate::etcd::mvccpb");
    store.compile_fds(descriptors)?;
    Ok(())
}

fn services() -> tonic_prost_build::Builder {
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Codec")
}
