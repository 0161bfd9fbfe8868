//! etcd's Watch service: many watches on one stream.
//!
//! One task owns a stream. It takes requests from the client and deliveries from the stream's subscriptions, one at a
//! time, and waits when the client does not read: what happens meanwhile is queued, or left to history, by each
//! subscription within its bounds. Only a compaction that overtakes a client ends its watch.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{AbortHandle, Abortable, FuturesUnordered};
use futures::{Stream, StreamExt};
use prost::Message;
use proto::etcd::{etcdserverpb as pb, mvccpb};
use store_client::{Change, ChangeKind, Denial, Error, KeyRange, Revision, Watch};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Api, convert, error};
use crate::auth::{Caller, Credentials};
use crate::limits::{WATCH_PROGRESS_INTERVAL_MIN, WATCH_RESPONSE_BYTES, WATCH_RESPONSES_IN_FLIGHT};
use crate::server::Handle;
use crate::watch::{Asker, Delivery, Subscription};

type Outgoing = mpsc::Sender<Result<pb::WatchResponse, Status>>;
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
        let (outgoing, answers) = mpsc::channel(WATCH_RESPONSES_IN_FLIGHT);
        let credentials = self.credentials(&request);
        let session = Session::new(self.clone(), credentials, outgoing, needs_leader);
        // Ends with the connection: then the request stream ends and the answers have no reader.
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// One subscription on its way to its next delivery.
struct Turn {
    id: i64,
    subscription: Subscription,
    outcome: Option<Result<News, Error>>,
}

/// A delivery with the changes picked out.
enum News {
    Created(Revision),
    Changes(Revision, Vec<Change>),
    Progress(Revision),
}

type Running = FuturesUnordered<Abortable<Pin<Box<dyn Future<Output = Turn> + Send>>>>;

struct Session {
    api: Api,
    credentials: Credentials,
    outgoing: Outgoing,
    needs_leader: bool,
    watches: HashMap<i64, Entry>,
    running: Running,
    next_id: i64,
    asked: Option<Asked>,
    progress_ticks: Interval,
}

struct Entry {
    owner: Option<Owner>,
    abort: AbortHandle,
    asker: Asker,
    /// The client was told that it began.
    told: bool,
    fragment: bool,
    progress_notify: bool,
    /// Something was delivered since the last look: no progress needed.
    active: bool,
    no_put: bool,
    no_delete: bool,
}

/// Whose watch it is, and of what; nobody's costs no memory.
struct Owner(Box<(Caller, KeyRange)>);

impl Owner {
    fn new(caller: Caller, keys: KeyRange) -> Option<Self> {
        match caller {
            Caller::Nobody => None,
            Caller::Trusted | Caller::User(_) => Some(Self(Box::new((caller, keys)))),
        }
    }

    /// Whether the right to watch is still there.
    fn check(owner: Option<&Self>, handle: &Handle) -> Result<(), Denial> {
        if !handle.must_identify() {
            return Ok(());
        }
        let Some(Self(owner)) = owner else { return Err(Denial::UserEmpty) };
        let (caller, keys) = owner.as_ref();
        handle.may_watch(caller, keys)
    }
}

/// A client wants to know how far all its watches are.
struct Asked {
    waiting: HashSet<i64>,
    reached: i64,
}

/// The client is gone.
struct Gone;

