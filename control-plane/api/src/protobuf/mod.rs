//! Protobuf, driven by the schema table.

pub mod wire;
