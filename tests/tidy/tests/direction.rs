//! Knowledge flows one way: which package may depend on which.

use tidy::{Package, Section, packages};

/// Package, and which of ours it may be built from. A package that is not listed may depend on anything: the front
/// door, the binaries and the tests.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("api", &[]),
    ("raft", &["proto"]),
    ("store", &["proto", "raft", "store-client"]),
    ("store-client", &["proto"]),
    ("registry", &["api", "store-client"]),
    ("apiserver", &["api", "registry", "proto"]),
    ("client", &["api", "proto"]),
    ("scheduler", &["api", "client"]),
    ("controllers", &["api", "client"]),
    ("node-agent", &["api", "client", "proto", "runtime", "network", "dns"]),
    ("runtime", &["api", "client", "proto", "network"]),
    ("network", &["api", "client", "proto"]),
    ("dns", &["api", "client", "proto", "network"]),
];

/// Tests of a package may use more than the package: what implements the traits it calls.
const TESTS_MAY_USE: &[(&str, &[&str])] = &[
    ("store-client", &["store"]),
    ("registry", &["store"]),
    ("apiserver", &["store", "store-client", "client"]),
    ("client", &["registry", "apiserver", "store-client"]),
    ("runtime", &["node-agent"]),
];

fn row<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(of, _)| *of == name).map(|(_, row)| *row)
}

fn faults(package: &Package, ours: &[String]) -> Vec<String> {
    let Some(allowed) = row(MAY_DEPEND_ON, &package.name) else { return Vec::new() };
    let in_tests = row(TESTS_MAY_USE, &package.name).unwrap_or_default();
    let forbidden = |(name, section): &&(String, Section)| {
        let tests = *section == Section::Dev && in_tests.contains(&name.as_str());
        ours.contains(name) && !allowed.contains(&name.as_str()) && !tests
    };
    let edges = package.dependencies.iter().filter(forbidden);
    edges
        .map(|(name, section)| {
            format!("{}/Cargo.toml: {} -> {name} ({section:?})", package.folder, package.name)
        })
        .collect()
}

#[test]
fn no_package_depends_on_what_is_above_it() {
    let packages = packages().expect("the manifests are readable");
    let ours: Vec<String> = packages.iter().map(|p| p.name.clone()).collect();
    for (name, _) in MAY_DEPEND_ON {
        assert!(ours.iter().any(|of| of == name), "{name} is in the table but not in the workspace");
    }
    let faults: Vec<String> = packages.iter().flat_map(|p| faults(p, &ours)).collect();
    assert!(faults.is_empty(), "edges that DESIGN forbids:\n{}", faults.join("\n"));
}

#[test]
fn a_forbidden_edge_is_found() {
    let ours = ["store".to_owned(), "scheduler".to_owned()];
    let edge = |section| Package {
        name: "scheduler".into(),
        folder: "control-plane/scheduler".into(),
        dependencies: vec![("store".into(), section)],
    };
    assert_eq!(faults(&edge(Section::Normal), &ours).len(), 1);
    assert_eq!(faults(&edge(Section::Dev), &ours).len(), 1);
}
