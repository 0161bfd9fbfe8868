//! Tests that read the tree itself: direction of dependencies, words, limits.
//!
//! The compiler forbids an edge only where a manifest does not have it, so what a manifest may have is written here
//! as a table, and so is which module may name a library that is to be replaceable. A change of either table is a
//! change of the design.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The workspace's root. As cargo says when it runs us: what it said when it built us may have been another clone that
/// shares the target directory.
pub fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest).join("../..")
}

/// One package of the workspace.
pub struct Package {
    /// Name without the prefix `kontiki-`.
    pub name: String,
    /// Folder of its manifest, relative to the root.
    pub folder: String,
    /// Names of what it depends on, as the manifest spells them: (name, section).
    pub dependencies: Vec<(String, Section)>,
}

/// Which table of a manifest a dependency is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What the package is built from.
    Normal,
    /// What its build script uses.
    Build,
    /// What its tests use.
    Dev,
}

/// All packages of the workspace.
pub fn packages() -> anyhow::Result<Vec<Package>> {
    let root = root();
    let manifest = read_toml(&root.join("Cargo.toml"))?;
    let members = manifest["workspace"]["members"].as_array().context("the workspace has members")?;
    let mut packages = Vec::new();
    for member in members.iter().filter_map(toml::Value::as_str) {
        match member.strip_suffix("/*") {
            Some(parent) => {
                for entry in std::fs::read_dir(root.join(parent))? {
                    let folder = format!("{parent}/{}", entry?.file_name().to_string_lossy());
                    packages.push(package(&root, &folder)?);
                }
            }
            None => packages.push(package(&root, member)?),
        }
    }
    packages.sort_by(|a, b| a.folder.cmp(&b.folder));
    Ok(packages)
}

fn package(root: &Path, folder: &str) -> anyhow::Result<Package> {
    let manifest = read_toml(&root.join(folder).join("Cargo.toml"))?;
    let name = manifest["package"]["name"].as_str().with_context(|| format!("{folder} has a name"))?;
    let sections = [
        ("dependencies", Section::Normal),
        ("build-dependencies", Section::Build),
        ("dev-dependencies", Section::Dev),
    ];
    let mut dependencies = Vec::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|t| t.values());
    for tables in std::iter::once(&manifest).chain(targets) {
        for (key, section) in sections {
            let table = tables.get(key).and_then(toml::Value::as_table);
            dependencies.extend(table.into_iter().flat_map(|t| t.keys()).map(|name| (name.clone(), section)));
        }
    }
    let name = name.strip_prefix("kontiki-").unwrap_or(name).to_owned();
    Ok(Package { name, folder: folder.to_owned(), dependencies })
}

fn read_toml(path: &Path) -> anyhow::Result<toml::Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

/// One Rust file.
pub struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Lines with their numbers, without those that are comments.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        lines.filter(|(_, line)| !line.starts_with("//"))
    }
}

/// All Rust files of the packages.
pub fn sources() -> anyhow::Result<Vec<Source>> {
    let root = root();
    let mut sources = Vec::new();
    for package in packages()? {
        for part in ["src", "tests", "benches", "build.rs"] {
            collect(&root, &root.join(&package.folder).join(part), &mut sources)?;
        }
    }
    anyhow::ensure!(!sources.is_empty(), "no sources found below {}", root.display());
    Ok(sources)
}

fn collect(root: &Path, path: &Path, out: &mut Vec<Source>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            collect(root, &entry?.path(), out)?;
        }
    } else if path.extension().is_some_and(|e| e == "rs") && path.is_file() {
        let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        out.push(Source { path: relative, text });
    }
    Ok(())
}
