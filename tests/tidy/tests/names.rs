//! Replaceable things are named in one place: which module may name which library.

use tidy::{Source, sources};

struct Rule {
    /// Text that names the library.
    tokens: &'static [&'static str],
    /// Beginnings or ends of paths that may.
    allowed: &'static [&'static str],
    /// Why.
    reason: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        tokens: &["openraft::", "use openraft"],
        allowed: &["raft/src/adapter/"],
        reason: "the consensus library is replaceable: only its adapter names it",
    },
    Rule {
        tokens: &["rocksdb::", "use rocksdb"],
        allowed: &["raft/src/log/", "raft/src/snapshot", "store/src/engine/"],
        reason: "the storage engine is replaceable: only logs, snapshots and the engine name it",
    },
    Rule {
        tokens: &[
            "bincode::encode",
            "bincode::decode",
            "bincode::config",
            "bincode::serde",
            "bincode::borrow_decode",
        ],
        allowed: &["/codec.rs"],
        reason: "what reaches disk or wire is encoded in one module",
    },
    Rule {
        tokens: &["hyper::", "hyper_util::", "axum::", "tokio_tungstenite::"],
        allowed: &[
            "control-plane/apiserver/",
            "control-plane/src/",
            "node-agent/src/server/",
            "node-agent/src/probe/",
            "node-agent/src/cri/",
            "node-agent/runtime/src/streaming/",
            "node-agent/ingress/",
            // Hands a connection that tonic did not make to tonic.
            "store/src/ctl/unverified.rs",
            // Serves connections: behind tonic's server a put takes an eighth more.
            "store/src/server/transport.rs",
            "bins/",
            "tests/",
        ],
        reason: "only servers know HTTP",
    },
    Rule {
        tokens: &["nix::mount", "nix::sched", "rustix::mount", "rtnetlink::", "libcontainer::"],
        // The agent's command enters the namespace of its node before anything of the agent exists.
        allowed: &["node-agent/", "bins/kontiki/src/agent.rs"],
        reason: "only the node agent touches mounts, namespaces and links",
    },
    Rule {
        tokens: &["k8s_openapi::"],
        allowed: &[
            "control-plane/client/",
            "control-plane/scheduler/",
            "control-plane/controllers/",
            "control-plane/src/",
            "node-agent/",
            "bins/",
            "tests/",
            "examples/",
        ],
        reason: "typed structs drop fields they do not know: never for objects that pass through the server",
    },
    Rule {
        tokens: &["todo!(", "unimplemented!("],
        allowed: &["tests/tidy/"],
        reason: "nothing is a stand-in",
    },
];

/// The same for tests, too.
const RULES_OF_TESTS: &[Rule] = &[Rule {
    tokens: &["env!(\"CARGO_MANIFEST_DIR\")"],
    allowed: &["tests/tidy/src/lib.rs"],
    reason: "what was built in one clone may be run from another: ask for the variable when it is run",
}];

fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    // Tests speak to what they test in whatever way is at hand.
    let is_test = source.path.contains("/tests/") || source.path.starts_with("tests/tidy/");
    let rules = if is_test { &[] } else { RULES };
    for rule in rules.iter().chain(RULES_OF_TESTS) {
        if rule.allowed.iter().any(|of| source.path.starts_with(of) || source.path.ends_with(of)) {
            continue;
        }
        for (number, line) in source.code() {
            if rule.tokens.iter().any(|token| names(line, token)) {
                faults.push(format!("{}:{number}: {line}\n    {}", source.path, rule.reason));
            }
        }
    }
    faults
}

/// Whether the line has the token, not as the end of a longer name.
fn names(line: &str, token: &str) -> bool {
    line.match_indices(token).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn libraries_are_named_where_they_may_be() {
    let sources = sources().expect("the sources are readable");
    let faults: Vec<String> = sources.iter().flat_map(faults).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_name_in_the_wrong_place_is_found() {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
    assert_eq!(faults(&source("store/src/mvcc/mod.rs", "use rocksdb::DB;")).len(), 1);
    assert!(faults(&source("store/src/engine/rocks.rs", "use rocksdb::DB;")).is_empty());
    assert!(faults(&source("store/src/mvcc/mod.rs", "// rocksdb::DB is not for us")).is_empty());
    assert!(faults(&source("store/src/mvcc/mod.rs", "my_rocksdb::open()")).is_empty());
    assert!(faults(&source("store/tests/it/main.rs", "use rocksdb::DB;")).is_empty());
    assert_eq!(faults(&source("store/tests/it/main.rs", "env!(\"CARGO_MANIFEST_DIR\")")).len(), 1);
}
