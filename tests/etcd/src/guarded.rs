//! Our store and etcd side by side, with users: the same logins and calls to both, in the same order, one at a time.

use anyhow::{Context, ensure};
use tonic::Code;
use tonic::transport::Channel;

use crate::accounts::{Act, SEATS, is_free, opening};
use crate::answers::{Answer, Asker};
use crate::calls::{Call, Source};
use crate::server::Running;

/// Both servers.
pub struct Guarded {
    ours: Side,
    etcd: Side,
}

struct Side {
    channel: Channel,
    nobody: Asker,
    /// Who is logged in.
    seats: Vec<Option<Asker>>,
    _running: Running,
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Logins that were not refused.
    pub logins: u64,
    /// Calls that were answered.
    pub allowed: u64,
    /// Calls that were refused because of who asked.
    pub denied: u64,
    /// Calls that were refused for other reasons.
    pub refused: u64,
}

impl Side {
    async fn new(running: Running) -> anyhow::Result<Self> {
        let channel = running.connect().await?;
        let nobody = Asker::new(channel.clone());
        Ok(Self { channel, nobody, seats: vec![None; SEATS], _running: running })
    }

    /// Whether it is not refused, and if it is, why.
    async fn login(&mut self, seat: usize, name: &str, password: &str) -> Result<(), String> {
        let asker = Asker::login(self.channel.clone(), name, password).await;
        self.seats[seat] = Some(asker.map_err(|(code, message)| format!("{code:?}: {message}"))?);
        Ok(())
    }

    fn knows(&self, seat: Option<usize>) -> bool {
        seat.is_some_and(|seat| self.seats[seat].is_some())
    }

    async fn ask(&mut self, seat: Option<usize>, call: Call) -> Answer {
        let seated = seat.and_then(|seat| self.seats[seat].as_mut());
        seated.unwrap_or(&mut self.nobody).ask(call).await
    }
}

impl Guarded {
    /// Starts both; nothing when etcd is not installed.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(etcd) = Running::etcd().await? else { return Ok(None) };
        Ok(Some(Self { ours: Side::new(Running::ours().await?).await?, etcd: Side::new(etcd).await? }))
    }

    /// Compares the answers to so many acts; an error is a difference.
    pub async fn compare(&mut self, seed: u64, acts: u64) -> anyhow::Result<Compared> {
        let mut source = Source::forwards(seed);
        let mut compared = Compared::default();
        for act in opening() {
            self.act(act, &mut compared).await?;
        }
        for number in 0..acts {
            let act = source.act();
            source.revision = self
                .act(act, &mut compared)
                .await
                .with_context(|| format!("seed {seed}, after {number} acts"))?
                .unwrap_or(source.revision);
        }
        Ok(compared)
    }

    /// Returns the revision both are at, if they tell.
    async fn act(&mut self, act: Act, compared: &mut Compared) -> anyhow::Result<Option<i64>> {
        match act.clone() {
            Act::Login { seat, name, password } => {
                let ours = self.ours.login(seat, name, password).await;
                let etcd = self.etcd.login(seat, name, password).await;
                ensure!(ours == etcd, "the answers differ\n{act:?}\nours: {ours:?}\netcd: {etcd:?}");
                compared.logins += u64::from(ours.is_ok());
            }
            Act::Call { seat, call } if is_free(&call) && !self.ours.knows(seat) => {}
            Act::Call { seat, call } => {
                let (ours, etcd) =
                    tokio::join!(self.ours.ask(seat, call.clone()), self.etcd.ask(seat, call.clone()));
                let same = ours == etcd || is_stranger(&ours) && is_mistake(&etcd);
                ensure!(same, "the answers differ\n{act:?}\nours: {ours:?}\netcd: {etcd:?}");
                *match &ours {
                    Answer::Refused(_, why) if is_denial(why) => &mut compared.denied,
                    Answer::Refused(..) => &mut compared.refused,
                    _ => &mut compared.allowed,
                } += 1;
                if let Answer::AuthDisable(_) = ours {
                    // Tokens of before are refused while auth is off, by etcd before 3.6.
                    self.ours.seats.fill(None);
                    self.etcd.seats.fill(None);
                }
                return Ok(ours.revision());
            }
        }
        Ok(None)
    }
}

/// We look first at who asks.
fn is_stranger(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(_, why) if is_denial(why) && !why.ends_with("permission denied"))
}

/// etcd looks first at what is asked.
fn is_mistake(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(Code::InvalidArgument, _))
}

fn is_denial(message: &str) -> bool {
    ["permission denied", "user name is empty", "invalid auth token"]
        .iter()
        .any(|text| message.ends_with(text))
}
