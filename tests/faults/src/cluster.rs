//! Members as processes of the program that users run, each in its place.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::network::{CLIENT_PORT, Network, PEER_PORT};
use crate::proxy::Proxies;
use crate::scarcity::Scarce;
use crate::space::SmallDisk;

/// How a cluster is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Places where a member can be; each has a network namespace.
    pub places: usize,
    /// How many of them found the cluster.
    pub founders: usize,
    /// Whether each member has a small disk of its own.
    pub small_disks: bool,
    /// Whether members reach each other through proxies.
    pub proxied: bool,
    /// Log entries between two flushes of the state; few put the state into files soon.
    pub flush_after: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Self { places: 3, founders: 3, small_disks: false, proxied: false, flush_after: 10_000 }
    }
}

/// Where a member can be.
#[derive(Default)]
struct Place {
    process: Option<Child>,
    disk: Option<SmallDisk>,
    state: State,
}

/// What a place has to do with the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing.
    #[default]
    Vacant,
    /// Its member founded the cluster.
    Founder,
    /// Its member was added.
    Joined,
}

/// The members; killed when dropped.
pub struct Cluster {
    /// Their network.
    pub network: Network,
    /// What is between them, if anything is.
    pub proxies: Option<Proxies>,
    // Dropped before the directory, in which their disks are mounted.
    places: Vec<Place>,
    layout: Layout,
    directory: tempfile::TempDir,
    program: PathBuf,
    shim: PathBuf,
}

/// What the machine lacks for these tests, if anything.
pub fn missing() -> Option<&'static str> {
    let runs = |program: &str, argument: &str| Command::new(program).arg(argument).output().is_ok();
    if !rustix::process::geteuid().is_root() {
        return Some("root");
    }
    let programs = [("ip", "-V"), ("nft", "-v"), ("cc", "--version")];
    programs.into_iter().find(|(program, argument)| !runs(program, argument)).map(|(program, _)| program)
}

/// The program beside the test in the target directory.
fn program() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let mut folders = here.ancestors().skip(1).take(2);
    folders
        .find_map(|folder| Some(folder.join("kontiki-store")).filter(|path| path.exists()))
        .context("kontiki-store is missing: build it first with `cargo build --release -p kontiki-store-bin`")
}

