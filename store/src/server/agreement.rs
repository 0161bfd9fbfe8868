//! Whether all members have the same state, asked again and again (invariant S5 found broken is S7).
//!
//! ```text
//! leader: hash of what is readable between two revisions ──► each member: its own hash of the same
//!         the hash of a majority of the voters counts    ──► verdict to all: who has another
//! member: it is me, and my hash is indeed another        ──► remembers that it is damaged, and stops
//! ```
//!
//! Nobody is stopped by another's word: a member compares the verdict with the hash that it gave itself. Without a
//! majority nobody stops, and all are reported. The scan is paced, so that it costs a bounded share of the disk.

use std::collections::BTreeMap;

use futures::future::join_all;
use proto::store::members_client::MembersClient;
use proto::store::{StateHashRequest, VerdictRequest};
use raft::{Dial, MemberId};
use tokio::time::{Duration, Instant};

use super::{Error, Handle, Options, blocking, listen};
use crate::limits::{HASH_CHECK_FIRST, HASH_CHECK_TIMEOUT};
use crate::mvcc::Facts;

/// What the answers of a round mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What a majority of the voters has.
    pub hash: Option<u32>,
    /// Who has something else; without a majority, everybody who answered if they differ.
    pub corrupt: Vec<MemberId>,
}

/// Judges answers, given whether each member votes.
pub fn judge(answers: &BTreeMap<MemberId, (bool, Option<u32>)>) -> Verdict {
    let voters = answers.values().filter(|(votes, _)| *votes).count();
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for hash in answers.values().filter(|(votes, _)| *votes).filter_map(|(_, hash)| *hash) {
        *counts.entry(hash).or_default() += 1;
    }
    let hash = counts.iter().find(|(_, count)| **count * 2 > voters).map(|(hash, _)| *hash);
    let given = || answers.iter().filter_map(|(id, (_, hash))| hash.map(|hash| (*id, hash)));
    let corrupt: Vec<_> = match hash {
        Some(right) => given().filter(|(_, hash)| *hash != right).map(|(id, _)| id).collect(),
        None if counts.len() > 1 => given().map(|(id, _)| id).collect(),
        None => Vec::new(),
    };
    Verdict { hash, corrupt }
}

/// As the leader, compares the members' states every now and then.
pub async fn compare(handle: Handle, options: Options, dial: Dial) -> Result<(), Error> {
    let interval = Duration::from_secs(options.hash_check_interval_s);
    let mut next = Instant::now() + interval.min(HASH_CHECK_FIRST);
    let mut reported = false;
    loop {
        tokio::time::sleep_until(next).await;
        next = Instant::now() + interval;
        if handle.leadership_now().is_self {
            round(&handle, (&options, dial), &mut reported).await?;
        }
    }
}

async fn round(handle: &Handle, ways: Ways<'_>, reported: &mut bool) -> Result<(), Error> {
    let facts = handle.machine().facts();
    let machine = handle.machine().clone();
    let own = blocking(handle.machine().work(), move || machine.hash_between(facts)).await?;
    handle.remember_hash(facts, own);
    let others = handle.raft().status().members;
    let asked = others.into_iter().filter(|(id, _)| *id != handle.member_id());
    let asked: Vec<_> = asked.map(|(id, (member, votes))| (id, member.peer_url, votes)).collect();
    let answers = join_all(asked.iter().map(|(_, url, _)| ask(handle, ways, url, facts))).await;
    let mut all = BTreeMap::from([(handle.member_id(), (true, own))]);
    all.extend(asked.iter().zip(answers).map(|((id, _, votes), hash)| (*id, (*votes, hash))));
    let verdict = judge(&all);
    if verdict.corrupt.is_empty() && !*reported {
        return Ok(());
    }
    *reported = !verdict.corrupt.is_empty();
    if *reported {
        tracing::error!(revision = facts.revision, hashes = ?all, corrupt = ?verdict.corrupt, "the members' states differ");
    }
    join_all(asked.iter().map(|(_, url, _)| tell(handle, ways, url, facts, &verdict))).await;
    handle.take_verdict(facts, &verdict);
    Ok(())
}

/// How the other members are reached.
type Ways<'a> = (&'a Options, Dial);

fn client((options, dial): Ways<'_>, url: &str) -> Option<MembersClient<tonic::transport::Channel>> {
    let endpoint = listen::peer_endpoint(options, url).ok()?.timeout(HASH_CHECK_TIMEOUT);
    Some(MembersClient::new(dial(endpoint)))
}

async fn ask(handle: &Handle, ways: Ways<'_>, url: &str, facts: Facts) -> Option<u32> {
    let Facts { revision, compacted } = facts;
    let request = StateHashRequest { cluster_id: handle.cluster_id(), compacted, revision };
    match client(ways, url)?.state_hash(request).await {
        Ok(response) => response.into_inner().hash,
        Err(error) => {
            tracing::debug!(url, %error, "a member did not tell its hash");
            None
        }
    }
}

async fn tell(handle: &Handle, ways: Ways<'_>, url: &str, facts: Facts, verdict: &Verdict) {
    let request = VerdictRequest {
        cluster_id: handle.cluster_id(),
        compacted: facts.compacted,
        revision: facts.revision,
        hash: verdict.hash.unwrap_or_default(),
        corrupt: verdict.corrupt.iter().map(|id| id.0).collect(),
        agreed: verdict.hash.is_some(),
    };
    let Some(mut client) = client(ways, url) else { return };
    if let Err(error) = client.verdict(request).await {
        tracing::info!(url, %error, "a member could not be told whose state differs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_the_voters_decides_and_nobody_else() {
        let check = |answers: &[(u64, bool, Option<u32>)], hash: Option<u32>, corrupt: &[u64]| {
            let answers = answers.iter().map(|(id, votes, hash)| (MemberId(*id), (*votes, *hash))).collect();
            let corrupt = corrupt.iter().map(|id| MemberId(*id)).collect();
            assert_eq!(judge(&answers), Verdict { hash, corrupt }, "{answers:?}");
        };
        check(&[(1, true, Some(5))], Some(5), &[]);
        check(&[(1, true, Some(5)), (2, true, Some(5)), (3, true, Some(6))], Some(5), &[3]);
        check(&[(1, true, Some(6)), (2, true, Some(5)), (3, true, Some(5))], Some(5), &[1]);
        check(&[(1, true, Some(5)), (2, true, Some(5)), (3, true, None)], Some(5), &[]);
        check(&[(1, true, Some(5)), (2, true, None), (3, true, None)], None, &[]);
        check(&[(1, true, Some(5)), (2, true, Some(6))], None, &[1, 2]);
        check(&[(1, true, Some(5)), (2, false, Some(6)), (3, false, Some(6))], Some(5), &[2, 3]);
        check(&[(1, true, Some(5)), (2, true, Some(6)), (3, true, None)], None, &[1, 2]);
    }
}
