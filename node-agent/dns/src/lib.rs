//! Cluster DNS: part of the node agent, so that names resolve before any pod runs.
//!
//! ```text
//!   pod --UDP/TCP 53--> cluster DNS address (on this node) --> zone (pure) over the informers' services and slices
//!                                                       \--> forward: everything outside the cluster's domain
//! ```
//!
//! | name | answers |
//! |---|---|
//! | `<service>.<namespace>.svc.<domain>` | A: cluster IP, or the ready endpoints of a headless service; CNAME of an external name |
//! | `<host>.<service>.<namespace>.svc.<domain>` | A: the endpoint with that host name, or dashed address |
//! | `_<port>._<protocol>.<service>.<namespace>.svc.<domain>` | SRV, with the addresses as additional records |
//! | `<a-b-c-d>.<namespace>.pod.<domain>` | A: a.b.c.d |
//! | `<d.c.b.a>.in-addr.arpa` | PTR of cluster IPs and of endpoints |
//! | `dns-version.<domain>` | TXT: the version of the specification, 1.1.0 |
//!
//! It follows the Kubernetes DNS specification 1.1.0. A name that exists without records of the type asked for is
//! answered empty (NOERROR), one that does not exist with NXDOMAIN, both with the zone's SOA. Addresses are IPv4 only.
//!
//! Bounds: at most [`limits::FORWARDS_MAX`] forwarded queries are under way, further ones are refused; an idle TCP
//! connection is closed after [`limits::TCP_IDLE`].

pub mod forward;
pub mod limits;
mod server;
mod source;
pub mod zone;

pub use server::{Error, Options, Server};