impl Session {
    fn new(api: Api, credentials: Credentials, outgoing: Outgoing, needs_leader: bool) -> Self {
        let period = Duration::from_millis(api.handle.options().progress_notify_interval_ms);
        let period = period.max(WATCH_PROGRESS_INTERVAL_MIN);
        let mut progress_ticks = interval_at(Instant::now() + period, period);
        progress_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            api,
            credentials,
            outgoing,
            needs_leader,
            watches: HashMap::new(),
            running: FuturesUnordered::new(),
            next_id: 0,
            asked: None,
            progress_ticks,
        }
    }

    async fn run(mut self, mut requests: Streaming<pb::WatchRequest>) {
        let mut leadership = self.api.handle.leadership();
        let mut users = self.api.handle.auth_changes();
        loop {
            let alive = tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => self.request(request).await,
                    // The client may close its side and keep listening, or the connection broke; the answers tell.
                    Ok(None) => self.listen_only().await,
                    Err(_broken) => return,
                },
                Some(turn) = self.running.next(), if !self.running.is_empty() => match turn {
                    Ok(turn) => self.turn(turn).await,
                    Err(_aborted) => Ok(()),
                },
                _ = self.progress_ticks.tick() => {
                    self.ask_quiet();
                    Ok(())
                }
                changed = leadership.changed(), if self.needs_leader => match changed {
                    Ok(()) => self.check_leader().await,
                    Err(_stopped) => Err(Gone),
                },
                Ok(()) = users.changed() => self.check_rights().await,
                () = self.outgoing.closed() => return,
            };
            if let Err(Gone) = alive {
                return;
            }
        }
    }

    /// Serves the watches there are until the client goes.
    async fn listen_only(&mut self) -> Result<(), Gone> {
        let mut users = self.api.handle.auth_changes();
        self.check_rights().await?;
        while !self.running.is_empty() {
            tokio::select! {
                Some(turn) = self.running.next() => if let Ok(turn) = turn {
                    self.turn(turn).await?;
                },
                Ok(()) = users.changed() => self.check_rights().await?,
            }
        }
        Err(Gone)
    }

    /// Ends the stream of a client that would rather go elsewhere than listen to a member without a leader.
    async fn check_leader(&mut self) -> Result<(), Gone> {
        if self.api.handle.leadership_now().leader.is_some() {
            return Ok(());
        }
        tokio::time::sleep(self.api.handle.leader_patience()).await;
        if self.api.handle.leadership_now().leader.is_some() {
            return Ok(());
        }
        let _gone_anyway = self.outgoing.send(Err(error::no_leader())).await;
        Err(Gone)
    }

    /// Ends the watches whose owners have lost the right to them.
    async fn check_rights(&mut self) -> Result<(), Gone> {
        let handle = &self.api.handle;
        let denied = self.watches.iter().filter_map(|(id, entry)| {
            Some((*id, entry.abort.clone(), Owner::check(entry.owner.as_ref(), handle).err()?))
        });
        for (id, abort, denial) in denied.collect::<Vec<_>>() {
            abort.abort();
            self.end(id, denial.into()).await?;
        }
        Ok(())
    }

    async fn request(&mut self, request: pb::WatchRequest) -> Result<(), Gone> {
        use pb::watch_request::RequestUnion;
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.ask_all().await,
            None => Ok(()),
        }
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> Result<(), Gone> {
        let keys = match watched_keys(create.key, create.range_end) {
            Ok(keys) => keys,
            Err(reason) => return self.refuse(NO_WATCH, reason).await,
        };
        let id = match self.choose_id(create.watch_id) {
            Ok(id) => id,
            Err(reason) => return self.refuse(NO_WATCH, reason).await,
        };
        let caller = match self.api.admit_again(&self.credentials).await {
            Ok(api) => api.handle.caller().clone(),
            Err(refused) => return self.refuse(NO_WATCH, &error::go_error(&refused)).await,
        };
        let watch = Watch {
            keys: keys.clone(),
            start: Revision(create.start_revision.max(0)),
            prev_kv: create.prev_kv,
            progress: false,
        };
        let subscription = match self.api.handle.acting_for(caller.clone()).subscribe(watch).await {
            Ok(subscription) => subscription,
            Err(Error::Denied(denial)) => {
                return self.refuse(NO_WATCH, &error::watch_reason(denial.into())).await;
            }
            Err(error) => {
                self.send(pb::WatchResponse { watch_id: id, created: true, ..self.answer(None) }).await?;
                return self.end(id, error).await;
            }
        };
        let filtered = |kind: pb::watch_create_request::FilterType| create.filters.contains(&kind.into());
        let (abort, registration) = AbortHandle::new_pair();
        let entry = Entry {
            owner: Owner::new(caller, keys),
            abort,
            asker: subscription.asker(),
            told: false,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            active: false,
            no_put: filtered(pb::watch_create_request::FilterType::Noput),
            no_delete: filtered(pb::watch_create_request::FilterType::Nodelete),
        };
        self.watches.insert(id, entry);
        self.running.push(Abortable::new(Box::pin(step(id, subscription)), registration));
        Ok(())
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

    async fn refuse(&mut self, id: i64, reason: &str) -> Result<(), Gone> {
        let answer = pb::WatchResponse {
            watch_id: id,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..self.answer(None)
        };
        self.send(answer).await
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Gone> {
        let Some(entry) = self.watches.remove(&id) else { return Ok(()) };
        entry.abort.abort();
        if !entry.told {
            // What ends has begun.
            self.send(pb::WatchResponse { watch_id: id, created: true, ..self.answer(None) }).await?;
        }
        self.send(pb::WatchResponse { watch_id: id, canceled: true, ..self.answer(None) }).await?;
        self.reached(id, i64::MAX).await
    }

    /// Ends a watch with the reason.
    async fn end(&mut self, id: i64, reason: Error) -> Result<(), Gone> {
        self.watches.remove(&id);
        let compact_revision = match reason {
            Error::Compacted { oldest } => oldest.0,
            _ => 0,
        };
        let cancel_reason = error::watch_reason(reason);
        let answer = pb::WatchResponse {
            watch_id: id,
            canceled: true,
            compact_revision,
            cancel_reason,
            ..self.answer(None)
        };
        self.send(answer).await?;
        self.reached(id, i64::MAX).await
    }

    async fn turn(&mut self, turn: Turn) -> Result<(), Gone> {
        let Turn { id, subscription, outcome } = turn;
        let Some(entry) = self.watches.get_mut(&id) else { return Ok(()) };
        // Whatever was read before the right was lost, it is not shown after.
        if let Err(denial) = Owner::check(entry.owner.as_ref(), &self.api.handle) {
            return self.end(id, denial.into()).await;
        }
        match outcome {
            None => return Ok(()),
            Some(Err(reason)) => return self.end(id, reason).await,
            Some(Ok(News::Created(revision))) => {
                entry.told = true;
                let created =
                    pb::WatchResponse { watch_id: id, created: true, ..self.answer(Some(revision)) };
                self.send(created).await?;
            }
            Some(Ok(News::Progress(revision))) => self.reached(id, revision.0).await?,
            Some(Ok(News::Changes(revision, changes))) => {
                entry.active = true;
                let wanted = |change: &Change| match change.kind {
                    ChangeKind::Put => !entry.no_put,
                    ChangeKind::Delete => !entry.no_delete,
                };
                let events: Vec<_> = changes.into_iter().filter(wanted).map(event).collect();
                let fragment = entry.fragment;
                if !events.is_empty() {
                    self.send_events(id, revision, events, fragment).await?;
                }
            }
        }
        let Some(entry) = self.watches.get_mut(&id) else { return Ok(()) };
        let (abort, registration) = AbortHandle::new_pair();
        entry.abort = abort;
        self.running.push(Abortable::new(Box::pin(step(id, subscription)), registration));
        Ok(())
    }

    async fn send_events(
        &mut self,
        id: i64,
        revision: Revision,
        events: Vec<mvccpb::Event>,
        fragment: bool,
    ) -> Result<(), Gone> {
        self.api.handle.machine().metrics().events.more(events.len() as u64);
        let parts = if fragment { fragments(events) } else { vec![events] };
        let last = parts.len() - 1;
        for (number, events) in parts.into_iter().enumerate() {
            let part = pb::WatchResponse {
                watch_id: id,
                events,
                fragment: number < last,
                ..self.answer(Some(revision))
            };
            self.send(part).await?;
        }
        Ok(())
    }

    /// Asks the watches that want to know and were quiet.
    fn ask_quiet(&mut self) {
        for entry in self.watches.values_mut() {
            if entry.progress_notify && !std::mem::take(&mut entry.active) {
                entry.asker.ask();
            }
        }
    }

    /// Asks all watches, to answer once for all of them.
    async fn ask_all(&mut self) -> Result<(), Gone> {
        if self.asked.is_some() {
            // The answer that is on its way will do.
            return Ok(());
        }
        if self.watches.is_empty() {
            return self.send(pb::WatchResponse { watch_id: NO_WATCH, ..self.answer(None) }).await;
        }
        self.asked = Some(Asked { waiting: self.watches.keys().copied().collect(), reached: i64::MAX });
        self.watches.values().for_each(|entry| entry.asker.ask());
        Ok(())
    }

    /// A watch has delivered everything up to a revision.
    async fn reached(&mut self, id: i64, revision: i64) -> Result<(), Gone> {
        let awaited = self.asked.as_mut().is_some_and(|asked| {
            let awaited = asked.waiting.remove(&id);
            if awaited {
                asked.reached = asked.reached.min(revision);
            }
            awaited
        });
        if !awaited {
            // Asked because it was quiet; a watch that has ended is not told any more.
            if revision == i64::MAX {
                return Ok(());
            }
            let progress = pb::WatchResponse { watch_id: id, ..self.answer(Some(Revision(revision))) };
            return self.send(progress).await;
        }
        if let Some(asked) = self.asked.take_if(|asked| asked.waiting.is_empty()) {
            let reached = (asked.reached < i64::MAX).then_some(Revision(asked.reached));
            let answer = pb::WatchResponse { watch_id: NO_WATCH, ..self.answer(reached) };
            return self.send(answer).await;
        }
        Ok(())
    }

    fn answer(&self, revision: Option<Revision>) -> pb::WatchResponse {
        let header = revision.map_or_else(|| self.api.header_now(), |revision| self.api.header(revision));
        pb::WatchResponse { header, ..Default::default() }
    }

    async fn send(&mut self, response: pb::WatchResponse) -> Result<(), Gone> {
        self.outgoing.send(Ok(response)).await.map_err(|_| Gone)
    }
}

/// Waits for the next thing to say about a watch.
async fn step(id: i64, mut subscription: Subscription) -> Turn {
    loop {
        let outcome = match subscription.next().await {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(Delivery::Created(revision))) => Some(Ok(News::Created(revision))),
            Some(Ok(Delivery::Progress(revision))) => Some(Ok(News::Progress(revision))),
            Some(Ok(Delivery::Revised(revised))) => match select(&subscription, revised).await {
                Ok(None) => continue,
                Ok(Some(message)) => Some(Ok(message)),
                Err(error) => Some(Err(error)),
            },
        };
        return Turn { id, subscription, outcome };
    }
}

