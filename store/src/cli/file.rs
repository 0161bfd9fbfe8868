//! A file of flags, with etcd's keys: those of the command line without the dashes, and two groups for TLS.

use std::path::Path;

use serde_json::Value;

use super::{Flags, refuse};
use crate::server::Error;

/// Keys of the groups for TLS, and how the flags of their fields begin.
const GROUPS: [(&str, &str); 2] = [("client-transport-security", ""), ("peer-transport-security", "peer-")];

/// Fields of a group whose flags have another name: group, field, flag.
const RENAMED: [(&str, &str, &str); 4] = [
    ("client-transport-security", "crl-file", "client-crl-file"),
    ("client-transport-security", "allowed-hostname", "client-cert-allowed-hostname"),
    ("peer-transport-security", "allowed-cn", "peer-cert-allowed-cn"),
    ("peer-transport-security", "allowed-hostname", "peer-cert-allowed-hostname"),
];

#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

/// The flags in a file.
pub fn read(path: &Path) -> Result<Flags, Error> {
    let wrong = |detail: String| refuse("config-file", &format!("{}: {detail}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let arguments = arguments(&text).map_err(wrong)?;
    let parsed = <Arguments as clap::Parser>::try_parse_from(arguments);
    // The first line says it; what follows is about command lines.
    let first = |error: clap::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    let flags = parsed.map_err(|error| wrong(first(error)))?.flags;
    if flags.config_file.is_some() {
        return Err(wrong("a file cannot name another".to_owned()));
    }
    Ok(flags)
}

/// The text as arguments of a command.
fn arguments(text: &str) -> Result<Vec<String>, String> {
    let file: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(file) = file else { return Err("it is not a table of flags".to_owned()) };
    let mut arguments = Vec::new();
    for (key, value) in file {
        let Some((group, prefix)) = GROUPS.iter().find(|(group, _)| *group == key) else {
            arguments.extend(argument(&key, value)?);
            continue;
        };
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Null => continue,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(format!("{group} is not a table"));
            }
        };
        for (field, value) in fields {
            let renamed = RENAMED.iter().find(|(of, from, _)| of == group && *from == field);
            let flag = renamed.map_or_else(|| format!("{prefix}{field}"), |(_, _, flag)| (*flag).to_owned());
            arguments.extend(argument(&flag, value)?);
        }
    }
    Ok(arguments)
}

fn argument(flag: &str, value: Value) -> Result<Option<String>, String> {
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Bool(is) => Ok(is.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(format!("{flag} has a value it cannot have")),
    };
    let value = match value {
        Value::Null => return Ok(None),
        Value::Array(values) => values.into_iter().map(text).collect::<Result<Vec<_>, _>>()?.join(","),
        one => text(one)?,
    };
    // etcd's sample has every key, most of them empty.
    Ok((!value.is_empty()).then(|| format!("--{flag}={value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<Flags, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("etcd.conf.yml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn etcds_file_is_understood() {
        let flags = written(
            "# as in etcd's sample\n\
             name: 'b'\n\
             data-dir: /var/lib/b\n\
             wal-dir:\n\
             heartbeat-interval: 50\n\
             listen-peer-urls: http://127.0.0.1:2480\n\
             listen-client-urls: http://127.0.0.1:2479,http://127.0.0.1:2478\n\
             initial-cluster: a=http://127.0.0.1:2380,b=http://127.0.0.1:2480\n\
             strict-reconfig-check: false\n\
             enable-grpc-gateway: false\n\
             warning-apply-duration: 250ms\n\
             log-outputs: [stderr]\n\
             client-transport-security:\n  client-cert-auth: false\n  cert-file:\n",
        )
        .unwrap();
        assert_eq!(
            (flags.name.as_str(), flags.heartbeat_interval, flags.enable_grpc_gateway),
            ("b", 50, false)
        );
        assert_eq!((flags.listen_client_urls.len(), flags.initial_cluster.len()), (2, 2));
        let warnings = flags.others.judge().unwrap();
        assert_eq!(warnings, ["--strict-reconfig-check is ignored: members are always changed with care"]);
        assert_eq!(flags.options().unwrap().warning_apply_duration_ms, 250);
    }

    #[test]
    fn groups_stand_for_flags() {
        let text = "client-transport-security: {cert-file: c, crl-file: r, client-cert-auth: true}\n\
                    peer-transport-security: {trusted-ca-file: t, allowed-cn: x}";
        let mut found = arguments(text).unwrap();
        found.sort();
        let expected = [
            "--cert-file=c",
            "--client-cert-auth=true",
            "--client-crl-file=r",
            "--peer-cert-allowed-cn=x",
            "--peer-trusted-ca-file=t",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, expected) in [
            ("name: [", "etcd.conf.yml"),
            ("nonsense: 1", "--nonsense"),
            ("heartbeat-interval: soon", "heartbeat-interval"),
            ("- name", "not a table"),
            ("config-file: other", "cannot name another"),
            ("name: {a: b}", "a value it cannot have"),
        ] {
            let error = written(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
