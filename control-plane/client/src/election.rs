//! Leadership on a `coordination.k8s.io/v1` Lease, with a fence for every write of the leader.
//!
//! Knows the Lease; must not know what leaders do. Time is measured on the own monotonic clock since the Lease
//! was last seen to change, so clocks of servers need not agree. Each term increments `leaseTransitions`, also
//! when the holder follows itself, so a fence (holder, transitions) names exactly one term (invariant C4): a
//! paused ex-leader's writes are refused whatever its clock says.

use std::{future::Future, sync::Arc, time::Duration};

use api::objects::{Fence, Objects};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Client, Error, clock, error::chain, limits, refs};

/// Which Lease, who we are, and how patient everybody is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Who we are; must be unique among candidates that live at the same time.
    pub identity: String,
    /// How long others wait after the last renewal they saw. Default 15 s.
    pub lease: Duration,
    /// How long the leader tries to renew before it gives up; less than `lease`. Default 10 s.
    pub renew: Duration,
    /// Time between tries. Default 2 s.
    pub retry: Duration,
}

impl Options {
    /// With the usual times, and an identity made unique per process.
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: format!("{identity}_{}", uuid::Uuid::new_v4()),
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// A candidate for leadership.
pub struct Elector {
    options: Options,
    client: Client,
    /// The Lease as last read, and when it was last seen to change.
    observed: Option<(Lease, Instant)>,
}

impl Elector {
    /// A candidate.
    pub fn new(objects: Arc<dyn Objects>, options: Options) -> Self {
        Self { client: Client::new(objects), options, observed: None }
    }

    /// Campaigns, and runs `lead` once per term with the term's fence, until shutdown. The token `lead` is
    /// given ends when leadership is lost or shutdown begins; `lead` then has
    /// [`limits::STEP_DOWN_TIMEOUT`] to return. If `lead` returns on its own, leadership is released and this
    /// returns too. At shutdown the Lease is released, so that another candidate need not wait.
    pub async fn run_while_leading<F, Fut>(mut self, shutdown: CancellationToken, mut lead: F)
    where
        F: FnMut(Fence, CancellationToken) -> Fut,
        Fut: Future<Output = ()>,
    {
        while let Some(fence) = shutdown.run_until_cancelled(self.campaign()).await {
            info!(
                lease = self.options.name,
                identity = self.options.identity,
                term = fence.transitions,
                "leading"
            );
            let term = shutdown.child_token();
            let work = lead(fence.clone(), term.clone());
            tokio::pin!(work);
            let ended = tokio::select! {
                () = &mut work => Ended::Finished,
                () = self.hold(&fence) => Ended::Lost,
                () = shutdown.cancelled() => Ended::Shutdown,
            };
            term.cancel();
            if ended != Ended::Finished
                && tokio::time::timeout(limits::STEP_DOWN_TIMEOUT, work).await.is_err()
            {
                warn!(lease = self.options.name, "the leader's work did not end in time and was stopped");
            }
            if ended == Ended::Lost {
                warn!(lease = self.options.name, term = fence.transitions, "leadership lost");
                continue;
            }
            self.release(&fence).await;
            return;
        }
    }

    /// Tries until leadership is won.
    async fn campaign(&mut self) -> Fence {
        loop {
            match self.try_acquire().await {
                Ok(Some(fence)) => return fence,
                Ok(None) => {}
                Err(error) if error.is_conflict() || error.is_already_exists() => {}
                Err(error) => debug!(lease = self.options.name, error = chain(&error), "cannot campaign"),
            }
            tokio::time::sleep(self.options.retry.mul_f64(1.0 + rand::random_range(0.0..0.2))).await;
        }
    }

    async fn try_acquire(&mut self) -> Result<Option<Fence>, Error> {
        let (namespace, name) = (&self.options.namespace, &self.options.name);
        let Some(mut lease) = self.client.find::<Lease>(namespace, name).await? else {
            let metadata = ObjectMeta {
                namespace: Some(namespace.clone()),
                name: Some(name.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease { metadata, spec: Some(self.spec(1)) };
            let created = self.client.create(&lease).await?;
            return Ok(Some(self.won(created)));
        };
        if !self.is_free(&lease) {
            return Ok(None);
        }
        let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
        lease.spec = Some(self.spec(transitions.wrapping_add(1)));
        let updated = self.client.update(&lease).await?;
        Ok(Some(self.won(updated)))
    }

    /// Whether nobody holds the Lease, as far as we have seen for long enough.
    fn is_free(&mut self, lease: &Lease) -> bool {
        let now = Instant::now();
        let same = |seen: &Lease| refs::revision(&seen.metadata) == refs::revision(&lease.metadata);
        let since = match &self.observed {
            Some((seen, since)) if same(seen) => *since,
            _ => {
                self.observed = Some((lease.clone(), now));
                now
            }
        };
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|s| s.holder_identity.as_deref()).unwrap_or("");
        let seconds = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
        let patience = seconds.map_or(self.options.lease, Duration::from_secs);
        holder.is_empty() || holder == self.options.identity || now.duration_since(since) >= patience
    }

    fn spec(&self, transitions: i32) -> LeaseSpec {
        let now = clock::micro_time();
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: Some(
                i32::try_from(self.options.lease.as_secs().max(1)).unwrap_or(i32::MAX),
            ),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    fn won(&mut self, lease: Lease) -> Fence {
        let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
        self.observed = Some((lease, Instant::now()));
        Fence {
            namespace: self.options.namespace.clone(),
            name: self.options.name.clone(),
            holder: self.options.identity.clone(),
            transitions: i64::from(transitions),
        }
    }

    /// Renews until that has failed for too long or somebody else leads.
    async fn hold(&mut self, fence: &Fence) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.options.retry).await;
            let deadline = renewed + self.options.renew;
            let began = Instant::now();
            match tokio::time::timeout_at(deadline, self.renew(fence)).await {
                Ok(Ok(true)) => renewed = began,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => debug!(lease = self.options.name, error = chain(&error), "cannot renew"),
                Err(_) => return,
            }
            if renewed.elapsed() >= self.options.renew {
                return;
            }
        }
    }

