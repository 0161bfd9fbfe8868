//! Members at the same revision have the same state (S5).

use std::collections::HashMap;

/// Hashes by revision and compacted revision.
#[derive(Default)]
pub struct Hashes {
    known: HashMap<(i64, i64), (u32, usize)>,
}

impl Hashes {
    /// A member says what it has.
    pub fn said(&mut self, member: usize, revision: i64, compacted: i64, hash: u32) -> Result<(), String> {
        let (known, other) = *self.known.entry((revision, compacted)).or_insert((hash, member));
        match known == hash {
            true => Ok(()),
            false => Err(format!(
                "at revision {revision}, compacted {compacted}, m{member} has {hash:08x} and m{other} {known:08x}"
            )),
        }
    }
}
