//! Bounds of the DNS server.

use std::time::Duration;

/// Most forwarded queries under way at once; CoreDNS allows 1000 by default.
pub const FORWARDS_MAX: usize = 1000;

/// A TCP connection without a query is closed after this.
pub const TCP_IDLE: Duration = Duration::from_secs(10);

/// Answers buffered per TCP connection.
pub const TCP_RESPONSES_MAX: usize = 128;

/// How long clients may keep what we answered, in seconds. CoreDNS's default for cluster names: short, because
/// endpoints come and go.
pub const TTL_S: u32 = 5;
