//! A read of many keys is one moment: the state at the revision it names. By agreement, no older than any change acknowledged
//! before it was asked for.

use check::kv::{Answer, Call, Cell};
use check::linear::Timed;
use check::log::ChangeLog;

/// What a read of all keys saw.
#[derive(Clone, Debug)]
pub struct Read {
    /// When it was asked for, in nanoseconds.
    pub invoked: u64,
    /// Whether by agreement.
    pub agreed: bool,
    /// The revision in the answer.
    pub revision: i64,
    /// Every key.
    pub cells: Vec<Option<Cell>>,
}

/// Checks all reads of a run.
pub fn check(reads: &[Read], history: &[Timed<Call>], log: &ChangeLog) -> Result<(), String> {
    let mut acknowledged: Vec<(u64, i64)> = history
        .iter()
        .filter_map(|timed| match timed.call.answer {
            Some(Answer::Changed { revision }) => Some((timed.returned?, revision)),
            Some(Answer::Held { .. }) | None => None,
        })
        .collect();
    acknowledged.sort_unstable();
    for read in reads {
        for (key, cell) in read.cells.iter().enumerate() {
            log.is_past(key, read.revision, *cell).map_err(|fault| fault.to_string())?;
        }
        let before = acknowledged.iter().take_while(|(returned, _)| *returned < read.invoked);
        let newest = before.map(|(_, revision)| *revision).max().unwrap_or(0);
        if read.agreed && read.revision < newest {
            return Err(format!(
                "S4: a read at revision {} began after {newest} was acknowledged",
                read.revision
            ));
        }
    }
    Ok(())
}
