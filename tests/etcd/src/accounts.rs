//! Random changes of users, roles and permissions, and random requests by users who may or may not.
//!
//! Few names, so that they meet. Logins sit on a few seats: what sits on one keeps its token, whatever becomes of the user.

use bytes::Bytes;
use proto::etcd::authpb::{Permission, UserAddOptions, permission::Type};
use proto::etcd::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGetRequest,
    AuthRoleGrantPermissionRequest, AuthRoleListRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest, AuthUserGrantRoleRequest,
    AuthUserListRequest, AuthUserRevokeRoleRequest, RequestOp, TxnRequest, request_op::Request,
};
use rand::Rng;
use rand::seq::IndexedRandom;

use crate::calls::{Call, Source, successor};

/// Seats of logins.
pub const SEATS: usize = 5;
/// On this one root sits, most of the time.
const ROOTS: usize = 0;

const USERS: [&str; 4] = ["root", "ann", "bob", "cyd"];
const ROLES: [&str; 4] = ["root", "reads", "writes", "some"];
const PASSWORDS: [&str; 2] = ["one", "two"];

/// What somebody does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Takes a seat, if the login is not refused.
    Login {
        /// Which.
        seat: usize,
        /// Who.
        name: &'static str,
        /// Perhaps the right one.
        password: &'static str,
    },
    /// Makes a call.
    Call {
        /// Who sits there; nobody for none.
        seat: Option<usize>,
        /// Which call.
        call: Call,
    },
}

/// What switches auth on, and lets root sit down.
pub fn opening() -> Vec<Act> {
    let root = || USERS[0].to_owned();
    let password = PASSWORDS[0];
    let calls = [
        Call::UserAdd(AuthUserAddRequest {
            name: root(),
            password: password.to_owned(),
            ..Default::default()
        }),
        Call::RoleAdd(AuthRoleAddRequest { name: root() }),
        Call::UserGrantRole(AuthUserGrantRoleRequest { user: root(), role: root() }),
        Call::AuthEnable(AuthEnableRequest {}),
    ];
    let mut acts: Vec<_> = calls.into_iter().map(|call| Act::Call { seat: None, call }).collect();
    acts.push(Act::Login { seat: ROOTS, name: USERS[0], password });
    acts
}

impl Source {
    /// The next act.
    pub fn act(&mut self) -> Act {
        match self.chance.random_range(0..100) {
            0..=9 => {
                let seat = self.chance.random_range(0..SEATS);
                // Somebody must be able to change things most of the time.
                let name = if seat == ROOTS { USERS[0] } else { self.one_of(&USERS) };
                Act::Login { seat, name, password: self.one_of(&PASSWORDS) }
            }
            10..=39 => {
                let seat = if self.likely(0.85) { Some(ROOTS) } else { self.seat() };
                Act::Call { seat, call: self.change() }
            }
            _ => Act::Call { seat: self.seat(), call: self.request() },
        }
    }

    fn seat(&mut self) -> Option<usize> {
        if self.likely(0.05) { None } else { Some(self.chance.random_range(0..SEATS)) }
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        *these.choose(&mut self.chance).expect("there are some")
    }