async fn select(
    subscription: &Subscription,
    revised: Arc<crate::mvcc::draft::Revised>,
) -> Result<Option<News>, Error> {
    let changes = subscription.select(&revised).await?;
    Ok((!changes.is_empty()).then_some(News::Changes(revised.revision, changes)))
}

fn watched_keys(key: Bytes, range_end: Bytes) -> Result<KeyRange, &'static str> {
    // No key at all means from the first one.
    let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key };
    match convert::keys(key, range_end) {
        KeyRange::Interval { start, end } if start >= end => Err("mvcc: watcher range is empty"),
        keys => Ok(keys),
    }
}

fn event(change: Change) -> mvccpb::Event {
    let r#type = match change.kind {
        ChangeKind::Put => mvccpb::event::EventType::Put,
        ChangeKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: r#type.into(),
        kv: Some(convert::key_value(change.kv)),
        prev_kv: change.prev_kv.map(convert::key_value),
    }
}

/// Cuts events into parts that fit a message; an event alone may exceed it.
fn fragments(events: Vec<mvccpb::Event>) -> Vec<Vec<mvccpb::Event>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let length = event.encoded_len();
        if bytes > 0 && bytes + length > WATCH_RESPONSE_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        parts.last_mut().expect("there is a first part").push(event);
    }
    parts
}
