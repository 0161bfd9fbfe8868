//! What peers send, handed to openraft.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use openraft::storage::Snapshot;
use proto::raft::SnapshotChunk;
use tonic::{Status, Streaming};

use super::convert;
use super::group::Group;
use super::machine::Image;
use super::task::{self, Task};
use crate::codec;
use crate::member::MemberId;
use crate::network::{Frames, Inbound, Replies};
use crate::record;
use crate::seams::Work;
use crate::snapshot::{Discard, Receiver};

fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn encoded<T: codec::Encode>(record: &T) -> Bytes {
    Bytes::from(codec::encode(record))
}

#[tonic::async_trait]
impl Inbound for Group {
    fn append(&self, from: MemberId, frames: Frames) -> Frames {
        // What cannot be read ends the stream; the peer opens a new one.
        // Idle streams would otherwise outlive the group, and keep the server from ending.
        let ending = self.ending();
        let requests = frames.take_until(ending.clone().cancelled_owned()).scan((), move |(), frame| {
            let request = frame.and_then(|frame| {
                let record = codec::decode(&frame).map_err(malformed)?;
                convert::append(record, &frame).map_err(malformed)
            });
            if let Err(status) = &request {
                tracing::debug!(%from, reason = status.message(), "a stream of appends ended");
            }
            std::future::ready(request.ok())
        });
        let answers = self.raft().stream_append(requests);
        answers
            .take_until(ending.clone().cancelled_owned())
            .map(|answer| answer.map(|answer| encoded(&convert::appended_record(&answer))).map_err(stopped))
            .boxed()
    }

    async fn vote(&self, frame: Bytes) -> Result<Bytes, Status> {
        let ballot = codec::decode_owned(&frame).map_err(malformed)?;
        let answer = self.raft().vote(convert::ballot(ballot)).await.map_err(stopped)?;
        Ok(encoded(&convert::ballot_answer_record(&answer)))
    }

    async fn pre_vote(&self, frame: Bytes) -> Result<Bytes, Status> {
        let ballot = codec::decode_owned(&frame).map_err(malformed)?;
        let answer = self.raft().pre_vote(convert::ballot(ballot)).await.map_err(stopped)?;
        Ok(encoded(&convert::ballot_answer_record(&answer)))
    }

    async fn transfer_leader(&self, frame: Bytes) -> Result<Bytes, Status> {
        let transfer = codec::decode_owned(&frame).map_err(malformed)?;
        let answer =
            self.raft().handle_transfer_leader(convert::transfer(transfer)).await.map_err(stopped)?;
        Ok(encoded(&convert::transfer_answer_record(&answer)))
    }

    async fn snapshot(&self, mut chunks: Streaming<SnapshotChunk>) -> Result<Bytes, Status> {
        let first = chunks.message().await?.ok_or_else(|| malformed("no header"))?;
        let header: record::SnapshotHeader = codec::decode_owned(&first.header).map_err(malformed)?;
        let meta = convert::snapshot_meta(&header.position).map_err(malformed)?;
        let images = self.machine().images().clone();
        let image = Discard { path: images.incoming(), images };
        receive(chunks, &image, self.machine().work()).await?;
        let snapshot = Snapshot { meta, snapshot: Image::Received(Arc::new(image)) };
        let answer = self.raft().install_full_snapshot(convert::vote(header.vote), snapshot).await;
        let answer = answer.map_err(stopped)?;
        Ok(encoded(&record::SnapshotAnswer { vote: convert::vote_record(&answer.vote) }))
    }

    fn forward(&self, requests: Vec<Bytes>) -> Result<Replies, Status> {
        let tasks = requests.iter().map(|request| {
            let record = codec::decode(request).map_err(malformed)?;
            Ok(Task::from_record(record, request))
        });
        let tasks = tasks.collect::<Result<Vec<_>, Status>>()?;
        let reply = |task| {
            let group = self.clone();
            async move { encoded(&task::answer(&group.perform(task).await)) }
        };
        Ok(tasks.into_iter().map(reply).collect::<FuturesOrdered<_>>().boxed())
    }
}

/// Writes the files of a snapshot.
async fn receive(mut chunks: Streaming<SnapshotChunk>, image: &Discard, work: Work) -> Result<(), Status> {
    let root = image.path.clone();
    let mut receiver = blocking(work, move || Receiver::new(root)).await?;
    while let Some(chunk) = chunks.message().await? {
        receiver = blocking(work, move || receiver.take(&chunk).map(|()| receiver)).await?;
    }
    match receiver.is_finished() {
        true => Ok(()),
        false => Err(Status::aborted("the snapshot ended early")),
    }
}

async fn blocking<T: Send + 'static>(
    place: Work,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let result = place.run(work).await;
    let result = result.map_err(|error| Status::internal(error.to_string()))?;
    // A full disk is not a failure of ours: nothing but this image is lost.
    result.map_err(|error| Status::internal(format!("receiving a snapshot: {error}")))
}
