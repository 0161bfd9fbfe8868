//! `kontiki image`

use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use kontiki::{local::images, program};
use runtime::image::build::{self, Recipe};

/// Build, import and list container images without a registry.
#[derive(Subcommand)]
pub enum Image {
    /// Import an archive (OCI or `docker save`, also gzipped) into every node of a local cluster
    ///
    /// The archive is kept in the cluster's directory `images`, so nodes that start later get it too.
    Import {
        /// The archive
        file: PathBuf,
        /// Directory of the cluster
        #[arg(long, value_name = "DIR", default_value = ".kontiki", env = "KONTIKI_DATA_DIR")]
        data_dir: PathBuf,
    },
    /// List the images of every running node of a local cluster
    List {
        /// Directory of the cluster
        #[arg(long, value_name = "DIR", default_value = ".kontiki", env = "KONTIKI_DATA_DIR")]
        data_dir: PathBuf,
    },
    /// Assemble the small web-server image of the examples from a static busybox
    BuildHello {
        /// Where to write the archive
        file: PathBuf,
        /// Name of the image
        #[arg(long, default_value = "docker.io/library/kontiki-hello:1")]
        name: String,
        /// Version its page shows
        #[arg(long, default_value = "1")]
        version: String,
        /// The static busybox
        #[arg(long, default_value = "/bin/busybox")]
        busybox: PathBuf,
    },
}

impl Image {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Import { file, data_dir } => {
                let names = program::block_on(images::import(&data_dir, &file))??;
                names.iter().for_each(|name| println!("imported {name}"));
                Ok(())
            }
            Self::List { data_dir } => {
                let listed = program::block_on(images::list(&data_dir))??;
                println!("{:<20}{:<12}IMAGE", "NODE", "SIZE");
                for image in listed {
                    println!("{:<20}{:<12}{}", image.node, image.bytes, image.names.join(", "));
                }
                Ok(())
            }
            Self::BuildHello { file, name, version, busybox } => {
                anyhow::ensure!(
                    busybox.exists(),
                    "{} is missing; on Debian, `apt-get install busybox-static` provides it",
                    busybox.display()
                );
                build::build(&Recipe::hello(&name, &version, &busybox), &file)
                    .with_context(|| format!("building {}", file.display()))
            }
        }
    }
}