    /// Writes a new renew time; `false` if the Lease is no longer ours.
    async fn renew(&mut self, fence: &Fence) -> Result<bool, Error> {
        let Some((mut lease, _)) = self.observed.clone() else { return Ok(false) };
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(clock::micro_time());
        }
        match self.client.update(&lease).await {
            Ok(lease) => {
                self.observed = Some((lease, Instant::now()));
                Ok(true)
            }
            // Perhaps an earlier renewal was written although its answer was lost: look.
            Err(error) if error.is_conflict() || error.is_not_found() => {
                match self.client.find::<Lease>(&fence.namespace, &fence.name).await? {
                    Some(lease) if is_term(&lease, fence) => {
                        self.observed = Some((lease, Instant::now()));
                        Ok(true)
                    }
                    _ => Ok(false),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn release(&mut self, fence: &Fence) {
        let Some((mut lease, _)) = self.observed.take() else { return };
        if !is_term(&lease, fence) {
            return;
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(clock::micro_time());
        }
        match tokio::time::timeout(self.options.retry, self.client.update(&lease)).await {
            Ok(Ok(_)) => info!(lease = self.options.name, "leadership released"),
            Ok(Err(error)) => {
                debug!(lease = self.options.name, error = chain(&error), "cannot release the lease")
            }
            Err(_) => debug!(lease = self.options.name, "releasing the lease took too long"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Finished,
    Lost,
    Shutdown,
}

fn is_term(lease: &Lease, fence: &Fence) -> bool {
    lease.spec.as_ref().is_some_and(|spec| {
        spec.holder_identity.as_deref() == Some(&fence.holder)
            && spec.lease_transitions.map(i64::from) == Some(fence.transitions)
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use tokio::sync::mpsc;

    use super::*;
    use crate::fake;

    type Terms = mpsc::UnboundedReceiver<(String, Fence)>;

    fn candidate(
        objects: &fake::Objects,
        identity: &str,
        sender: &mpsc::UnboundedSender<(String, Fence)>,
    ) -> CancellationToken {
        let shutdown = CancellationToken::new();
        let options = Options::new("kube-system", "x", identity);
        let elector = Elector::new(Arc::new(objects.clone()), options);
        let (identity, sender) = (identity.to_owned(), sender.clone());
        tokio::spawn(elector.run_while_leading(shutdown.clone(), move |fence, term| {
            sender.send((identity.clone(), fence)).unwrap();
            async move { term.cancelled().await }
        }));
        shutdown
    }

    fn channel() -> (mpsc::UnboundedSender<(String, Fence)>, Terms) {
        mpsc::unbounded_channel()
    }

    fn named(name: &str) -> ConfigMap {
        let metadata =
            ObjectMeta { name: Some(name.into()), namespace: Some("ns".into()), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_a_graceful_end_hands_over_at_once() {
        let objects = fake::Objects::new();
        let (sender, mut terms) = channel();
        let first = candidate(&objects, "a", &sender);
        let (_, fence) = terms.recv().await.unwrap();
        let _second = candidate(&objects, "b", &sender);
        assert!(tokio::time::timeout(Duration::from_secs(60), terms.recv()).await.is_err());
        let client = Client::new(Arc::new(objects.clone())).fenced(Some(fence.clone()));
        client.create(&named("one")).await.unwrap();
        let start = Instant::now();
        first.cancel();
        let (winner, second_fence) = terms.recv().await.unwrap();
        assert_eq!(winner, "b");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        assert_eq!(second_fence.transitions, fence.transitions + 1);
        assert!(client.create(&named("two")).await.unwrap_err().is_conflict());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_steps_down_and_leads_a_new_term_later() {
        let objects = fake::Objects::new();
        let (sender, mut terms) = channel();
        let _candidate = candidate(&objects, "a", &sender);
        let (_, first) = terms.recv().await.unwrap();
        objects.fail_writes(8, api::Status::unavailable("no"));
        let (_, second) = terms.recv().await.unwrap();
        assert_eq!(second.transitions, first.transitions + 1);
    }
}
