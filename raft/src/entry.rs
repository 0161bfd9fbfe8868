//! A log entry in memory. Commands are shared with the buffer they arrived in.

use bytes::Bytes;

use crate::codec;
use crate::limits::ENTRY_OVERHEAD_BYTES;
use crate::record::{self, LogId, Membership};

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Blank,
    Command(Bytes),
    Membership(Membership),
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: LogId,
    pub(crate) payload: Payload,
}

impl Entry {
    /// Memory it is charged with.
    pub(crate) fn bytes(&self) -> usize {
        let payload = match &self.payload {
            Payload::Blank => 0,
            Payload::Command(command) => command.len(),
            Payload::Membership(membership) => 256 * membership.members.len(),
        };
        ENTRY_OVERHEAD_BYTES + payload
    }

    /// The same, sharing no memory with a larger buffer it was read from.
    pub(crate) fn compact(self) -> Self {
        let payload = match self.payload {
            Payload::Command(command) => Payload::Command(Bytes::copy_from_slice(&command)),
            other @ (Payload::Blank | Payload::Membership(_)) => other,
        };
        Self { payload, ..self }
    }

    /// A checksum of what it carries; of a command, that of the command.
    pub(crate) fn digest(&self) -> u32 {
        match &self.payload {
            Payload::Blank => 0,
            Payload::Command(command) => crc32c::crc32c(command),
            Payload::Membership(membership) => crc32c::crc32c(&codec::encode(membership)),
        }
    }

    /// As it is written and sent.
    pub(crate) fn as_record(&self) -> record::Entry<'_> {
        let payload = match &self.payload {
            Payload::Blank => record::Payload::Blank,
            Payload::Command(command) => record::Payload::Command(command),
            Payload::Membership(membership) => record::Payload::Membership(membership.clone()),
        };
        record::Entry { id: self.id, payload }
    }

    /// From a record that borrows from `buffer`.
    pub(crate) fn from_record(record: record::Entry<'_>, buffer: &Bytes) -> Self {
        let payload = match record.payload {
            record::Payload::Blank => Payload::Blank,
            record::Payload::Command(command) => Payload::Command(buffer.slice_ref(command)),
            record::Payload::Membership(membership) => Payload::Membership(membership),
        };
        Self { id: record.id, payload }
    }

    /// From the bytes of one record.
    pub(crate) fn decode(buffer: &Bytes) -> Result<Self, codec::DecodeError> {
        Ok(Self::from_record(codec::decode(buffer)?, buffer))
    }
}
