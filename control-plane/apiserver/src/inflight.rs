//! How many short requests are under way at once: one pool for reads, one for writes, and one for nodes and the
//! control plane's own parts. A full pool answers 429 at once; nobody waits here.

use std::{collections::HashMap, sync::Arc};

use api::Status;
use parking_lot::Mutex;

use crate::{
    authn::{Identity, MASTERS},
    limits,
};

#[derive(Debug)]
struct Pool {
    limit: usize,
    share: usize,
    state: Mutex<Occupancy>,
}

#[derive(Debug, Default)]
struct Occupancy {
    total: usize,
    by_user: HashMap<String, usize>,
}

impl Pool {
    fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, share: limit.div_ceil(limits::USER_SHARE), state: Mutex::default() })
    }

    fn enter(self: &Arc<Self>, user: &str) -> Option<Slot> {
        let mut state = self.state.lock();
        let mine = state.by_user.get(user).copied().unwrap_or(0);
        if state.total >= self.limit || mine >= self.share {
            return None;
        }
        state.total += 1;
        *state.by_user.entry(user.to_owned()).or_default() += 1;
        Some(Slot { pool: Arc::clone(self), user: user.to_owned() })
    }
}

/// A place in a pool, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    pool: Arc<Pool>,
    user: String,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.total -= 1;
        if let Some(mine) = state.by_user.get_mut(&self.user) {
            *mine -= 1;
            if *mine == 0 {
                state.by_user.remove(&self.user);
            }
        }
    }
}

/// The pools.
#[derive(Debug)]
pub struct Inflight {
    reads: Arc<Pool>,
    writes: Arc<Pool>,
    system: Arc<Pool>,
}

impl Inflight {
    /// Pools of these sizes for people and workloads.
    pub fn new(reads_max: usize, writes_max: usize) -> Self {
        Self {
            reads: Pool::new(reads_max),
            writes: Pool::new(writes_max),
            system: Pool::new(limits::SYSTEM_MAX),
        }
    }

    /// Takes a place for a request, or refuses with 429. Masters are never refused.
    pub fn enter(&self, who: &Identity, read_only: bool) -> Result<Option<Slot>, Status> {
        if who.is_in(MASTERS) {
            return Ok(None);
        }
        let user = who.caller.user.as_str();
        let pool = match read_only {
            _ if is_system(user) => &self.system,
            true => &self.reads,
            false => &self.writes,
        };
        let refused =
            || Status::too_many_requests("too many requests, please try again later", limits::RETRY_AFTER_S);
        pool.enter(user).map(Some).ok_or_else(refused)
    }

    /// Reads and writes under way, those of the system counted as writes.
    pub fn occupancy(&self) -> (usize, usize) {
        let total = |pool: &Pool| pool.state.lock().total;
        (total(&self.reads), total(&self.writes) + total(&self.system))
    }
}

fn is_system(user: &str) -> bool {
    user.starts_with("system:node:")
        || matches!(user, "system:kube-scheduler" | "system:kube-controller-manager" | "system:apiserver")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_the_whole_pool() {
        let inflight = Inflight::new(4, 4);
        let (ann, bob) = (Identity::new("ann", &[]), Identity::new("bob", &[]));
        let held: Vec<_> = (0..2).map(|_| inflight.enter(&ann, true).unwrap()).collect();
        assert_eq!(inflight.enter(&ann, true).unwrap_err().code, 429);
        assert!(inflight.enter(&ann, false).is_ok(), "writes have their own pool");
        assert!(inflight.enter(&bob, true).is_ok());
        drop(held);
        assert!(inflight.enter(&ann, true).is_ok());
    }

    #[test]
    fn a_flood_leaves_nodes_and_masters_alone() {
        let inflight = Inflight::new(1, 1);
        let _held = inflight.enter(&Identity::new("ann", &[]), false).unwrap();
        assert!(inflight.enter(&Identity::new("bob", &[]), false).is_err());
        assert!(inflight.enter(&Identity::new("system:node:n1", &["system:nodes"]), false).is_ok());
        assert!(inflight.enter(&Identity::new("root", &[MASTERS]), false).is_ok());
    }
}
