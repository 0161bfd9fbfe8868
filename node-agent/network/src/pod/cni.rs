//! Plugins of the Container Network Interface, for nodes whose network is not ours: the configuration, the calls, and
//! the cache of results that deleting needs.
//!
//! Follows the CNI specification 1.0: plugins of a list are called in order for ADD and in reverse for DEL; each gets
//! the result of the one before; `prevResult` of DEL is the cached result of ADD.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Attachment;
use super::error::{Error, Result};
use super::options::Cni;

/// What a pod calls its interface.
const INTERFACE: &str = "eth0";

/// A network configuration and where its plugins are.
#[derive(Clone, Debug)]
pub struct Plugins {
    list: Value,
    bin_dirs: Vec<PathBuf>,
}

impl Plugins {
    /// The first configuration of the directory, by name, if there is one that reads.
    pub fn load(options: &Cni) -> Option<Self> {
        let directory = options.conf_dir.as_ref()?;
        let mut paths: Vec<_> = fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().find_map(|path| {
            let extension = path.extension()?.to_str()?;
            let value: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            let list = match extension {
                "conflist" => value,
                "conf" | "json" => json!({
                    "cniVersion": value["cniVersion"], "name": value["name"], "plugins": [value],
                }),
                _ => return None,
            };
            let usable =
                list["name"].is_string() && list["plugins"].as_array().is_some_and(|all| !all.is_empty());
            usable.then(|| Self { list, bin_dirs: options.bin_dirs.clone() })
        })
    }

    /// The configuration a pod was attached with, whatever the directory says now.
    pub fn of_attachment(id: &str, cache: &Path, options: &Cni) -> Result<Option<Self>> {
        let path = cache.join(id);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(Error::file("reading", &path))?;
        let cached: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Invalid(format!("{} is damaged: {error}", path.display())))?;
        Ok(Some(Self { list: cached["list"].clone(), bin_dirs: options.bin_dirs.clone() }))
    }

    /// Attaches a pod. What was begun is undone if a plugin fails.
    pub async fn add(&self, id: &str, namespace: &Path, cache: &Path) -> Result<Attachment> {
        fs::create_dir_all(cache).map_err(Error::file("creating", cache))?;
        // Before the first call, so that a crash in between is cleaned up by the next detach.
        self.remember(id, cache, &Value::Null)?;
        let mut result = Value::Null;
        for plugin in self.plugins() {
            match self.call("ADD", plugin, id, namespace, &result).await {
                Ok(next) => result = next,
                Err(error) => {
                    self.delete(id, namespace, cache).await?;
                    return Err(error);
                }
            }
        }
        self.remember(id, cache, &result)?;
        let addresses = addresses(&result);
        if addresses.is_empty() {
            self.delete(id, namespace, cache).await?;
            return Err(Error::Program {
                program: "CNI".into(),
                reason: "the plugins gave the pod no address".into(),
            });
        }
        Ok(Attachment { addresses })
    }

    /// Asks the plugins whether a pod is still attached as they left it.
    pub async fn check(&self, id: &str, namespace: &Path, cache: &Path) -> Result<()> {
        let result = cached_result(id, cache);
        for plugin in self.plugins() {
            self.call("CHECK", plugin, id, namespace, &result).await?;
        }
        Ok(())
    }

    /// Detaches a pod.
    pub async fn delete(&self, id: &str, namespace: &Path, cache: &Path) -> Result<()> {
        let result = cached_result(id, cache);
        for plugin in self.plugins().iter().rev() {
            self.call("DEL", plugin, id, namespace, &result).await?;
        }
        let path = cache.join(id);
        fs::remove_file(&path).map_err(Error::file("removing", path))
    }

    fn plugins(&self) -> &[Value] {
        self.list["plugins"].as_array().map_or(&[], Vec::as_slice)
    }

    fn remember(&self, id: &str, cache: &Path, result: &Value) -> Result<()> {
        let path = cache.join(id);
        let document = json!({"list": self.list, "result": result}).to_string();
        let temporary = cache.join(format!(".{id}"));
        fs::write(&temporary, document)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(Error::file("writing", path))
    }

    async fn call(
        &self,
        verb: &str,
        plugin: &Value,
        id: &str,
        namespace: &Path,
        previous: &Value,
    ) -> Result<Value> {
        let kind = plugin["type"].as_str().unwrap_or_default();
        let failed = |reason: String| Error::Program { program: format!("CNI plugin {kind} {verb}"), reason };
        if kind.is_empty() || kind.contains('/') {
            return Err(failed("the configuration names no plugin".into()));
        }
        let program = self.bin_dirs.iter().map(|directory| directory.join(kind)).find(|path| path.exists());
        let program = program.ok_or_else(|| failed(format!("no such program in {:?}", self.bin_dirs)))?;
        let search: Vec<String> = self.bin_dirs.iter().map(|path| path.display().to_string()).collect();
        let mut child = Command::new(program)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", namespace)
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_PATH", search.join(":"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            let document = self.configuration(plugin, previous).to_string();
            stdin.write_all(document.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
        }
        let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        if output.status.success() {
            return Ok(answer);
        }
        let said =
            answer["msg"].as_str().map(|text| format!("{text} {}", answer["details"].as_str().unwrap_or("")));
        Err(failed(
            said.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned()).trim().to_string(),
        ))
    }

    /// What a plugin reads: its own part, with name and version of the list and the result before it.
    fn configuration(&self, plugin: &Value, previous: &Value) -> Value {
        let mut all: Map<String, Value> = plugin.as_object().cloned().unwrap_or_default();
        all.insert("name".into(), self.list["name"].clone());
        all.insert("cniVersion".into(), self.list["cniVersion"].clone());
        if !previous.is_null() {
            all.insert("prevResult".into(), previous.clone());
        }
        Value::Object(all)
    }
}

