//! `elect`.

use std::io::Write;

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::kv_client::KvClient;
use proto::etcd::v3electionpb::election_client::ElectionClient;
use proto::etcd::v3electionpb::{CampaignRequest, LeaderRequest, ResignRequest};

use super::kv_answers::{self, Style};
use super::session::{hold, interrupted};
use super::{Common, Error};

/// Seconds after which an office is vacant when its holder is silent; etcdctl's.
const TTL_S: i64 = 60;

/// Stand for election and stay in office until interrupted, or see who is elected
#[derive(Clone, Debug, clap::Args)]
pub struct Elect {
    #[command(flatten)]
    common: Common,
    /// The election.
    name: String,
    /// What the elected one has to say.
    #[arg(required_unless_present = "listen", conflicts_with = "listen")]
    proposal: Option<String>,
    /// Only see who is elected.
    #[arg(short = 'l', long)]
    listen: bool,
}

/// Runs the command.
pub async fn run(elect: Elect, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let Elect { common, name, proposal, .. } = elect;
    match proposal {
        Some(proposal) => campaign(&common, name, proposal, out).await,
        None => listen(&common, name, out).await,
    }
}

fn print(common: &Common, answer: &pb::RangeResponse, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let style = Style { hex: common.hex, ..Style::default() };
    common.print(&kv_answers::get(answer, style), out)?;
    Ok(out.flush()?)
}

async fn campaign(
    common: &Common,
    name: String,
    proposal: String,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let line = common.connection.connect_to_wait().await?;
    let mut client = ElectionClient::new(line.clone());
    let work = async |lease| {
        let request = CampaignRequest { name: name.into(), lease, value: proposal.into() };
        let elected = tokio::select! {
            elected = client.campaign(request) => elected?.into_inner().leader.unwrap_or_default(),
            stop = interrupted() => return stop,
        };
        let request = pb::RangeRequest { key: elected.key.clone(), ..Default::default() };
        print(common, &KvClient::new(line.clone()).range(request).await?.into_inner(), out)?;
        let outcome = interrupted().await;
        client.resign(ResignRequest { leader: Some(elected) }).await?;
        outcome
    };
    hold(&line, TTL_S, work).await
}

async fn listen(common: &Common, name: String, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let mut client = ElectionClient::new(common.connection.connect_to_wait().await?);
    let mut leaders = client.observe(LeaderRequest { name: name.into() }).await?.into_inner();
    while let Some(leader) = leaders.message().await? {
        let kvs: Vec<_> = leader.kv.into_iter().collect();
        let count = i64::try_from(kvs.len()).expect("it is one at most");
        print(common, &pb::RangeResponse { header: leader.header, kvs, count, more: false }, out)?;
    }
    Ok(())
}
