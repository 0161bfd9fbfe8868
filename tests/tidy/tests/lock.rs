//! What must not be built, whoever brings it.

use std::process::Command;

use tidy::root;

/// Crate, and why not.
const BANNED: &[(&str, &str)] = &[
    ("ring", "one cryptography library: aws-lc-rs"),
    ("openssl-sys", "one cryptography library: aws-lc-rs"),
    ("native-tls", "one TLS library: rustls"),
    ("serde_yaml", "unmaintained: serde-saphyr"),
];

/// The lock file also names optional crates that nobody switches on, so cargo is asked what is built.
#[test]
fn no_banned_crate_is_built() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let built = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(built("serde_json"), "the tree is not empty");
    let faults: Vec<String> =
        BANNED.iter().filter(|(name, _)| built(name)).map(|(name, why)| format!("{name}: {why}")).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
