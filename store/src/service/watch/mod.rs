//! etcd's Watch service: many watches on one stream.
//!
//! ```text
//!  client ──requests──► line ──┐
//!  ticks, users, leadership ───┤ signals
//!                              ▼
//!  hub ──bells──► turns ──► Session ──outbox──► the connection asks for the next answer
//!                              ▲
//!  history, values before ─────┘ away
//! ```
//!
//! A session has no task of its own: whoever writes to the connection polls it, and only when the client has room. What happens meanwhile is
//! queued, or left to history, by each subscription within its bounds. Only a compaction that overtakes a client ends its watch.

mod answers;
mod line;

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use proto::etcd::{etcdserverpb as pb, mvccpb};
use store_client::{Change, ChangeKind, Denial, Error, KeyRange, Revision};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tonic::{Request, Response, Status, Streaming};

use super::{Api, error};
use crate::auth::Caller;
use crate::limits::{NEWS_IN_A_ROW_MAX, WATCH_PROGRESS_INTERVAL_MIN};
use crate::server::Handle;
use crate::watch::{Asker, Bells, Delivery, Step, Subscription};
use answers::{event, fragments};
use line::{Admitted, Ask, Heard, Line, Refused};

type Answers = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

/// What etcd puts where there is no watch.
const NO_WATCH: i64 = -1;

#[tonic::async_trait]
impl pb::watch_server::Watch for Api {
    type WatchStream = Answers;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let needs_leader = request.metadata().get("hasleader").is_some_and(|value| value == "true");
        if needs_leader && self.handle.leadership_now().leader.is_none() {
            return Err(error::no_leader());
        }
        let credentials = self.credentials(&request);
        let line = Box::new(Line { requests: request.into_inner(), api: self.clone(), credentials });
        Ok(Response::new(Box::pin(Session::new(line, needs_leader))))
    }
}

/// What makes a session do something, other than changes of keys.
enum Signal {
    /// The client has said something, or will say nothing any more.
    Heard(Heard),
    /// Time to tell quiet watches how far they are.
    Tick(Interval),
    /// Users or roles have changed.
    Users(watch::Receiver<u64>),
    /// There has been no leader for longer than an election takes.
    NoLeader,
    /// The member has stopped.
    Stopped,
}

/// A subscription that has read something.
struct Returned {
    id: i64,
    subscription: Subscription,
    outcome: Result<Option<(Revision, Vec<Change>)>, Error>,
}

type Waiting<T> = FuturesUnordered<Pin<Box<dyn Future<Output = T> + Send>>>;

struct Session {
    api: Api,
    /// In boxes: a table of them has room for up to twice as many as it holds.
    watches: HashMap<i64, Box<Entry>>,
    bells: Arc<Bells>,
    /// Watches that may have news.
    turns: VecDeque<i64>,
    /// How often news was told since a look at the rest.
    news_in_a_row: u32,
    /// Subscriptions that wait for the disk.
    away: Waiting<Returned>,
    signals: Waiting<Signal>,
    outbox: VecDeque<Result<pb::WatchResponse, Status>>,
    next_id: i64,
    asked: Option<Asked>,
    /// The client asks for nothing any more, but listens.
    only_listens: bool,
    /// Nothing follows what is in the outbox.
    ended: bool,
}

struct Entry {
    at: Whereabouts,
    owner: Option<Owner>,
    /// The client was told that it began.
    told: bool,
    fragment: bool,
    progress_notify: bool,
    /// Something was delivered since the last look: no progress needed.
    active: bool,
    no_put: bool,
    no_delete: bool,
}

/// Where the subscription of a watch is.
enum Whereabouts {
    Here(Subscription),
    /// It waits for the disk.
    Away(Asker),
}

impl Whereabouts {
    fn keys(&self) -> KeyRange {
        match self {
            Self::Here(subscription) => subscription.keys(),
            Self::Away(asker) => asker.keys(),
        }
    }

    /// Asks how far it is.
    fn ask(&self) {
        match self {
            Self::Here(subscription) => subscription.asker().ask(),
            Self::Away(asker) => asker.ask(),
        }
    }

    /// Whether it is this subscription that is away, and not that of another watch of the same name, before or after.
    fn awaits(&self, subscription: &Subscription) -> bool {
        matches!(self, Self::Away(asker) if asker.asks(subscription))
    }

    /// Lets it go, to come back later.
    fn leave(&mut self) -> Option<Subscription> {
        let Self::Here(subscription) = self else { return None };
        let away = Self::Away(subscription.asker());
        match std::mem::replace(self, away) {
            Self::Here(subscription) => Some(subscription),
            Self::Away(_) => None,
        }
    }
}

