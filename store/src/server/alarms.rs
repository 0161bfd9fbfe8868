//! What is wrong with the members, as they say themselves, as the others see it, or as an operator wants it to count.
//!
//! A member whose disk is nearly full refuses writes and has the cluster take note; when there is space again, both end. If it
//! leads and another member has space, it hands over. What a
//! client raises ends when a client ends it: while it says that space is short, no member takes writes.

use std::collections::BTreeSet;

use raft::MemberId;
use store_client::Error;
use tokio::time::timeout;

use super::Handle;
use crate::limits::ALARM_PATIENCE;
use crate::machine::command::Command;
use crate::mvcc::alarms::Raised;

/// A disk is nearly full; etcd's number.
pub const NO_SPACE: u8 = 1;
/// A member's state differs from the others'; etcd's number.
pub const CORRUPT: u8 = 2;

impl Handle {
    /// Members and what is wrong with them, in order, as far as this member knows.
    pub(crate) fn alarms(&self) -> BTreeSet<(u64, u8)> {
        let members = self.raft().status().members;
        let agreed = self.machine().alarms();
        let agreed = agreed.iter().filter(|raised| {
            // What a removed member said of itself concerns nobody any more.
            raised.by_hand || members.contains_key(&MemberId(raised.member))
        });
        let mut alarms: BTreeSet<_> = agreed.map(|raised| (raised.member, raised.kind)).collect();
        if self.is_full() {
            alarms.insert((self.member_id().0, NO_SPACE));
        }
        alarms.extend(self.corrupt_members().into_iter().map(|id| (id.0, CORRUPT)));
        alarms
    }

    /// Raises an alarm for a client.
    pub(crate) async fn raise(&self, member: u64, kind: u8) -> Result<(), Error> {
        self.agree(Raised { member, kind, by_hand: true }, true).await
    }

    /// Ends an alarm, whoever raised it; returns whether there was one. If the cause is still there, it comes back.
    pub(crate) async fn end_alarm(&self, member: u64, kind: u8) -> Result<bool, Error> {
        self.confirm().await?;
        let agreed = self.machine().alarms();
        let concerned = agreed.iter().filter(|raised| (raised.member, raised.kind) == (member, kind));
        let mut ended = kind == CORRUPT && self.forget_corrupt(MemberId(member));
        for raised in concerned {
            self.agree(*raised, false).await?;
            ended = true;
        }
        Ok(ended)
    }

    /// Has the cluster take note of whether this member's disk is nearly full. What cannot be agreed on now is tried again at
    /// the next look.
    pub(super) async fn note_space(&self, full: bool) {
        let raised = Raised { member: self.member_id().0, kind: NO_SPACE, by_hand: false };
        if self.machine().alarms().contains(&raised) == full {
            return;
        }
        match timeout(ALARM_PATIENCE, self.agree(raised, full)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the others could not be told about this disk yet"),
            Err(_elapsed) => tracing::debug!("the others could not be told about this disk yet"),
        }
    }

    /// As the leader, hands over to a member that has space, if there is one: a leader whose log is full refuses what the
    /// clients of all members write.
    pub(super) async fn let_one_with_space_lead(&self) {
        if !self.leadership_now().is_self {
            return;
        }
        let (status, alarms) = (self.raft().status(), self.alarms());
        let is_fit = |id: &MemberId| {
            let votes = status.members.get(id).is_some_and(|(_, voter)| *voter);
            votes && *id != self.member_id() && !alarms.iter().any(|(member, _)| *member == id.0)
        };
        let fit = status.matched.iter().filter(|(id, _)| is_fit(id));
        let Some((heir, _)) = fit.max_by_key(|(_, matched)| **matched) else { return };
        match self.raft().transfer_leadership(*heir).await {
            Ok(()) => tracing::info!(%heir, "a member whose disk has space leads now"),
            Err(error) => tracing::info!(%heir, %error, "the leadership could not be handed over yet"),
        }
    }

    async fn agree(&self, raised: Raised, on: bool) -> Result<(), Error> {
        self.propose(&Command::Alarm { raised, on }).await.map(drop)
    }
}