    /// Hardly ever a name that is none.
    fn name(&mut self, names: &[&'static str]) -> String {
        if self.likely(0.01) { String::new() } else { self.one_of(names).to_owned() }
    }

    /// Root less often than others, so that it stays.
    fn user(&mut self) -> String {
        if self.likely(0.1) { self.name(&USERS) } else { self.name(&USERS[1..]) }
    }

    fn role(&mut self) -> String {
        if self.likely(0.1) { self.name(&ROLES) } else { self.name(&ROLES[1..]) }
    }

    fn change(&mut self) -> Call {
        match self.chance.random_range(0..100) {
            0..=9 => Call::AuthEnable(AuthEnableRequest {}),
            10 => Call::AuthDisable(AuthDisableRequest {}),
            11..=25 => Call::UserAdd(self.user_add()),
            26..=29 => Call::UserDelete(AuthUserDeleteRequest { name: self.user() }),
            30..=32 => Call::UserChangePassword(AuthUserChangePasswordRequest {
                name: self.user(),
                password: self.one_of(&PASSWORDS).to_owned(),
                ..Default::default()
            }),
            33..=50 => {
                Call::UserGrantRole(AuthUserGrantRoleRequest { user: self.name(&USERS), role: self.role() })
            }
            51..=55 => {
                Call::UserRevokeRole(AuthUserRevokeRoleRequest { name: self.user(), role: self.role() })
            }
            56..=67 => Call::RoleAdd(AuthRoleAddRequest { name: self.name(&ROLES) }),
            68..=70 => Call::RoleDelete(AuthRoleDeleteRequest { role: self.role() }),
            71..=92 => {
                let (name, perm) = (self.role(), Some(self.permission()));
                Call::RoleGrantPermission(AuthRoleGrantPermissionRequest { name, perm })
            }
            _ => {
                let (key, range_end) = if self.likely(0.9) { self.allowed() } else { self.keys() };
                let role = self.role();
                Call::RoleRevokePermission(AuthRoleRevokePermissionRequest { role, key, range_end })
            }
        }
    }

    fn user_add(&mut self) -> AuthUserAddRequest {
        // Without a password our store does not tell who exists, etcd does.
        let options = Some(UserAddOptions { no_password: false });
        let password = self.one_of(&PASSWORDS).to_owned();
        AuthUserAddRequest { name: self.name(&USERS), password, options, ..Default::default() }
    }

    fn permission(&mut self) -> Permission {
        let (key, range_end) = self.allowed();
        let kind = self.one_of(&[Type::Read, Type::Write, Type::Readwrite]);
        Permission { perm_type: kind.into(), key, range_end }
    }

    /// Keys of a permission. All that begin at a key have the same end: etcd looks a permission up by its key alone, and where
    /// two have the same, may not find the second. Nor are there ranges without keys, which etcd before 3.6 takes.
    fn allowed(&mut self) -> (Bytes, Bytes) {
        let key = self.key();
        let key = if key.is_empty() { Bytes::from_static(b"a") } else { key };
        let range_end = match key.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) % 3 {
            0 => Bytes::new(),
            1 => successor(&key),
            _ => Bytes::from_static(&[0]),
        };
        (key, range_end)
    }

    fn request(&mut self) -> Call {
        match self.chance.random_range(0..20) {
            0 => Call::UserGet(AuthUserGetRequest { name: self.one_of(&USERS).to_owned() }),
            // Of root etcd before 3.6 does not say that it may do everything.
            1 => Call::RoleGet(AuthRoleGetRequest { role: self.name(&ROLES[1..]) }),
            2 => Call::UserList(AuthUserListRequest {}),
            3 => Call::RoleList(AuthRoleListRequest {}),
            _ => comparable(self.call()),
        }
    }
}

/// Whether etcd does this for everybody, also while auth is on. Our store wants to know who asks.
pub fn is_free(call: &Call) -> bool {
    match call {
        Call::Grant(_) | Call::Revoke(_) => true,
        Call::Txn(txn) => txn.compare.is_empty() && txn.success.is_empty() && txn.failure.is_empty(),
        _ => false,
    }
}

/// What etcd before 3.6 does not look at is left out. Inside of transactions: other transactions, and whether who puts may
/// see the value before and keep the other keys of the lease. Of leases: who asks for them or renews them.
fn comparable(call: Call) -> Call {
    let no_txn = |op: &RequestOp| !matches!(op.request, Some(Request::RequestTxn(_)));
    let plain = |mut op: RequestOp| {
        if let Some(Request::RequestPut(put)) = &mut op.request {
            (put.prev_kv, put.lease) = (false, 0);
        }
        op
    };
    let branch = |ops: Vec<RequestOp>| ops.into_iter().filter(no_txn).map(plain).collect();
    match call {
        Call::Txn(TxnRequest { compare, success, failure }) => {
            Call::Txn(TxnRequest { compare, success: branch(success), failure: branch(failure) })
        }
        Call::Leases(_) | Call::KeepAlive(_) | Call::TimeToLive(_) => Call::UserList(AuthUserListRequest {}),
        other => other,
    }
}
