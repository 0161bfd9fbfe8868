//! Histories as text, for tests by hand and for showing what a failed run saw.
//!
//! A call: `FROM..UPTO ACTION [-> ANSWER]`, with `?` for the end of a call that had no answer.
//!
//! ```text
//! 0..5 put a=1 -> r2              wrote, at revision 2
//! 2..3 get a -> 1@2 r4            held 1, written at revision 2; the newest revision was 4
//! 2..3 get b -> none r4
//! 6..? del a                      no answer
//! 7..9 swap a@2=7 -> r5           was last changed at revision 2
//! 7..9 swap a@2=7 -> 4@3 r5       was not
//! ```
//!
//! A watch: first `log`, the changes from revision 2 on; then `watch`, perhaps with keys (`watch ab`) and `writes` or
//! `deletions`, and `open` if it need not have reached the head; then what it was told, a line for each message.
//!
//! ```text
//! log a=1 b=2 -a
//! watch
//! begins 2
//! 2:a=1 3:b=2<none                one response; `<` is what was there before
//! progress 3
//! 4:-a<1
//! compacted 9
//! ```
//!
//! A lock: what holders were sure of, keys in its queue with the revisions of their lives, guarded writes, leases.
//!
//! ```text
//! held 5 0..30                    sure to hold it from time 0 to 30, by the key of revision 5
//! key 5..9                        created at revision 5, deleted at revision 9
//! key 7..                         still there
//! wrote 5 @6                      at revision 6, guarded by the key of revision 5
//! lease 40                        promised until time 40
//! lease 40 lost 50                and known to be gone at time 50
//! ```

use crate::kv::{Action, Answer, Call, Cell};
use crate::linear::Timed;
use crate::lock::{Guarded, Held, Known, Lease, Place};
use crate::log::{Change, ChangeLog};
use crate::watch::{Kinds, Message, Watcher};

/// A line that is none of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {line:?}")]
pub struct Unreadable {
    /// The line.
    pub line: String,
}

/// Splits a file into its cases: a title (after `# `) and the lines below it.
pub fn cases(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match (line.strip_prefix("# "), cases.last_mut()) {
            (Some(title), _) => cases.push((title, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    cases
}

/// Reads a history of calls.
pub fn history(lines: &[&str]) -> Result<Vec<Timed<Call>>, Unreadable> {
    lines.iter().map(|line| call(line).ok_or_else(|| Unreadable { line: (*line).to_owned() })).collect()
}

/// Reads what is known of a lock.
pub fn lock(lines: &[&str]) -> Result<Known, Unreadable> {
    let mut known = Known::default();
    for line in lines {
        about_lock(line, &mut known).ok_or_else(|| Unreadable { line: (*line).to_owned() })?;
    }
    Ok(known)
}

fn about_lock(line: &str, known: &mut Known) -> Option<()> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["held", token, span] => {
            let (from, until) = span.split_once("..")?;
            let (from, until) = (from.parse().ok()?, until.parse().ok()?);
            known.holders.push(Held { token: token.parse().ok()?, from, until });
        }
        ["key", span] => {
            let (token, gone) = span.split_once("..")?;
            let gone = if gone.is_empty() { None } else { Some(gone.parse().ok()?) };
            known.places.push(Place { token: token.parse().ok()?, gone });
        }
        ["wrote", token, at] => {
            let revision = at.strip_prefix('@')?.parse().ok()?;
            known.writes.push(Guarded { token: token.parse().ok()?, revision });
        }
        ["lease", promised] => known.leases.push(Lease { promised: promised.parse().ok()?, lost: None }),
        ["lease", promised, "lost", lost] => {
            let lost = Some(lost.parse().ok()?);
            known.leases.push(Lease { promised: promised.parse().ok()?, lost });
        }
        _ => return None,
    }
    Some(())
}

/// Reads a log and a watch; whether the watch had to reach the head comes last.
pub fn watch(lines: &[&str]) -> Result<(ChangeLog, Watcher, bool), Unreadable> {
    let unreadable = |line: &str| Unreadable { line: line.to_owned() };
    let [log, watch, messages @ ..] = lines else { return Err(unreadable("")) };
    let changes = log.strip_prefix("log").ok_or_else(|| unreadable(log))?.split_whitespace().zip(2..);
    let changes = changes.map(|(text, revision)| change(revision, text).ok_or_else(|| unreadable(text)));
    let log = ChangeLog::new(1, changes.collect::<Result<Vec<_>, _>>()?).map_err(|_| unreadable(log))?;
    let mut watcher = Watcher::of_all(Vec::new());
    let mut complete = true;
    for word in watch.strip_prefix("watch").ok_or_else(|| unreadable(watch))?.split_whitespace() {
        match word {
            "writes" => watcher.kinds = Kinds::Writes,
            "deletions" => watcher.kinds = Kinds::Deletions,
            "open" => complete = false,
            keys => watcher.keys = Some(keys.chars().filter_map(|name| key(&name.to_string())).collect()),
        }
    }
    for line in messages {
        watcher.messages.push(message(line).ok_or_else(|| unreadable(line))?);
    }
    Ok((log, watcher, complete))
}

fn key(name: &str) -> Option<usize> {
    match name.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(usize::from(letter - b'a')),
        _ => None,
    }
}

