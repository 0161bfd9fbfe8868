//! `snapshot save`, `status` and `hashkv`: what etcdctl and etcdutl say of a file.

use serde_json::Value;

use super::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_described_and_hashes_as_its_member_does() {
    let store = start().await;
    for key in ["a", "b", "a"] {
        store.check(&format!("kv put {key} 1"), "OK\n").await;
    }
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("image").display().to_string();
    let saved = format!("Snapshot saved at {path}\nServer version 3.6.0\n");
    store.check(&format!("snapshot save {path}"), &saved).await;
    // These need no member, so they take no endpoint.
    let file = async |line: &str| {
        let mut out = Vec::new();
        let words = ["kontiki", "snapshot"].into_iter().chain(line.split_whitespace());
        let arguments = <super::Arguments as clap::Parser>::try_parse_from(words).unwrap();
        let outcome = store::ctl::run(arguments.command, &mut out).await;
        outcome
            .map(|()| String::from_utf8(out).unwrap())
            .map_err(|error| (error.exit_code(), error.to_string()))
    };
    let status: Value =
        serde_json::from_str(&file(&format!("status {path} -w json")).await.unwrap()).unwrap();
    assert_eq!(
        (&status["revision"], &status["totalKey"], &status["version"]),
        (&4.into(), &2.into(), &"3.6.0".into())
    );
    let simple = file(&format!("status {path}")).await.unwrap();
    assert!(simple.starts_with(&format!("{:x}, 4, 2, ", status["hash"].as_u64().unwrap())), "{simple}");
    let fields = file(&format!("status {path} -w fields")).await.unwrap();
    assert!(fields.contains("\"Revision\" : 4\n\"Keys\" : 2\n\"Size\" : "), "{fields}");
    for (flags, revision) in [("", 4), ("--rev 3", 3), ("--rev 2", 2)] {
        let own = file(&format!("hashkv {path} {flags}")).await.unwrap();
        let member = store.ask(&format!("endpoint hashkv {flags}")).await.unwrap();
        let of_member = member.strip_prefix(&format!("{}, ", store.url)).unwrap();
        assert_eq!(own.strip_suffix(", 0\n"), of_member.strip_suffix('\n'), "{revision}");
        assert!(own.contains(&format!(", {revision}, ")), "{own}");
    }
    let (code, error) = file(&format!("hashkv {path} --rev 5")).await.unwrap_err();
    assert_eq!((code, error.as_str()), (1, "the image holds revisions 1 to 4, not 5"));
    let target = scratch.path().join("restored").display().to_string();
    for (flag, why) in [("--skip-hash-check", "always checked"), ("--wal-dir=x", "in its data directory")] {
        let (code, error) = file(&format!("restore {path} --data-dir {target} {flag}")).await.unwrap_err();
        assert!(code == 128 && error.contains(why), "{code} {error}");
    }
    let restored =
        file(&format!("restore {path} --data-dir {target} --initial-memory-map-size 1")).await.unwrap();
    assert!(restored.contains("the content of revision 4 (2 keys"), "{restored}");
}
