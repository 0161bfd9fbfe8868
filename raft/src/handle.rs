//! The way in to a member.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::watch;

use crate::error::Error;
use crate::member::{Leadership, Member, MemberId, Proposed, Status};
use crate::state_machine::LogIndex;

/// Cheap to clone; works on any member, leader or not.
#[derive(Clone)]
pub struct Handle {
    leadership: watch::Receiver<Leadership>,
}

impl Handle {
    /// Gives the group its first members. Once per cluster, on one of them.
    pub async fn initialize(&self, members: BTreeMap<MemberId, Member>) -> Result<(), Error> {
        let _ = members;
        Err(Error::Stopped)
    }

    /// Whether this member knows a membership.
    pub fn is_initialized(&self) -> bool {
        false
    }

    /// Replicates a command and returns what the state machine answered.
    pub async fn propose(&self, command: Bytes) -> Result<Proposed, Error> {
        let _ = command;
        Err(Error::Stopped)
    }

    /// Returns once the local state machine holds every command that was acknowledged before the call.
    pub async fn read_index(&self) -> Result<LogIndex, Error> {
        Err(Error::Stopped)
    }

    /// Who leads, now and from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// A moment in the life of this member.
    pub fn status(&self) -> Status {
        Status::default()
    }

    /// Adds a member that receives the log and does not vote.
    pub async fn add_learner(&self, id: MemberId, member: Member) -> Result<(), Error> {
        let _ = (id, member);
        Err(Error::Stopped)
    }

    /// Makes a learner that has caught up a voter.
    pub async fn promote(&self, id: MemberId) -> Result<(), Error> {
        let _ = id;
        Err(Error::Stopped)
    }

    /// Removes a member, voter or learner.
    pub async fn remove(&self, id: MemberId) -> Result<(), Error> {
        let _ = id;
        Err(Error::Stopped)
    }

    /// Changes how a member is called and reached.
    pub async fn update(&self, id: MemberId, member: Member) -> Result<(), Error> {
        let _ = (id, member);
        Err(Error::Stopped)
    }

    /// Hands the leadership to a voter.
    pub async fn transfer_leadership(&self, to: MemberId) -> Result<(), Error> {
        let _ = to;
        Err(Error::Stopped)
    }

    /// Makes the state durable and lets the log before it go.
    pub async fn snapshot(&self) -> Result<(), Error> {
        Err(Error::Stopped)
    }
}
