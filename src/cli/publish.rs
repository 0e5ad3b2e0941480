//! midge_pub.

use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::{ArgMatches, FromArgMatches, Parser};
use tokio::time;

use super::{
    Tool,
    connect::{self, Session},
    exit::{Exit, Failure},
    lines,
    opts::{ClientOptions, GeneralOptions, LogOptions, PublishOptions, SourceOptions},
    plan::{ClientPlan, MAX_PAYLOAD_BYTES, PublishPlan},
    printer::Printer,
};
use crate::{
    client::{EnqueueError, Flow, PublishError},
    codec::EncodeError,
};

/// Publishes messages to an MQTT broker.
///
/// The message is the text of -m, the contents of a file (-f) or of standard input (-s), or
/// nothing (-n); -l publishes each line of standard input. The program ends when the broker has
/// confirmed every message, or the network has taken it where the quality of service is 0.
#[derive(Debug, Parser)]
pub struct PublishCommand {
    #[command(flatten)]
    publish: PublishOptions,
    #[command(flatten)]
    client: ClientOptions,
    #[command(flatten)]
    general: GeneralOptions,
}

/// How midge_pub can end.
pub const EXITS: &[Exit] = &[
    Exit::Success,
    Exit::Failure,
    Exit::RefusedV3(0),
    Exit::ProtocolError,
    Exit::ConnectionLost,
    Exit::TlsFailure,
    Exit::ProxyFailure,
    Exit::KeepAlive,
    Exit::TimedOut,
    Exit::Refused(0),
    Exit::Signal(2),
    Exit::Signal(15),
];

/// Runs midge_pub.
///
/// # Errors
/// What ended it before all was published.
pub fn run(matches: &ArgMatches) -> Result<Exit, Failure> {
    let command = PublishCommand::from_arg_matches(matches)?;
    let client = ClientPlan::new(Tool::Pub, &command.client, matches)?;
    let plan = PublishPlan::new(&command.publish, &client)?;
    let log = command.client.log;
    if plan.source.stdin_line {
        connect::run(log, publish_lines(&client, &plan, log))
    } else {
        let payload = payload(&plan.source)?;
        connect::run(log, publish_message(&client, &plan, payload, log))
    }
}

/// Publishes the one message, as often as it is wanted.
async fn publish_message(
    client: &ClientPlan,
    plan: &PublishPlan,
    payload: Bytes,
    log: LogOptions,
) -> Result<Exit, Failure> {
    let version = client.version;
    let session = session(client, log)?;
    let builder = session
        .builder_once(client)?
        .max_inflight(plan.max_inflight)
        .on_message(|_, _| Flow::Taken);
    let (client, _inbox) = builder.start()?;
    let work = async {
        client.connected().await.map_err(|error| connect::connect_failure(error, version))?;
        for round in 0..plan.repeat {
            if round > 0 {
                time::sleep(plan.repeat_delay).await;
            }
            let message = client.publish(plan.topic.clone(), payload.clone());
            match message.qos(plan.qos).retain(plan.retain).await {
                Ok(_) => {}
                // Why the connection was lost says more than that it was.
                Err(PublishError::Lost { .. } | PublishError::Closed { .. }) => {
                    return Err(connect::close_failure(client.closed().await, version));
                }
                Err(error) => return Err(connect::publish_failure(error)),
            }
        }
        Ok(Exit::Success)
    };
    session.attend(&client, work).await
}

