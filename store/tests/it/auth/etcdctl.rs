//! etcdctl as Debian has it drives users and roles, where it is installed.

use std::process::Command;

use super::Store;

struct Etcdctl {
    endpoint: String,
}

impl Etcdctl {
    /// What it prints, or what it complains about.
    async fn run(&self, user: &str, line: &str) -> Result<String, String> {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint]);
        if !user.is_empty() {
            command.args(["--user", user]);
        }
        command.args(line.split_whitespace());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    async fn says(&self, user: &str, line: &str, expected: &str) {
        assert_eq!(self.run(user, line).await.as_deref(), Ok(expected), "{user}: {line}");
    }

    async fn complains(&self, user: &str, line: &str, expected: &str) {
        let complaint = self.run(user, line).await.expect_err(line);
        assert!(complaint.contains(expected), "{user}: {line}: {complaint}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_manages_users_and_roles() {
    if Command::new("etcdctl").arg("version").output().is_err() {
        eprintln!("skipped: etcdctl is not installed");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start(scratch.path()).await;
    let ctl = Etcdctl { endpoint: store.url.trim_start_matches("http://").to_owned() };
    let root = "root:secret";
    ctl.says("", "user add root:secret", "User root created\n").await;
    ctl.complains("", "user add root:secret", "etcdserver: user name already exists").await;
    // It makes the role by itself.
    ctl.says("", "auth enable", "Authentication Enabled\n").await;
    ctl.complains("", "get a", "etcdserver: user name is empty").await;
    ctl.complains("root:wrong", "get a", "etcdserver: authentication failed, invalid user ID or password")
        .await;
    ctl.says(root, "role add app", "Role app created\n").await;
    ctl.says(root, "role grant-permission app readwrite app/ --prefix", "Role app updated\n").await;
    ctl.says(root, "role grant-permission app read conf", "Role app updated\n").await;
    let role =
        "Role app\nKV Read:\n\t[app/, app0) (prefix app/)\n\tconf\nKV Write:\n\t[app/, app0) (prefix app/)\n";
    ctl.says(root, "role get app", role).await;
    ctl.says(root, "user add ann:pw", "User ann created\n").await;
    ctl.says(root, "user grant-role ann app", "Role app is granted to user ann\n").await;
    ctl.says(root, "user get ann", "User: ann\nRoles: app\n").await;
    ctl.says(root, "user list", "ann\nroot\n").await;
    ctl.says(root, "role list", "app\nroot\n").await;
    let ann = "ann:pw";
    ctl.says(ann, "put app/1 v", "OK\n").await;
    ctl.says(ann, "get app/ --prefix", "app/1\nv\n").await;
    ctl.says(ann, "get conf", "").await;
    ctl.complains(ann, "put conf v", "etcdserver: permission denied").await;
    ctl.complains(ann, "get other", "etcdserver: permission denied").await;
    ctl.complains(ann, "get  app/ --from-key", "etcdserver: permission denied").await;
    ctl.complains(ann, "user add bob:pw", "etcdserver: permission denied").await;
    ctl.complains(ann, "compaction 2", "etcdserver: permission denied").await;
    ctl.complains(root, "user delete root", "etcdserver: invalid auth management").await;
    let revoked = "Permission of key conf is revoked from role app\n";
    ctl.says(root, "role revoke-permission app conf", revoked).await;
    ctl.complains(ann, "get conf", "etcdserver: permission denied").await;
    ctl.complains(root, "role revoke-permission app conf", "permission is not granted to the role").await;
    ctl.says(root, "user revoke-role ann app", "Role app is revoked from user ann\n").await;
    ctl.complains(ann, "get app/1", "etcdserver: permission denied").await;
    ctl.says(root, "user delete ann", "User ann deleted\n").await;
    ctl.says(root, "role delete app", "Role app deleted\n").await;
    ctl.says(root, "auth disable", "Authentication Disabled\n").await;
    ctl.says("", "get app/1", "app/1\nv\n").await;
}
