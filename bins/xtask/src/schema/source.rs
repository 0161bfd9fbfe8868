//! Obtains the published definitions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

/// The Python package that carries the OpenAPI definitions of several Kubernetes versions.
const PACKAGE: &str = "kubernetes-validate==1.37.0";

/// The one we serve.
const MEMBER: &str = "kubernetes_validate/kubernetes-json-schema/v1.36.0-local/_definitions.json";

/// The definitions by name, from `wheel` or from PyPI.
pub fn definitions(wheel: Option<&Path>, root: &Path) -> anyhow::Result<serde_json::Map<String, Value>> {
    let wheel = match wheel {
        Some(path) => path.to_owned(),
        None => download(&root.join("target/xtask-schema"))?,
    };
    let text = member(&wheel)?;
    let mut document: Value = serde_json::from_slice(&text).context("reading the definitions")?;
    match document.get_mut("$defs").map(Value::take) {
        Some(Value::Object(definitions)) => Ok(definitions),
        _ => anyhow::bail!("{MEMBER} has no $defs"),
    }
}

fn download(directory: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(directory)
        .arg(PACKAGE)
        .status()
        .context("running python3 -m pip (needed to download the definitions)")?;
    anyhow::ensure!(status.success(), "downloading {PACKAGE} failed: {status}");
    let name = format!("{}-py3-none-any.whl", PACKAGE.replace("==", "-").replacen('-', "_", 1));
    Ok(directory.join(name))
}

/// One file of a wheel (a zip archive), by Python, which is there because pip is.
fn member(wheel: &Path) -> anyhow::Result<Vec<u8>> {
    let script =
        "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(wheel)
        .arg(MEMBER)
        .output()
        .context("running python3")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "reading {MEMBER} from {}: {errors}", wheel.display());
    Ok(output.stdout)
}