fn call(line: &str) -> Option<Timed<Call>> {
    let (asked, answered) =
        line.split_once("->").map_or((line, None), |(asked, answered)| (asked, Some(answered)));
    let mut words = asked.split_whitespace();
    let (invoked, returned) = words.next()?.split_once("..")?;
    let returned = match returned {
        "?" => None,
        time => Some(time.parse().ok()?),
    };
    let action = action(words.next()?, words.next()?)?;
    let answer = match answered {
        Some(text) => Some(answer(text)?),
        None => None,
    };
    Some(Timed { invoked: invoked.parse().ok()?, returned, call: Call { action, answer } })
}

fn action(verb: &str, what: &str) -> Option<Action> {
    match verb {
        "put" => {
            let (name, value) = what.split_once('=')?;
            Some(Action::Put { key: key(name)?, value: value.parse().ok()? })
        }
        "del" => Some(Action::Delete { key: key(what)? }),
        "get" => Some(Action::Get { key: key(what)? }),
        "swap" => {
            let (name, rest) = what.split_once('@')?;
            let (expected, value) = rest.split_once('=')?;
            Some(Action::Swap {
                key: key(name)?,
                expected: expected.parse().ok()?,
                value: value.parse().ok()?,
            })
        }
        _ => None,
    }
}

fn answer(text: &str) -> Option<Answer> {
    let revision = |word: &str| word.strip_prefix('r')?.parse().ok();
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        [changed] => Some(Answer::Changed { revision: revision(changed)? }),
        ["none", newest] => Some(Answer::Held { revision: revision(newest)?, cell: None }),
        [cell, newest] => {
            let (value, at) = cell.split_once('@')?;
            let cell = Cell { value: value.parse().ok()?, revision: at.parse().ok()? };
            Some(Answer::Held { revision: revision(newest)?, cell: Some(cell) })
        }
        _ => None,
    }
}

fn change(revision: i64, text: &str) -> Option<Change> {
    let (text, before) = match text.split_once('<') {
        Some((text, "none")) => (text, Some(None)),
        Some((text, value)) => (text, Some(Some(value.parse().ok()?))),
        None => (text, None),
    };
    let (name, value) = match text.strip_prefix('-') {
        Some(name) => (name, None),
        None => text.split_once('=').and_then(|(name, value)| Some((name, Some(value.parse().ok()?))))?,
    };
    Some(Change { revision, key: key(name)?, value, before })
}

fn message(line: &str) -> Option<Message> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        ["begins", from] => Some(Message::Begins { from: from.parse().ok()? }),
        ["progress", revision] => Some(Message::Progress { revision: revision.parse().ok()? }),
        ["compacted", oldest] => Some(Message::Compacted { oldest: oldest.parse().ok()? }),
        _ => {
            let told = |word: &str| {
                let (revision, text) = word.split_once(':')?;
                change(revision.parse().ok()?, text)
            };
            Some(Message::Changes(words.into_iter().map(told).collect::<Option<_>>()?))
        }
    }
}
