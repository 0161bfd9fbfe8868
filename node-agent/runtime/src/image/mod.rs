//! Images: what they are called, where they are kept, how they get here.
//!
//! | module | what it knows |
//! |---|---|
//! | [`reference`] | names: `busybox` is `docker.io/library/busybox:latest` |
//! | [`config`] | the documents of an image: manifest, index, configuration |
//! | [`store`] | the directory: documents by digest, unpacked layers by chain, names |
//! | [`unpack`] | a layer archive becomes an overlay directory, whiteouts and all |
//! | [`archive`] | importing OCI archives and `docker save` files |
//! | [`pull`] | fetching from a registry |
//! | [`build`] | assembling an image from files, offline |

pub mod archive;
pub mod build;
pub mod config;
pub mod pull;
pub mod reference;
pub mod store;
pub mod unpack;

pub use reference::Reference;
pub use store::{Image, Store};