/// Whose watch it is; nobody's costs no memory.
struct Owner(Box<Caller>);

impl Owner {
    fn new(caller: Caller) -> Option<Self> {
        match caller {
            Caller::Nobody => None,
            Caller::Trusted | Caller::User(_) => Some(Self(Box::new(caller))),
        }
    }
}

impl Entry {
    /// Whether the right to watch is still there.
    fn check(&self, handle: &Handle) -> Result<(), Denial> {
        if !handle.must_identify() {
            return Ok(());
        }
        let Some(Owner(caller)) = &self.owner else { return Err(Denial::UserEmpty) };
        handle.may_watch(caller, &self.at.keys())
    }
}

/// A client wants to know how far all its watches are.
struct Asked {
    waiting: HashSet<i64>,
    reached: i64,
}

impl Stream for Session {
    type Item = Result<pb::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let session = &mut *self;
        loop {
            if let Some(answer) = session.outbox.pop_front() {
                return Poll::Ready(Some(answer));
            }
            if session.ended || (session.only_listens && session.watches.is_empty()) {
                return Poll::Ready(None);
            }
            // Most of what happens is news, and asking for the rest costs as much as telling it; but the rest must have its turn, too.
            if session.news_in_a_row < NEWS_IN_A_ROW_MAX && session.news(context) {
                session.news_in_a_row += 1;
                continue;
            }
            let quiet = std::mem::take(&mut session.news_in_a_row) < NEWS_IN_A_ROW_MAX;
            let mut idle = true;
            if let Poll::Ready(Some(signal)) = session.signals.poll_next_unpin(context) {
                session.signal(signal);
                idle = false;
            }
            if let Poll::Ready(Some(returned)) = session.away.poll_next_unpin(context) {
                session.returned(returned);
                idle = false;
            }
            if idle && (quiet || !session.news(context)) {
                return Poll::Pending;
            }
        }
    }
}

impl Session {
    fn new(line: Box<Line>, needs_leader: bool) -> Self {
        let api = line.api.clone();
        let signals: Waiting<Signal> = FuturesUnordered::new();
        signals.push(Box::pin(hear(line)));
        signals.push(Box::pin(tick(progress_ticks(&api.handle))));
        signals.push(Box::pin(users(api.handle.auth_changes())));
        if needs_leader {
            signals.push(Box::pin(no_leader(api.handle.clone())));
        }
        Self {
            api,
            watches: HashMap::new(),
            bells: Arc::default(),
            turns: VecDeque::new(),
            news_in_a_row: 0,
            away: FuturesUnordered::new(),
            signals,
            outbox: VecDeque::new(),
            next_id: 0,
            asked: None,
            only_listens: false,
            ended: false,
        }
    }

    /// Has a watch tell its news, or finds out which have some; when none has, the first that does wakes the task.
    fn news(&mut self, context: &mut Context<'_>) -> bool {
        match self.turns.pop_front() {
            Some(id) => {
                self.turn(id);
                true
            }
            None => self.bells.poll_rung(context, &mut self.turns).is_ready(),
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Heard(Heard::Asked(line, ask)) => {
                self.ask(ask);
                self.signals.push(Box::pin(hear(line)));
            }
            // The client may close its side and keep listening.
            Signal::Heard(Heard::Closed) => self.only_listens = true,
            Signal::Heard(Heard::Broken) | Signal::Stopped => self.ended = true,
            Signal::Tick(ticks) => {
                self.ask_quiet();
                self.signals.push(Box::pin(tick(ticks)));
            }
            Signal::Users(changes) => {
                self.check_rights();
                self.signals.push(Box::pin(users(changes)));
            }
            // The client would rather go elsewhere than listen to a member without a leader.
            Signal::NoLeader => {
                self.outbox.push_back(Err(error::no_leader()));
                self.ended = true;
            }
        }
    }

    /// Ends the watches whose owners have lost the right to them.
    fn check_rights(&mut self) {
        let handle = &self.api.handle;
        let denied = self.watches.iter().filter_map(|(id, entry)| Some((*id, entry.check(handle).err()?)));
        for (id, denial) in denied.collect::<Vec<_>>() {
            self.end(id, denial.into());
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Create(create, admitted) => self.create(&create, admitted),
            Ask::Cancel(id) => self.cancel(id),
            Ask::Progress => self.ask_all(),
            Ask::Nothing => {}
        }
    }

