//! `get`, `put` and `del`: their arguments as requests. They are commands by themselves, and lines of a transaction.

use bytes::Bytes;
use clap::ValueEnum;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::range_request::{SortOrder, SortTarget};

use super::Error;
use super::kv_answers::Style;
use crate::history::ctl::Keys;

/// Which way to sort.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Order {
    /// The least first.
    Ascend,
    /// The greatest first.
    Descend,
}

/// What to sort by.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SortBy {
    /// The revision that created the key.
    Create,
    /// The key.
    Key,
    /// The revision that changed it last.
    Modify,
    /// The value.
    Value,
    /// How often it was changed since it was created.
    Version,
}

/// How new what is read must be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Consistency {
    /// As new as the newest acknowledged change: linearizable.
    L,
    /// As this member has it: serializable.
    S,
}

/// To read keys.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Get {
    #[command(flatten)]
    keys: Keys,
    /// As it was at a revision.
    #[arg(long, default_value_t = 0)]
    pub rev: i64,
    /// At most so many keys; 0 for all.
    #[arg(long, default_value_t = 0)]
    limit: i64,
    /// Sort upwards or downwards.
    #[arg(long, value_enum, ignore_case = true)]
    order: Option<Order>,
    /// Sort by this.
    #[arg(long, value_enum, ignore_case = true)]
    sort_by: Option<SortBy>,
    /// l for linearizable, s for serializable.
    #[arg(long, value_enum, ignore_case = true, default_value = "l")]
    consistency: Consistency,
    /// Only keys created at this revision or later; 0 for all.
    #[arg(long, default_value_t = 0)]
    min_create_rev: i64,
    /// Only keys created at this revision or before; 0 for all.
    #[arg(long, default_value_t = 0)]
    max_create_rev: i64,
    /// Only keys changed last at this revision or later; 0 for all.
    #[arg(long, default_value_t = 0)]
    min_mod_rev: i64,
    /// Only keys changed last at this revision or before; 0 for all.
    #[arg(long, default_value_t = 0)]
    max_mod_rev: i64,
    /// Do not print values.
    #[arg(long)]
    keys_only: bool,
    /// Print only how many there are.
    #[arg(long, conflicts_with = "keys_only")]
    count_only: bool,
    /// Print only values.
    #[arg(long)]
    print_value_only: bool,
}

impl Get {
    /// As etcd's request.
    pub fn request(&self) -> Result<pb::RangeRequest, Error> {
        let (key, range_end) = self.keys.range()?;
        for (name, least, most) in [
            ("create", self.min_create_rev, self.max_create_rev),
            ("mod", self.min_mod_rev, self.max_mod_rev),
        ] {
            if most > 0 && least > most {
                return Err(Error::Usage(format!("--min-{name}-rev is larger than --max-{name}-rev")));
            }
        }
        let sort_order = match self.order {
            None => SortOrder::None,
            Some(Order::Ascend) => SortOrder::Ascend,
            Some(Order::Descend) => SortOrder::Descend,
        };
        let sort_target = match self.sort_by {
            None | Some(SortBy::Key) => SortTarget::Key,
            Some(SortBy::Create) => SortTarget::Create,
            Some(SortBy::Modify) => SortTarget::Mod,
            Some(SortBy::Value) => SortTarget::Value,
            Some(SortBy::Version) => SortTarget::Version,
        };
        Ok(pb::RangeRequest {
            key,
            range_end,
            limit: self.limit,
            revision: self.rev,
            sort_order: sort_order.into(),
            sort_target: sort_target.into(),
            serializable: matches!(self.consistency, Consistency::S),
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_create_revision: self.min_create_rev,
            max_create_revision: self.max_create_rev,
            min_mod_revision: self.min_mod_rev,
            max_mod_revision: self.max_mod_rev,
        })
    }

    /// How to print what is found.
    pub fn style(&self, hex: bool) -> Style {
        Style { hex, values_only: self.print_value_only, count_only: self.count_only }
    }
}

/// To write a key.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Put {
    /// The key.
    key: String,
    /// The value. [default: what standard input says]
    value: Option<String>,
    /// The lease to hang it on, in hexadecimal.
    #[arg(long, value_parser = hexadecimal, default_value = "0")]
    lease: i64,
    /// Print the value before, too.
    #[arg(long)]
    prev_kv: bool,
    /// Keep the value, change the lease.
    #[arg(long, conflicts_with = "value")]
    ignore_value: bool,
    /// Keep the lease.
    #[arg(long)]
    ignore_lease: bool,
}

impl Put {
    /// Whether the value is to come from elsewhere.
    pub fn wants_input(&self) -> bool {
        self.value.is_none() && !self.ignore_value
    }

    /// As etcd's request, with the value from elsewhere if there is one.
    pub fn request(&self, elsewhere: Option<Bytes>) -> Result<pb::PutRequest, Error> {
        let value = match (&self.value, elsewhere, self.ignore_value) {
            (_, _, true) => Bytes::new(),
            (Some(value), _, false) => value.clone().into(),
            (None, Some(value), false) => value,
            (None, None, false) => return Err(Error::Usage("a value is missing".to_owned())),
        };
        Ok(pb::PutRequest {
            key: self.key.clone().into(),
            value,
            lease: self.lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }
}

/// To delete keys.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Del {
    #[command(flatten)]
    keys: Keys,
    /// Print what was deleted, too.
    #[arg(long)]
    prev_kv: bool,
    /// Delete from KEY to RANGE_END, which is done without being asked for, too.
    #[arg(long, hide = true, requires = "range_end")]
    range: bool,
}

impl Del {
    /// As etcd's request.
    pub fn request(&self) -> Result<pb::DeleteRangeRequest, Error> {
        let (key, range_end) = self.keys.range()?;
        Ok(pb::DeleteRangeRequest { key, range_end, prev_kv: self.prev_kv })
    }
}

/// A lease's number as etcdctl writes it.
pub fn hexadecimal(text: &str) -> Result<i64, String> {
    u64::from_str_radix(text, 16)
        .map(u64::cast_signed)
        .map_err(|_| format!("{text} is not a hexadecimal number"))
}