fn cached_result(id: &str, cache: &Path) -> Value {
    let bytes = fs::read(cache.join(id)).unwrap_or_default();
    let cached: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    cached["result"].clone()
}

fn addresses(result: &Value) -> Vec<IpAddr> {
    let all = result["ips"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Two plugins that write down how they were called; the second adds an address to the first one's.
    fn prepare(directory: &Path) -> Cni {
        for (name, address) in [("first", "10.9.0.2/24"), ("second", "fd09::2/64")] {
            let script = format!(
                "#!/bin/sh\ninput=$(cat)\necho \"$CNI_COMMAND {name} $CNI_IFNAME\" >> {0}/calls\n\
                 case \"$input\" in *prevResult*) previous=yes;; *) previous=no;; esac\n\
                 echo \"prev $previous\" >> {0}/calls\n\
                 echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"{address}\"}}]}}'\n",
                directory.display()
            );
            fs::write(directory.join(name), script).unwrap();
            fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let list = json!({"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "first"}, {"type": "second"}]});
        fs::write(directory.join("10-test.conflist"), list.to_string()).unwrap();
        Cni { conf_dir: Some(directory.into()), bin_dirs: vec![directory.into()] }
    }

    #[tokio::test]
    async fn plugins_are_chained_and_undone_in_reverse() {
        let directory = tempfile::tempdir().unwrap();
        let options = prepare(directory.path());
        let cache = directory.path().join("cache");
        let plugins = Plugins::load(&options).unwrap();
        let attached = plugins.add("pod", Path::new("/ns"), &cache).await.unwrap();
        assert_eq!(attached.addresses, ["fd09::2".parse::<IpAddr>().unwrap()]);
        let again = Plugins::of_attachment("pod", &cache, &options).unwrap().unwrap();
        again.delete("pod", Path::new("/ns"), &cache).await.unwrap();
        assert!(Plugins::of_attachment("pod", &cache, &options).unwrap().is_none());
        let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
        assert_eq!(
            calls.lines().collect::<Vec<_>>(),
            [
                "ADD first eth0",
                "prev no",
                "ADD second eth0",
                "prev yes",
                "DEL second eth0",
                "prev yes",
                "DEL first eth0",
                "prev yes",
            ]
        );
    }
}
