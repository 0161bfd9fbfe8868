//! What a leader is asked and what it answers, here and between members.

use bytes::Bytes;

use super::convert;
use crate::error::Error;
use crate::member::{Member, MemberId};
use crate::record::{self, Answer, LogId, Request};

/// What only a leader can do.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Propose(Bytes),
    ReadIndex,
    AddLearner(MemberId, Member),
    Promote(MemberId),
    Remove(MemberId),
    Update(MemberId, Member),
    TransferLeadership(MemberId),
}

/// What came of a [`Task`].
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Applied { id: LogId, response: Bytes },
    ReadIndex(u64),
    Done,
}

/// Why nothing came of a [`Task`].
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// Another member leads, if any. Nothing was done.
    NotLeader(Option<MemberId>),
    /// It failed.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Task {
    /// `record` borrows from `buffer`; the command will share it.
    pub(crate) fn from_record(record: Request<'_>, buffer: &Bytes) -> Self {
        let member = |record| {
            let (id, member) = convert::member(record);
            (MemberId(id), member)
        };
        match record {
            Request::Propose(command) => Self::Propose(buffer.slice_ref(command)),
            Request::ReadIndex => Self::ReadIndex,
            Request::AddLearner(record) => {
                let (id, member) = member(record);
                Self::AddLearner(id, member)
            }
            Request::Promote(id) => Self::Promote(MemberId(id)),
            Request::Remove(id) => Self::Remove(MemberId(id)),
            Request::Update(record) => {
                let (id, member) = member(record);
                Self::Update(id, member)
            }
            Request::TransferLeadership(to) => Self::TransferLeadership(MemberId(to)),
        }
    }

    pub(crate) fn as_record(&self) -> Request<'_> {
        match self {
            Self::Propose(command) => Request::Propose(command),
            Self::ReadIndex => Request::ReadIndex,
            Self::AddLearner(id, member) => Request::AddLearner(convert::member_record(id.0, member)),
            Self::Promote(id) => Request::Promote(id.0),
            Self::Remove(id) => Request::Remove(id.0),
            Self::Update(id, member) => Request::Update(convert::member_record(id.0, member)),
            Self::TransferLeadership(to) => Request::TransferLeadership(to.0),
        }
    }
}

/// What a member that asked on behalf of a caller is told.
pub(super) fn answer(outcome: &Result<Outcome, Refusal>) -> Answer<'_> {
    match outcome {
        Ok(Outcome::Applied { id, response }) => Answer::Applied { id: *id, response },
        Ok(Outcome::ReadIndex(index)) => Answer::ReadIndex(*index),
        Ok(Outcome::Done) => Answer::Done,
        Err(Refusal::NotLeader(leader)) => Answer::NotLeader(leader.map(|id| id.0)),
        Err(Refusal::Failed(error)) => Answer::Failed(error.to_record()),
    }
}

impl Error {
    /// What a member on whose behalf we acted is told.
    fn to_record(&self) -> record::Failure {
        match self {
            Self::NoLeader | Self::NotSent { .. } => record::Failure::NoLeader,
            Self::Unknown { detail, .. } => record::Failure::Unknown(detail.clone()),
            Self::ReadNotConfirmed { detail } => record::Failure::ReadNotConfirmed(detail.clone()),
            Self::Stopped => record::Failure::Stopped,
            Self::Membership(detail) => record::Failure::Membership(detail.clone()),
            Self::TooLarge { size, limit } => {
                record::Failure::TooLarge { size: *size as u64, limit: *limit as u64 }
            }
            Self::Overloaded { .. } => record::Failure::Overloaded,
            Self::NoSpace => record::Failure::NoSpace,
            Self::Storage { .. }
            | Self::ForeignCluster { .. }
            | Self::AlreadyInitialized
            | Self::Options { .. }
            | Self::Directory { .. }
            | Self::Tls { .. } => record::Failure::Storage(self.to_string()),
        }
    }
}