/// Publishes each line of standard input.
async fn publish_lines(
    client: &ClientPlan,
    plan: &PublishPlan,
    log: LogOptions,
) -> Result<Exit, Failure> {
    let version = client.version;
    let session = session(client, log)?;
    let printer = session.printer().cloned();
    let tally = Arc::new(Tally::default());
    let published = Arc::clone(&tally);
    let builder = session
        .builder(client)?
        .max_inflight(plan.max_inflight)
        .on_message(|_, _| Flow::Taken)
        .on_publish(move |_, result, _| match result {
            Ok(_) => published.confirm(),
            Err(error) => published.fail(error),
        });
    let (client, _inbox) = builder.start()?;
    let work = async {
        client.connected().await.map_err(|error| connect::connect_failure(error, version))?;
        let mut blocks = lines::read(io::stdin(), MAX_PAYLOAD_BYTES);
        let mut ended = Ok(Exit::Success);
        while let Some(block) = blocks.recv().await {
            let block = match block.context("cannot read standard input") {
                Ok(block) => block,
                Err(error) => {
                    ended = Err(error.into());
                    break;
                }
            };
            tally.read(block.count() + block.too_long);
            for line in block.lines() {
                while let Some(printer) = printer.as_ref().filter(|printer| printer.is_full()) {
                    printer.room().await;
                }
                let message = client.publish(plan.topic.clone(), line);
                match message.qos(plan.qos).retain(plan.retain).enqueue().await {
                    // The hook hears of its end.
                    Ok(_delivery) => {}
                    Err(EnqueueError::Closed(_)) => {
                        return Err(connect::close_failure(client.closed().await, version));
                    }
                    Err(error) => tally.fail(&error.into()),
                }
            }
            if block.too_long > 0 {
                tally.fail(&PublishError::Encode(EncodeError::PacketTooLarge {
                    size: MAX_PAYLOAD_BYTES as u64 + 1,
                }));
            }
        }
        client.flush().await.map_err(|reason| connect::close_failure(reason, version))?;
        ended
    };
    let outcome = session.attend(&client, work).await;
    tally.verdict(outcome)
}

/// The tool around the client. Only `-d` prints anything.
fn session(client: &ClientPlan, log: LogOptions) -> Result<Session, Failure> {
    Session::new(Tool::Pub, log, client, log.debug.then(Printer::start))
}

/// Counts lines: every one is confirmed or missing.
#[derive(Debug, Default)]
struct Tally {
    read: AtomicU64,
    confirmed: AtomicU64,
    /// Why the first line failed.
    first: Mutex<Option<Failure>>,
}

impl Tally {
    fn read(&self, count: u64) {
        self.read.fetch_add(count, Ordering::Relaxed);
    }

    fn confirm(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    fn fail(&self, error: &PublishError) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| connect::publish_failure(error.clone()));
    }

    /// How it ended, given how the work did: not well if a line is missing.
    fn verdict(&self, outcome: Result<Exit, Failure>) -> Result<Exit, Failure> {
        let read = self.read.load(Ordering::Relaxed);
        let missing = read.saturating_sub(self.confirmed.load(Ordering::Relaxed));
        if missing == 0 {
            return outcome;
        }
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (exit, cause) = match outcome {
            Err(failure) => (failure.exit(), failure.text()),
            Ok(_) => first.map_or((Exit::Failure, None), |first| (first.exit(), first.text())),
        };
        let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
        let text = format!("{missing} of {read} lines read were not confirmed{cause}");
        Err(Failure::new(exit, anyhow!(text)))
    }
}

/// The payload of the one message.
pub(super) fn payload(source: &SourceOptions) -> anyhow::Result<Bytes> {
    let payload = if let Some(message) = &source.message {
        Bytes::copy_from_slice(message.as_bytes())
    } else if let Some(path) = &source.file {
        let name = path.display();
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
        read_all(file).with_context(|| format!("cannot read {name}"))?
    } else if source.stdin_file {
        let input = read_all(io::stdin().lock()).context("cannot read standard input")?;
        if input.is_empty() {
            return Err(anyhow!("standard input is empty: use -n to publish an empty message"));
        }
        input
    } else {
        Bytes::new()
    };
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(anyhow!(
            "the message is longer than the {MAX_PAYLOAD_BYTES} bytes MQTT allows"
        ));
    }
    Ok(payload)
}

/// Reads to the end, but not much further than a packet can hold.
fn read_all(input: impl Read) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    input.take(MAX_PAYLOAD_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
