//! A run with accounts instead of keys: tellers, the fault, tellers again, and the judgement.

use anyhow::{Context, ensure};
use check::bank::{Account, Answer, Bank, Ledger, Told};
use check::linear::{self, Verdict};
use proto::etcd::etcdserverpb as pb;
use proto::etcd::mvccpb;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::calls;
use crate::cluster::Cluster;
use crate::coverage::Coverage;
use crate::fault::{Fault, Scene};
use crate::limits::{ACCOUNTS, BALANCE, CLIENTS, STEPS};
use crate::run::{end, strike, traffic};
use crate::teller::{Books, PREFIX, PREFIX_END, Teller, account, put};
use crate::watcher;
use crate::workload::Record;

/// Strikes a cluster whose clients move money, and judges what they saw.
pub async fn run(fault: Fault, seed: u64) -> anyhow::Result<Coverage> {
    let cluster = Cluster::start(fault.layout()).await?;
    let mut scene = Scene { cluster, record: Record::default(), seen: Coverage::default() };
    let opened = open(&scene.cluster).await?;
    let (books, stop, begin) = (Books::default(), CancellationToken::new(), Instant::now());
    let addresses = scene.cluster.places().map(|at| scene.cluster.client_address(at));
    let channels: Vec<_> = addresses.map(calls::channel).collect();
    let mut tellers = JoinSet::new();
    for number in 1..=CLIENTS as u64 {
        let told = (books.clone(), scene.record.clone());
        let teller = Teller::new(number, &channels, (begin, seed, &opened), told);
        tellers.spawn(teller.run(stop.clone()));
    }
    traffic(&scene.record, "before the fault").await?;
    strike(fault, &mut scene).await?;
    traffic(&scene.record, "after the fault").await?;
    stop.cancel();
    end(tellers).await?;
    judge(&mut scene, &opened, &books).await?;
    Ok(scene.seen)
}

/// Opens all accounts in one transaction.
async fn open(cluster: &Cluster) -> anyhow::Result<Bank> {
    let success = (0..ACCOUNTS).map(|account| put(account, BALANCE, 0)).collect();
    let member = *cluster.members().first().context("there are no members")?;
    let revision = cluster.txn(member, pb::TxnRequest { success, ..Default::default() }).await?;
    Ok(Bank::open(ACCOUNTS, BALANCE, revision))
}

async fn judge(scene: &mut Scene, opened: &Bank, books: &Books) -> anyhow::Result<()> {
    let books = books.all();
    let answered = books.history.iter().filter_map(|timed| timed.call.answer.as_ref());
    let revisions = answered.map(|(Answer::Moved { revision } | Answer::Seen { revision, .. })| *revision);
    let newest = revisions.max().context("nothing was answered")?;
    let mut ledgers = Vec::new();
    for at in scene.cluster.members() {
        let events = events(&scene.cluster, at, (opened.revision, newest)).await?;
        ledgers.push(Ledger::new(opened, events).with_context(|| format!("as member {at} tells it"))?);
    }
    scene.cluster.agree(newest).await?;
    let transfers = ledgers.iter().map(Ledger::len).max().unwrap_or(0);
    for ledger in &ledgers {
        ledger.holds_all(&books.history)?;
        judge_past(ledger, opened, newest, &books.past)?;
    }
    ensure!(books.back.is_empty(), "S5: reads without agreement went back: {:?}", books.back);
    scene.seen.add_surely("transfers", transfers as u64)?;
    scene.seen.add_surely("reads without agreement", books.past.len() as u64)?;
    let lost = books.history.iter().filter(|timed| matches!(timed.call.answer, Some(Answer::Seen { .. })));
    scene.seen.add_surely("audits and refused transfers", lost.count() as u64)?;
    let history = ledgers.pop().context("there are no members")?.tighten(books.history);
    let verdict = linear::check(opened, &history, STEPS);
    ensure!(verdict == Verdict::Linearizable, "S4, S7: {verdict:?}");
    Ok(())
}

/// Reads without agreement saw a past that was; a new member may have been asked before it had any.
fn judge_past(
    ledger: &Ledger,
    opened: &Bank,
    newest: i64,
    past: &[(i64, Vec<Account>)],
) -> anyhow::Result<()> {
    for (revision, seen) in past {
        if *revision < opened.revision {
            ensure!(seen.is_empty(), "S5: {seen:?} at {revision}, before the accounts were opened");
        } else if *revision <= newest {
            ledger.is_past(*revision, seen).context("S5")?;
        }
    }
    Ok(())
}

/// What a member tells of the accounts, each response by itself.
async fn events(cluster: &Cluster, at: usize, (opened, newest): (i64, i64)) -> anyhow::Result<Vec<Told>> {
    let create = pb::WatchCreateRequest {
        key: PREFIX.into(),
        range_end: PREFIX_END.into(),
        start_revision: opened + 1,
        ..Default::default()
    };
    if newest <= opened {
        return Ok(Vec::new());
    }
    let responses = watcher::responses(cluster.client_address(at), create, newest).await?;
    let told = |event: &mvccpb::Event| event.kv.as_ref().and_then(account).context("a foreign event");
    responses.iter().map(|response| response.iter().map(told).collect()).collect()
}
