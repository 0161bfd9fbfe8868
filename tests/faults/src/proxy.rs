//! Proxies between members, which do to the bytes of each link what its [`Weather`] says.
//!
//! ```text
//! member 0 (its namespace) ──► bridge, port of member 1 ──► proxy ──► member 1 (its namespace)
//! ```
//!
//! A member advertises the port of its proxy on the bridge; who connects is told by the address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::limits::{PIECE_BYTES, PIECES_UNDER_WAY, PROXY_CONNECT};
use crate::network::{Network, PEER_PORT};
use crate::weather::{Course, Fate, Weather};

/// A sender and a receiver.
type Link = (usize, usize);

/// What happened on the links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pieces that arrived later than they would have.
    pub late: u64,
    /// Times a piece was lost.
    pub lost: u64,
    /// Connections that were ended.
    pub reset: u64,
}

/// All proxies; they end when dropped.
pub struct Proxies {
    sky: Arc<Sky>,
    addresses: Vec<SocketAddr>,
    _stop: DropGuard,
}

/// What the proxies share.
struct Sky {
    members: BTreeMap<IpAddr, usize>,
    state: Mutex<State>,
}

struct State {
    weather: BTreeMap<Link, Weather>,
    counts: Counts,
    chance: StdRng,
}

impl Proxies {
    /// Starts a proxy for each member.
    pub async fn start(network: &Network, members: usize) -> anyhow::Result<Self> {
        let places: Vec<Ipv4Addr> = (0..members).map(|at| network.address(Some(at))).collect();
        let state =
            State { weather: BTreeMap::new(), counts: Counts::default(), chance: StdRng::seed_from_u64(1) };
        let members = places.iter().zip(0..).map(|(place, at)| (IpAddr::V4(*place), at)).collect();
        let sky = Arc::new(Sky { members, state: Mutex::new(state) });
        let stop = CancellationToken::new();
        let mut addresses = Vec::new();
        for (at, place) in places.into_iter().enumerate() {
            let listener = TcpListener::bind((network.address(None), 0)).await?;
            addresses.push(listener.local_addr()?);
            let served = serve(listener, (at, (place, PEER_PORT).into()), sky.clone());
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(served).await });
        }
        Ok(Self { sky, addresses, _stop: stop.drop_guard() })
    }

    /// Where the others reach a member.
    pub fn address(&self, at: usize) -> SocketAddr {
        self.addresses[at]
    }

    /// From now on the links of a member, or all, have this weather in both directions.
    pub fn set(&self, member: Option<usize>, weather: Weather) {
        let mut state = self.sky.state.lock();
        for from in 0..self.addresses.len() {
            for to in 0..self.addresses.len() {
                if member.is_none_or(|member| member == from || member == to) {
                    state.weather.insert((from, to), weather);
                }
            }
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.sky.state.lock().counts
    }
}

impl Sky {
    fn fate(&self, link: Link, course: &mut Course, bytes: usize) -> Fate {
        let state = &mut *self.state.lock();
        let weather = state.weather.get(&link).copied().unwrap_or(Weather::FAIR);
        let now = Instant::now();
        let fate = course.fate(weather, now, bytes, &mut state.chance);
        match fate {
            Fate::Arrives { at, lost } => {
                state.counts.late += u64::from(at > now);
                state.counts.lost += u64::from(lost);
            }
            Fate::Reset => state.counts.reset += 1,
        }
        fate
    }
}

/// Takes connections to a member; they end with this.
async fn serve(listener: TcpListener, member: (usize, SocketAddr), sky: Arc<Sky>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, source)) = accepted else { continue };
                // Nobody else is on this bridge.
                let Some(from) = sky.members.get(&source.ip()).copied() else { continue };
                connections.spawn(carry(stream, from, member, sky.clone()));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until either side ends it or the weather does.
async fn carry(stream: TcpStream, from: usize, (to, address): (usize, SocketAddr), sky: Arc<Sky>) {
    let connecting = tokio::time::timeout(PROXY_CONNECT, TcpStream::connect(address));
    // A member that is not there: its caller sees the connection end.
    let Ok(Ok(onward)) = connecting.await else { return };
    for side in [&stream, &onward] {
        let _gone = side.set_nodelay(true);
        // Whenever one side ends, the other sees a reset.
        let _gone = set_socket_linger(side, Some(Duration::ZERO));
    }
    let (here, there) = (stream.into_split(), onward.into_split());
    // However it ends, both sides see it.
    let _ended = tokio::select! {
        ended = pump(here.0, there.1, (from, to), &sky) => ended,
        ended = pump(there.0, here.1, (to, from), &sky) => ended,
    };
}

/// Moves bytes one way until there are no more.
async fn pump(
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    link: Link,
    sky: &Sky,
) -> std::io::Result<()> {
    let (pieces, mut arriving) = mpsc::channel::<(Instant, Bytes)>(PIECES_UNDER_WAY);
    let leaving = async move {
        let mut course = Course::default();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = read.read(&mut piece).await?;
            if count == 0 {
                return Ok(());
            }
            let Fate::Arrives { at, .. } = sky.fate(link, &mut course, count) else {
                return Err(std::io::ErrorKind::ConnectionReset.into());
            };
            if pieces.send((at, Bytes::copy_from_slice(&piece[..count]))).await.is_err() {
                return Ok(());
            }
        }
    };
    let arriving = async {
        while let Some((at, piece)) = arriving.recv().await {
            tokio::time::sleep_until(at.into()).await;
            write.write_all(&piece).await?;
        }
        write.shutdown().await
    };
    tokio::try_join!(leaving, arriving).map(drop)
}
