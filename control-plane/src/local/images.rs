//! Images of a local cluster's nodes. Archives are put into the cluster's directory, where every agent finds them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use node_agent::cri::{self, Runtime as _};

use super::{
    Error, process,
    state::{self, Layout},
};

/// Longest until every running agent has taken an archive.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(120);
/// How often the agents are asked meanwhile.
const POLL: Duration = Duration::from_millis(100);

/// An image of a node.
#[derive(Clone, Debug)]
pub struct Image {
    /// The node.
    pub node: String,
    /// Its names.
    pub names: Vec<String>,
    /// Its size.
    pub bytes: u64,
}

/// Gives an archive to every node, and waits until those that run have it. Answers the images' names.
pub async fn import(data_dir: &Path, file: &Path) -> Result<Vec<String>, Error> {
    let layout = Layout::new(data_dir);
    let cluster = layout.read()?;
    let names = names_in(&layout, file)?;
    let name = file.file_name().ok_or_else(|| Error::Refused(format!("{} is no file", file.display())))?;
    state::make_dir(&layout.images())?;
    let copied = std::fs::copy(file, layout.images().join(name));
    copied.map_err(|source| Error::File { action: "copy", path: file.to_owned(), source })?;
    let deadline = Instant::now() + IMPORT_TIMEOUT;
    for agent in cluster.agents.iter().filter(|agent| process::running(&layout.agent(&agent.name)).is_some())
    {
        let runtime = runtime(&layout, &agent.name)?;
        for name in &names {
            while !matches!(runtime.image(name).await, Ok(Some(_))) {
                if Instant::now() > deadline {
                    return Err(Error::Timeout {
                        what: format!("{} to import {name}", agent.name),
                        after: IMPORT_TIMEOUT,
                    });
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
    Ok(names)
}

/// Names of the images in an archive, which is thereby known to be a good one.
fn names_in(layout: &Layout, file: &Path) -> Result<Vec<String>, Error> {
    let refused =
        |why: &dyn std::fmt::Display| Error::Refused(format!("{} cannot be imported: {why}", file.display()));
    let scratch = layout.root().join("importing");
    let unpacked = runtime::image::Store::open(scratch.clone())
        .and_then(|store| runtime::image::archive::import(&store, file, None));
    let _ = std::fs::remove_dir_all(&scratch);
    let names: Vec<String> =
        unpacked.map_err(|why| refused(&why))?.into_iter().flat_map(|image| image.tags).collect();
    if names.is_empty() {
        return Err(refused(&"it names no image"));
    }
    Ok(names)
}

/// The images of every running node.
pub async fn list(data_dir: &Path) -> Result<Vec<Image>, Error> {
    let layout = Layout::new(data_dir);
    let mut all = Vec::new();
    for agent in layout.read()?.agents {
        if process::running(&layout.agent(&agent.name)).is_none() {
            continue;
        }
        let images = runtime(&layout, &agent.name)?.list_images().await;
        for image in
            images.map_err(|why| Error::Refused(format!("{} cannot list its images: {why}", agent.name)))?
        {
            all.push(Image { node: agent.name.clone(), names: image.repo_tags, bytes: image.size });
        }
    }
    Ok(all)
}

fn runtime(layout: &Layout, agent: &str) -> Result<cri::Remote, Error> {
    let socket = layout.agent(agent).join("data/run/cri.sock");
    cri::Remote::new(&socket)
        .map_err(|why| Error::Refused(format!("cannot reach the runtime of {agent}: {why}")))
}