fn shim(directory: &Path) -> anyhow::Result<PathBuf> {
    let source = directory.join("disk.c");
    std::fs::write(&source, include_str!("../shim/disk.c"))?;
    let library = directory.join("disk.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    ensure!(status.context("running cc")?.success(), "the shim does not compile");
    Ok(library)
}

impl Cluster {
    /// Founds a store, and waits until each member answers a linearizable read.
    pub async fn start(layout: Layout) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kontiki-faults-").tempdir()?;
        let shim = shim(directory.path())?;
        let network = Network::new(layout.places)?;
        let proxies =
            if layout.proxied { Some(Proxies::start(&network, layout.places).await?) } else { None };
        let places = (0..layout.places).map(|_| Place::default()).collect();
        let mut cluster = Self { network, proxies, places, layout, directory, program: program()?, shim };
        for at in 0..layout.places {
            if layout.small_disks {
                cluster.places[at].disk = Some(SmallDisk::mount(&cluster.data(at))?);
            }
            if at < layout.founders {
                cluster.places[at].state = State::Founder;
            }
        }
        for at in cluster.members() {
            cluster.spawn(at)?;
        }
        for at in cluster.members() {
            cluster.ready(at).await?;
        }
        Ok(cluster)
    }

    /// The places whose members are to serve.
    pub fn members(&self) -> Vec<usize> {
        let taken = |place: &Place| place.state != State::Vacant;
        self.places.iter().enumerate().filter(|(_, place)| taken(place)).map(|(at, _)| at).collect()
    }

    /// All places.
    pub fn places(&self) -> std::ops::Range<usize> {
        0..self.places.len()
    }

    /// A member besides one.
    pub fn other(&self, than: usize) -> anyhow::Result<usize> {
        self.members().into_iter().cycle().skip_while(|at| *at != than).nth(1).context("it is not a member")
    }

    /// From now on a place's member counts as one that was added, or does not count any more.
    pub fn set_joined(&mut self, at: usize, joined: bool) {
        self.places[at].state = if joined { State::Joined } else { State::Vacant };
    }

    /// The disk of a member that has a small one.
    pub fn small_disk(&self, at: usize) -> anyhow::Result<&SmallDisk> {
        self.places[at].disk.as_ref().context("the member has no disk of its own")
    }

    /// Where a member serves clients.
    pub fn client_address(&self, at: usize) -> SocketAddr {
        (self.network.address(Some(at)), CLIENT_PORT).into()
    }

    /// Where the others reach a member.
    pub fn peer_url(&self, at: usize) -> String {
        match &self.proxies {
            Some(proxies) => format!("http://{}", proxies.address(at)),
            None => self.listens_for_peers(at),
        }
    }

    fn listens_for_peers(&self, at: usize) -> String {
        format!("http://{}:{PEER_PORT}", self.network.address(Some(at)))
    }

    /// Where a member keeps everything.
    pub fn data(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}"))
    }

    /// Starts a member that does not run.
    pub fn spawn(&mut self, at: usize) -> anyhow::Result<()> {
        let client = format!("http://{}", self.client_address(at));
        let state = if self.places[at].state == State::Joined { "existing" } else { "new" };
        let known = self.members().into_iter().map(|at| format!("m{at}={}", self.peer_url(at)));
        let known: Vec<String> = known.collect();
        let log = std::fs::File::options().create(true).append(true).open(self.log(at))?;
        let mut command = self.network.command(at, &self.program);
        command
            .args(["--name", &format!("m{at}")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &self.listens_for_peers(at)])
            .args(["--initial-advertise-peer-urls", &self.peer_url(at)])
            .args(["--initial-cluster", &known.join(","), "--initial-cluster-state", state])
            .args(["--auto-compaction-retention", "0"])
            .args(["--snapshot-count", &self.layout.flush_after.to_string()])
            .arg("--data-dir")
            .arg(self.data(at))
            .env("LD_PRELOAD", &self.shim)
            .env("FAULTS_DISK", self.disk(at))
            .env("FAULTS_CLOCK", self.clock(at))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.places[at].process = Some(command.spawn().context("running kontiki-store")?);
        Ok(())
    }

    /// Kills a member at once and waits until it is gone.
    pub fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        if let Some(mut member) = self.places[at].process.take() {
            member.kill()?;
            member.wait()?;
        }
        Ok(())
    }

    /// Stops a member in its tracks, or lets it go on.
    pub fn pause(&self, at: usize, paused: bool) -> anyhow::Result<()> {
        Ok(kill_process(self.pid(at)?, if paused { Signal::STOP } else { Signal::CONT })?)
    }

    /// The number of a member's process.
    pub fn pid(&self, at: usize) -> anyhow::Result<Pid> {
        let member = self.places[at].process.as_ref().context("it does not run")?;
        i32::try_from(member.id()).ok().and_then(Pid::from_raw).context("no process has such a number")
    }

    /// How much of a resource a member has.
    pub fn has(&self, at: usize, scarce: Scarce) -> anyhow::Result<u64> {
        let process = PathBuf::from(format!("/proc/{}", self.pid(at)?.as_raw_nonzero()));
        match scarce {
            Scarce::Files => Ok(std::fs::read_dir(process.join("fd"))?.count() as u64),
            Scarce::Memory => {
                let status = std::fs::read_to_string(process.join("status"))?;
                let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix(" kB"));
                Ok(size.context("the size of a process")?.trim().parse::<u64>()? * 1024)
            }
        }
    }

    /// Lets a member have so much of a resource at most; returns what it could have until then.
    pub fn give(&self, at: usize, scarce: Scarce, most: Option<u64>) -> anyhow::Result<Option<u64>> {
        let resource = scarce.resource();
        let limit = Rlimit { current: most, ..getrlimit(resource) };
        Ok(prlimit(Some(self.pid(at)?), resource, limit)?.current)
    }

    /// Whether a member has ended by itself.
    pub fn has_ended(&mut self, at: usize) -> anyhow::Result<bool> {
        let Some(member) = self.places[at].process.as_mut() else { return Ok(true) };
        let ended = member.try_wait()?.is_some();
        if ended {
            self.places[at].process = None;
        }
        Ok(ended)
    }

    /// Tells the shim of a member what to do with syncs; empty for nothing.
    pub fn disturb_disk(&self, at: usize, order: &str) -> anyhow::Result<()> {
        tell(&self.disk(at), order)
    }

    /// How many reads of a member the shim has held up.
    pub fn reads_held(&self, at: usize) -> u64 {
        std::fs::metadata(self.disk(at).with_extension("disk.held")).map_or(0, |file| file.len())
    }

    /// Sets the time of day of a member so many seconds ahead of the machine's.
    pub fn set_clock(&self, at: usize, seconds: i64) -> anyhow::Result<()> {
        tell(&self.clock(at), &seconds.to_string())
    }

    fn clock(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}.clock"))
    }

    fn disk(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}.disk"))
    }

    fn log(&self, at: usize) -> PathBuf {
        self.directory.path().join(format!("m{at}.log"))
    }

    /// Takes everything away that a member has written.
    pub fn wipe(&self, at: usize) -> anyhow::Result<()> {
        Ok(std::fs::remove_dir_all(self.data(at))?)
    }

    /// What a member has logged so far does not count any more.
    pub fn forget_words(&self, at: usize) -> anyhow::Result<()> {
        Ok(std::fs::write(self.log(at), "")?)
    }

    /// The last words of members that should run and do not.
    pub fn obituaries(&mut self) -> anyhow::Result<String> {
        let mut told = String::new();
        for at in self.members() {
            if self.has_ended(at)? {
                told += &format!("member {at} has ended: {}\n", self.last_words(at));
            }
        }
        Ok(told)
    }

    /// The end of what a member logged.
    pub fn last_words(&self, at: usize) -> String {
        let log = std::fs::read(self.log(at)).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.places.iter_mut().filter_map(|place| place.process.as_mut()) {
            let _gone = member.kill();
            let _gone = member.wait();
        }
    }
}

/// Gives the shim an order in one step: it must not see half of it.
fn tell(file: &Path, order: &str) -> anyhow::Result<()> {
    let draft = file.with_extension("new");
    std::fs::write(&draft, order)?;
    Ok(std::fs::rename(draft, file)?)
}
