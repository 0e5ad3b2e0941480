//! The messages of `-l` and `--jsonl`: one for each line of standard input.

use std::{cell::Cell, io, mem, sync::Arc};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use tokio::time::{self, Instant};

use super::{
    Speed, Spool,
    draft::{Draft, Drafter},
    losses,
    pace::Pace,
    progress::Progress,
    session,
    tally::{Place, Tally},
};
use crate::{
    cli::{
        connect,
        exit::{Exit, Failure},
        lines::{self, Block},
        opts::LogOptions,
        plan::{ClientPlan, Lines, MAX_PAYLOAD_BYTES, PublishPlan},
        printer::Printer,
    },
    client::{Client, EnqueueError, Flow},
    codec::{Properties, QoS, TopicName, Version},
};

/// A line that describes a message is longer than its payload: base64 and hexadecimal digits are.
const MAX_WRITTEN_BYTES: usize = 2 * MAX_PAYLOAD_BYTES + (1 << 20);

/// Publishes each line of standard input.
pub(super) async fn publish(
    client: &ClientPlan,
    plan: &PublishPlan,
    spool: Option<Spool>,
    log: LogOptions,
) -> Result<Exit, Failure> {
    let version = client.version;
    let session = session(client, log)?;
    let printer = session.printer().cloned();
    let tally = Arc::new(Tally::new(log.quiet));
    let published = Arc::clone(&tally);
    let mut builder = session
        .builder(client)?
        .max_inflight(plan.max_inflight)
        .topic_aliases(plan.topic_aliases)
        .on_message(|_, _| Flow::Taken)
        .on_publish(move |ticket, result, _| match result {
            Ok(_) => published.confirm(),
            Err(error) => published.fail(ticket, error),
        });
    let mut client_id = client.client_id.clone();
    if let Some(spool) = spool {
        tally.left(spool.pending());
        builder = spool.attach(builder);
    }
    let (client, _inbox) = builder.start()?;
    let progress = Progress::of_input(log);
    let posted = Cell::new(0);
    let work = async {
        // A spool takes lines while there is no broker yet.
        if plan.spool.is_none() {
            let connected = client.connected().await;
            let info = connected.map_err(|error| connect::connect_failure(error, version))?;
            client_id = info.client_id.into_string();
        }
        let drafter = Drafter::new(plan, &client_id)?;
        let (tally, progress) = (&*tally, &progress);
        let mut feed = Feed {
            client: &client,
            plan,
            version,
            printer: printer.as_ref(),
            pace: match plan.lines {
                Some(Lines::Records(speed)) => Pace::new(speed),
                _ => Pace::new(Speed::Max),
            },
            drafter,
            tally,
            progress,
            number: 0,
            last: Cell::default(),
            posted: &posted,
        };
        let ended = feed.run(max_line_bytes(plan)).await?;
        client.flush().await.map_err(|reason| connect::close_failure(reason, version))?;
        ended.map_or(Ok(Exit::Success), Err)
    };
    let work = async {
        tokio::select! {
            biased;
            outcome = work => outcome,
            failure = losses::in_vain(&client, version, plan, &posted) => Err(failure),
        }
    };
    let outcome = session.attend(&client, progress.during(work, Some(&tally))).await;
    tally.verdict(outcome, plan.spool.as_ref().map(|spool| spool.dir.as_path()))
}

fn max_line_bytes(plan: &PublishPlan) -> usize {
    match plan.lines {
        Some(Lines::Payloads) if plan.decode.is_none() => MAX_PAYLOAD_BYTES,
        _ => MAX_WRITTEN_BYTES,
    }
}

/// What the messages of a line have in common, beside the payload.
#[derive(Clone, Copy)]
struct Kind<'a> {
    qos: QoS,
    retain: bool,
    properties: &'a Properties,
}