    fn create(&mut self, create: &pb::WatchCreateRequest, admitted: Result<Admitted, Refused>) {
        let admitted = match admitted {
            Ok(admitted) => Ok(admitted),
            Err(Refused::Ended(error)) => Err(error),
            Err(Refused::Reason(reason)) => return self.refuse(&reason),
        };
        let id = match self.choose_id(create.watch_id) {
            Ok(id) => id,
            Err(reason) => return self.refuse(reason),
        };
        let Admitted { caller, subscription } = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                self.say(pb::WatchResponse { watch_id: id, created: true, ..self.answer(None) });
                return self.end(id, error);
            }
        };
        subscription.ring(self.bells.clone(), id);
        let filtered = |kind: pb::watch_create_request::FilterType| create.filters.contains(&kind.into());
        let entry = Entry {
            at: Whereabouts::Here(subscription),
            owner: Owner::new(caller),
            told: false,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            active: false,
            no_put: filtered(pb::watch_create_request::FilterType::Noput),
            no_delete: filtered(pb::watch_create_request::FilterType::Nodelete),
        };
        self.watches.insert(id, Box::new(entry));
        self.turns.push_back(id);
    }

    fn choose_id(&mut self, asked: i64) -> Result<i64, &'static str> {
        if asked != 0 {
            let taken = self.watches.contains_key(&asked);
            return if taken {
                Err("mvcc: duplicate watch ID provided on the WatchStream")
            } else {
                Ok(asked)
            };
        }
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    fn refuse(&mut self, reason: &str) {
        let refused = pb::WatchResponse {
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..self.answer(None)
        };
        self.say(refused);
    }

    fn cancel(&mut self, id: i64) {
        let Some(entry) = self.watches.remove(&id) else { return };
        if !entry.told {
            // What ends has begun.
            self.say(pb::WatchResponse { watch_id: id, created: true, ..self.answer(None) });
        }
        self.say(pb::WatchResponse { watch_id: id, canceled: true, ..self.answer(None) });
        self.reached(id, i64::MAX);
    }

    /// Ends a watch with the reason.
    fn end(&mut self, id: i64, reason: Error) {
        self.watches.remove(&id);
        let compact_revision = match reason {
            Error::Compacted { oldest } => oldest.0,
            _ => 0,
        };
        let cancel_reason = error::watch_reason(reason);
        let ended = pb::WatchResponse {
            watch_id: id,
            canceled: true,
            compact_revision,
            cancel_reason,
            ..self.answer(None)
        };
        self.say(ended);
        self.reached(id, i64::MAX);
    }

    /// Has a watch tell one thing, if it has any.
    fn turn(&mut self, id: i64) {
        let Some(entry) = self.watches.get_mut(&id) else { return };
        let Whereabouts::Here(subscription) = &mut entry.at else { return };
        match subscription.step() {
            Step::Quiet | Step::Ended => {}
            Step::Behind => {
                let Some(mut subscription) = entry.at.leave() else { return };
                self.away.push(Box::pin(async move {
                    let outcome = subscription.read().await.map(|()| None);
                    Returned { id, subscription, outcome }
                }));
            }
            Step::Deliver(Delivery::Revised(revised)) if subscription.wants_values_before() => {
                let Some(subscription) = entry.at.leave() else { return };
                self.away.push(Box::pin(async move {
                    let selected = subscription.select(&revised).await;
                    let outcome = selected.map(|changes| Some((revised.revision, changes)));
                    Returned { id, subscription, outcome }
                }));
            }
            Step::Deliver(delivery) => {
                let changes = match &delivery {
                    Delivery::Revised(revised) => subscription.select_now(revised),
                    Delivery::Created(_) | Delivery::Progress(_) => Vec::new(),
                };
                // Behind the others: there may be more.
                self.turns.push_back(id);
                match delivery {
                    Delivery::Created(revision) => self.created(id, revision),
                    Delivery::Progress(revision) => self.reached(id, revision.0),
                    Delivery::Revised(revised) => self.deliver(id, revised.revision, changes),
                }
            }
        }
    }

    fn returned(&mut self, returned: Returned) {
        let Returned { id, subscription, outcome } = returned;
        let entry = self.watches.get_mut(&id).filter(|entry| entry.at.awaits(&subscription));
        let Some(entry) = entry else { return };
        entry.at = Whereabouts::Here(subscription);
        self.turns.push_back(id);
        match outcome {
            Ok(None) => {}
            Ok(Some((revision, changes))) => self.deliver(id, revision, changes),
            Err(reason) => self.end(id, reason),
        }
    }

    fn created(&mut self, id: i64, revision: Revision) {
        if let Some(entry) = self.watches.get_mut(&id) {
            entry.told = true;
            self.say(pb::WatchResponse { watch_id: id, created: true, ..self.answer(Some(revision)) });
        }
    }

    fn deliver(&mut self, id: i64, revision: Revision, changes: Vec<Change>) {
        let Some(entry) = self.watches.get_mut(&id) else { return };
        // Whatever was read before the right was lost, it is not shown after.
        if let Err(denial) = entry.check(&self.api.handle) {
            return self.end(id, denial.into());
        }
        entry.active |= !changes.is_empty();
        let wanted = |change: &Change| match change.kind {
            ChangeKind::Put => !entry.no_put,
            ChangeKind::Delete => !entry.no_delete,
        };
        let events: Vec<_> = changes.into_iter().filter(wanted).map(event).collect();
        let fragment = entry.fragment;
        if !events.is_empty() {
            self.say_events(id, revision, events, fragment);
        }
    }

    fn say_events(&mut self, id: i64, revision: Revision, events: Vec<mvccpb::Event>, fragment: bool) {
        self.api.handle.machine().metrics().events.more(events.len() as u64);
        let whole = pb::WatchResponse { watch_id: id, ..self.answer(Some(revision)) };
        if !fragment {
            return self.say(pb::WatchResponse { events, ..whole });
        }
        let parts = fragments(events);
        let last = parts.len() - 1;
        for (number, events) in parts.into_iter().enumerate() {
            self.say(pb::WatchResponse { events, fragment: number < last, ..whole.clone() });
        }
    }

    /// Asks the watches that want to know and were quiet.
    fn ask_quiet(&mut self) {
        for entry in self.watches.values_mut() {
            if entry.progress_notify && !std::mem::take(&mut entry.active) {
                entry.at.ask();
            }
        }
    }

    /// Asks all watches, to answer once for all of them.
    fn ask_all(&mut self) {
        if self.asked.is_some() {
            // The answer that is on its way will do.
            return;
        }
        if self.watches.is_empty() {
            return self.say(pb::WatchResponse { watch_id: NO_WATCH, ..self.answer(None) });
        }
        self.asked = Some(Asked { waiting: self.watches.keys().copied().collect(), reached: i64::MAX });
        self.watches.values().for_each(|entry| entry.at.ask());
    }

    /// A watch has delivered everything up to a revision.
    fn reached(&mut self, id: i64, revision: i64) {
        let awaited = self.asked.as_mut().is_some_and(|asked| {
            let awaited = asked.waiting.remove(&id);
            if awaited {
                asked.reached = asked.reached.min(revision);
            }
            awaited
        });
        if !awaited {
            // Asked because it was quiet; a watch that has ended is not told any more.
            if revision < i64::MAX {
                self.say(pb::WatchResponse { watch_id: id, ..self.answer(Some(Revision(revision))) });
            }
            return;
        }
        if let Some(asked) = self.asked.take_if(|asked| asked.waiting.is_empty()) {
            let reached = (asked.reached < i64::MAX).then_some(Revision(asked.reached));
            self.say(pb::WatchResponse { watch_id: NO_WATCH, ..self.answer(reached) });
        }
    }

    fn answer(&self, revision: Option<Revision>) -> pb::WatchResponse {
        let header = revision.map_or_else(|| self.api.header_now(), |revision| self.api.header(revision));
        pb::WatchResponse { header, ..Default::default() }
    }

    fn say(&mut self, response: pb::WatchResponse) {
        self.outbox.push_back(Ok(response));
    }
}

async fn hear(line: Box<Line>) -> Signal {
    Signal::Heard(line.hear().await)
}

fn progress_ticks(handle: &Handle) -> Interval {
    let period = Duration::from_millis(handle.options().progress_notify_interval_ms);
    let period = period.max(WATCH_PROGRESS_INTERVAL_MIN);
    let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn tick(mut ticks: Interval) -> Signal {
    ticks.tick().await;
    Signal::Tick(ticks)
}

async fn users(mut changes: watch::Receiver<u64>) -> Signal {
    match changes.changed().await {
        Ok(()) => Signal::Users(changes),
        Err(_stopped) => Signal::Stopped,
    }
}

async fn no_leader(handle: Handle) -> Signal {
    let mut leadership = handle.leadership();
    loop {
        if leadership.wait_for(|now| now.leader.is_none()).await.is_err() {
            return Signal::Stopped;
        }
        tokio::time::sleep(handle.leader_patience()).await;
        if leadership.borrow().leader.is_none() {
            return Signal::NoLeader;
        }
    }
}
