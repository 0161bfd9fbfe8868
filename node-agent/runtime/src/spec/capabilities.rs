//! Which capabilities a container gets.

use std::collections::BTreeSet;

use proto::cri::LinuxContainerSecurityContext;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// All capabilities, in the order of their numbers in the kernel.
const ALL: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise: the same on every Kubernetes runtime.
const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Capabilities that the runtime itself may pass on. Not every host gives root all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available(BTreeSet<&'static str>);

impl Available {
    /// Every one there is.
    #[cfg(test)]
    pub fn all() -> Self {
        Self(ALL.iter().copied().collect())
    }

    /// Those of this process.
    pub fn of_this_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(u64::MAX)
        };
        let bits = mask("CapBnd:") & mask("CapEff:");
        Self(
            ALL.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| *name).collect(),
        )
    }
}

/// The capability sets of the process document.
pub fn decide(security: &LinuxContainerSecurityContext, available: &Available) -> Result<Value> {
    let mut chosen: BTreeSet<&'static str> = DEFAULT.iter().copied().collect();
    let mut ambient = BTreeSet::new();
    if security.privileged {
        chosen = ALL.iter().copied().collect();
    } else if let Some(wish) = &security.capabilities {
        let drops_all = wish.drop_capabilities.iter().any(|name| is_all(name));
        if drops_all {
            chosen.clear();
        }
        if wish.add_capabilities.iter().any(|name| is_all(name)) {
            chosen = ALL.iter().copied().collect();
        }
        for name in wish.add_capabilities.iter().filter(|name| !is_all(name)) {
            chosen.insert(known(name)?);
        }
        for name in wish.drop_capabilities.iter().filter(|name| !is_all(name)) {
            chosen.remove(known(name)?);
        }
        for name in &wish.add_ambient_capabilities {
            ambient.insert(known(name)?);
        }
    }
    let full = |set: &BTreeSet<&'static str>| -> Vec<String> {
        set.intersection(&available.0).map(|name| format!("CAP_{name}")).collect()
    };
    let ambient = &ambient & &chosen;
    let chosen = full(&chosen);
    Ok(json!({
        "bounding": chosen, "effective": chosen, "permitted": chosen,
        "inheritable": full(&ambient), "ambient": full(&ambient),
    }))
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL")
}

fn known(name: &str) -> Result<&'static str> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.iter()
        .find(|known| **known == bare)
        .copied()
        .ok_or_else(|| Error::Invalid(format!("unknown capability {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::cri::Capability;

    fn effective(add: &[&str], drop: &[&str]) -> Vec<String> {
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let security = LinuxContainerSecurityContext {
            capabilities: Some(Capability {
                add_capabilities: strings(add),
                drop_capabilities: strings(drop),
                add_ambient_capabilities: vec![],
            }),
            ..Default::default()
        };
        serde_json::from_value(decide(&security, &Available::all()).unwrap()["effective"].clone()).unwrap()
    }

    #[test]
    fn all_and_single_capabilities_are_added_and_dropped() {
        assert_eq!(effective(&[], &[]).len(), DEFAULT.len());
        assert_eq!(effective(&["NET_ADMIN"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(effective(&["ALL"], &["SYS_ADMIN"]).len(), ALL.len() - 1);
        assert!(effective(&["cap_sys_time"], &[]).contains(&"CAP_SYS_TIME".to_string()));
    }

    #[test]
    fn nothing_is_handed_out_that_the_host_does_not_have() {
        let security = LinuxContainerSecurityContext { privileged: true, ..Default::default() };
        let available = Available(BTreeSet::from(["KILL"]));
        assert_eq!(decide(&security, &available).unwrap()["bounding"], json!(["CAP_KILL"]));
    }
}
