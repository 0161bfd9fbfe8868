//! What time it is for people. The only place of this crate that asks for it; nothing that is applied depends on it.

use std::sync::Arc;

/// Tells milliseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's clock in milliseconds since 1970 UTC; 0 before.
pub fn now_unix_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