/// Gives the client one line after the other.
struct Feed<'a> {
    client: &'a Client,
    plan: &'a PublishPlan,
    version: Version,
    printer: Option<&'a Printer>,
    drafter: Drafter<'a>,
    pace: Pace,
    tally: &'a Tally,
    progress: &'a Progress,
    /// Of the line.
    number: u64,
    /// The last line that made a message.
    last: Cell<Place>,
    /// How many messages the client was given.
    posted: &'a Cell<u64>,
}

impl Feed<'_> {
    /// Publishes the lines of standard input to their end, or to an error of the input, which is
    /// returned once what was read before it is admitted.
    ///
    /// # Errors
    /// The end of the client.
    async fn run(&mut self, max_line_bytes: usize) -> Result<Option<Failure>, Failure> {
        let mut blocks = lines::read(io::stdin(), max_line_bytes);
        while let Some(block) = blocks.recv().await {
            match block.context("cannot read standard input") {
                Ok(block) => self.block(&block, max_line_bytes).await?,
                Err(error) => return Ok(Some(error.into())),
            }
        }
        Ok(None)
    }

    async fn block(&mut self, block: &Block, max_line_bytes: usize) -> Result<(), Failure> {
        self.tally.read(block.count() + block.too_long);
        for line in block.lines() {
            if self.progress.is_shown() {
                self.progress.add(line.len() as u64 + 1);
            }
            self.number += 1;
            if self.plan.is_plain() {
                let PublishPlan { topics, qos, retain, properties, .. } = self.plan;
                let kind = Kind { qos: qos.unwrap_or_default(), retain: *retain, properties };
                self.deliver(topics, line, kind).await?;
                continue;
            }
            match self.drafter.line(line) {
                Ok(Some(draft)) => self.draft(draft).await?,
                Ok(None) => self.tally.blank(),
                Err(error) => self.tally.skip(self.number, error),
            }
        }
        if block.too_long > 0 {
            self.number += block.too_long;
            let text = anyhow!("the line is longer than {max_line_bytes} bytes");
            self.tally.skip(self.number, text);
        }
        Ok(())
    }

    async fn draft(&mut self, draft: Draft) -> Result<(), Failure> {
        if let Some(due) = draft.at.and_then(|at| self.pace.due(at, Instant::now())) {
            time::sleep_until(due).await;
        }
        let kind = Kind { qos: draft.qos, retain: draft.retain, properties: &draft.properties };
        match self.drafter.topics(self.number, &draft.topic) {
            Ok(topics) => self.deliver(&topics, draft.payload, kind).await,
            Err(error) => {
                self.tally.skip(self.number, error);
                Ok(())
            }
        }
    }

    /// Gives the client the messages of one line.
    async fn deliver(
        &self,
        topics: &[TopicName],
        mut payload: Bytes,
        kind: Kind<'_>,
    ) -> Result<(), Failure> {
        while let Some(printer) = self.printer.filter(|printer| printer.is_full()) {
            printer.room().await;
        }
        let count = topics.len() as u64;
        self.tally.fans_out(count);
        for (at, topic) in topics.iter().enumerate() {
            let is_last = at + 1 == topics.len();
            let payload = if is_last { mem::take(&mut payload) } else { payload.clone() };
            let message = self
                .client
                .publish(topic, payload)
                .qos(kind.qos)
                .retain(kind.retain)
                .properties(kind.properties.clone());
            match message.post().await {
                // The hook hears of its end.
                Ok(ticket) => {
                    self.posted.set(self.posted.get() + 1);
                    if at == 0 {
                        let ticket = ticket.get();
                        self.tally.place(Place { ticket, line: self.number, count }, &self.last);
                    }
                    if self.plan.spool.is_some() {
                        self.tally.keep();
                    }
                }
                // What cannot be kept is not read.
                Err(EnqueueError::Store { error, .. }) => return Err(error.into()),
                Err(EnqueueError::Closed(_)) => {
                    let reason = self.client.closed().await;
                    return Err(connect::close_failure(reason, self.version));
                }
                Err(error) => {
                    self.tally.skip(self.number, connect::publish_failure(error.into()));
                }
            }
        }
        Ok(())
    }
}
