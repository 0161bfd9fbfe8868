//! The only place where the registry asks for the time or for randomness.

use jiff::Timestamp;
use rand::Rng;

/// Now, as `metav1.Time` is written: RFC 3339 in UTC with whole seconds.
pub(crate) fn now() -> String {
    seconds(Timestamp::now())
}

/// This moment plus `seconds`, in the same form.
pub(crate) fn after(base: &str, delta_s: i64) -> String {
    let base = base.parse::<Timestamp>().unwrap_or_else(|_| Timestamp::now());
    let moved = Timestamp::from_second(base.as_second().saturating_add(delta_s)).unwrap_or(base);
    seconds(moved)
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A version 4 UUID.
pub(crate) fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Upstream's alphabet for generated names: no vowels, no look-alikes.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random characters, as `generateName` appends them.
pub(crate) fn name_suffix() -> String {
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(NAME_ALPHABET[rng.random_range(0..NAME_ALPHABET.len())])).collect()
}

/// A number in `0..below`.
pub(crate) fn pick(below: u64) -> u64 {
    rand::rng().random_range(0..below.max(1))
}
