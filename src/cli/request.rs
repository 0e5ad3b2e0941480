//! midge_rr.

use std::{
    convert::Infallible,
    fmt::Write as _,
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use tokio::sync::Notify;

use super::{
    Tool,
    connect::{self, Session},
    exit::{Exit, Failure},
    format::{Format, MANUAL, Renderer},
    opts::{ClientOptions, GeneralOptions, LogOptions, OutputOptions, RequestOptions},
    plan::{ClientPlan, Correlation, RequestPlan, request_properties},
    printer::{Fill, Printer},
    publish, stdio,
    subscribe::{self, Explanation},
};
use crate::{
    client::{Client, ConnectInfo, Flow, MessageRef, PublishError},
    codec::{Properties, Property, PropertyValue, ReasonCode, TopicFilter, Version},
};

/// Publishes a request to an MQTT broker and prints the answer.
///
/// The request is the text of -m, the contents of a file (-f) or of standard input (-s), or nothing
/// (-n). The program subscribes to the response topic first, prints the answer on standard output
/// and ends. In MQTT 5, which is the default here, the request carries the response topic and
/// correlation data, and an answer is a message that carries those data.
#[derive(Debug, Parser)]
#[command(after_long_help = MANUAL)]
struct RequestCommand {
    #[command(flatten)]
    request: RequestOptions,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    client: ClientOptions,
    #[command(flatten)]
    general: GeneralOptions,
}

/// The options, some of which differ from those of the other tools.
pub(super) fn command() -> Command {
    RequestCommand::command()
        .mut_arg("protocol_version", |arg| arg.default_value("5"))
        .mut_arg("stdin_line", |arg| arg.hide(true))
}

/// Runs midge_rr.
///
/// # Errors
/// What ended it before its answers were there.
pub(super) fn run(matches: &ArgMatches) -> Result<Exit, Failure> {
    let command = RequestCommand::from_arg_matches(matches)?;
    let mut client = ClientPlan::new(Tool::Rr, &command.client, matches)?;
    let plan = RequestPlan::new(&command.request, &client)?;
    if plan.response_topic.is_none() {
        ask_for_response_information(&mut client.properties.connect)?;
    }
    let format = command.output.into_format();
    let log = command.client.log;
    let source = plan.source.clone();
    connect::run(log, async {
        let read = move || publish::payload(&source);
        let payload = connect::read_first(&mut client, read).await?;
        request(&client, plan, payload, format, log).await
    })
}

/// Has the broker say what response topics are to be made of.
fn ask_for_response_information(properties: &mut Properties) -> anyhow::Result<()> {
    if properties.as_ref().request_response_information().is_none() {
        properties.push(Property::RequestResponseInformation, PropertyValue::Byte(1))?;
    }
    Ok(())
}

async fn request(
    client: &ClientPlan,
    plan: RequestPlan,
    payload: Bytes,
    format: Format,
    log: LogOptions,
) -> Result<Exit, Failure> {
    let version = client.version;
    let printer = Printer::start();
    let session = Session::new(Tool::Rr, log, client, Some(printer.clone()))?;
    let builder = session.builder_once(client)?.topic_aliases(plan.topic_aliases);
    let explanation = Explanation::default();
    let builder = explanation.watch(builder);

    let correlation = match &plan.correlation {
        Correlation::None => None,
        Correlation::Made => Some(random_text()?.into_bytes()),
        Correlation::Given(data) => Some(data.clone()),
    };
    let complete = Arc::new(Notify::new());
    let completed = Arc::clone(&complete);
    let asked = Arc::new(Mutex::new(None));
    let mut judge = Judge::new(&plan, correlation.clone(), log, Arc::clone(&asked));
    let reader = printer.clone();
    let mut renderer = Renderer::new(format).for_terminal(printer.is_terminal());
    let builder = builder.on_message(move |message, handle| {
        let waited = match judge.choose(message) {
            Choice::Answer(waited) => waited,
            Choice::Other => return Flow::Taken,
            // Nobody reads the inbox: what is not printed is not acknowledged either.
            Choice::Late => return Flow::Continue,
        };
        let publish = message.publish();
        let mut rendered = Ok(());
        let fill = reader.append_raw(|out| {
            rendered = renderer.render(publish, out);
            if judge.prints_latency {
                out.extend_from_slice(latency(waited).as_bytes());
            }
        });
        if fill == Fill::Full {
            handle.pause_reading();
        }
        if let Err(error) = rendered
            && !log.quiet
        {
            subscribe::complain(Tool::Rr, publish.topic, error);
        }
        if judge.wanted == 0 {
            completed.notify_one();
        }
        Flow::Taken
    });
    let (client, _inbox) = builder.start()?;

    let ask = async {
        let connected = client.connected().await;
        let info = connected.map_err(|error| connect::connect_failure(error, version))?;
        let response_topic = match &plan.response_topic {
            Some(topic) => topic.to_string(),
            None => made_topic(&info)?,
        };
        listen(&client, &plan, &response_topic, &explanation, version).await?;
        let properties = match version {
            Version::V5 => request_properties(
                plan.properties.clone(),
                &response_topic,
                correlation.as_deref(),
            )?,
            _ => Properties::default(),
        };
        *lock(&asked) = Some(Instant::now());
        let message = client.publish(plan.topic.clone(), payload);
        match message.qos(plan.qos).properties(properties).await {
            Ok(receipt) if receipt.reason == ReasonCode::NO_MATCHING_SUBSCRIBERS && !log.quiet => {
                let text = format!("nobody has subscribed to {:?}", &*plan.topic);
                stdio::report(Tool::Rr.name(), &text);
            }
            Ok(_) => {}
            // Why the connection was lost says more than that it was.
            Err(PublishError::Lost { .. } | PublishError::Closed { .. }) => {
                return Err(connect::close_failure(client.closed().await, version));
            }
            Err(error) => return Err(connect::publish_failure(error)),
        }
        future::pending::<Result<Infallible, Failure>>().await
    };
    let work = async {
        tokio::select! {
            biased;
            () = complete.notified() => Ok(Exit::Success),
            outcome = ask => match outcome? {},
            never = subscribe::resume_reading(&client, &printer) => match never {},
        }
    };
    session.attend(&client, work).await
}

/// Subscribes to the answers.
async fn listen(
    client: &Client,
    plan: &RequestPlan,
    response_topic: &str,
    explanation: &Explanation,
    version: Version,
) -> Result<(), Failure> {
    let filter = TopicFilter::try_from(response_topic)
        .with_context(|| format!("{response_topic:?} is not a topic for answers"))?;
    let filters = vec![(filter, plan.filter_options)];
    let answers = client.subscribe_many(filters, plan.subscribe_properties.clone()).await;
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => return Err(subscribe::request_failure(error, client, version).await),
    };
    match answers.reasons.first().filter(|reason| reason.is_error()) {
        Some(reason) => {
            let explanation = explanation.take();
            let error = anyhow!(
                "the broker refused the subscription to {response_topic:?}: {reason}{explanation}"
            );
            Err(Failure::new(Exit::Refused(reason.code()), error))
        }
        None => Ok(()),
    }
}

/// A response topic of our own (§4.10.1).
fn made_topic(info: &ConnectInfo) -> anyhow::Result<String> {
    let random = random_text()?;
    Ok(match info.properties.as_ref().response_information() {
        Some(beginning) => format!("{}/{random}", beginning.trim_end_matches('/')),
        None => format!("midge/response/{random}"),
    })
}

/// 16 random bytes in hexadecimal: nobody who has not seen the request knows them.
fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("no random numbers")?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Tells answers from other messages.
struct Judge {
    /// When the request was sent, once it was.
    asked: Arc<Mutex<Option<Instant>>>,
    correlation: Option<Vec<u8>>,
    /// The retain flag is that of the publisher and says nothing about age.
    retain_as_published: bool,
    prints_latency: bool,
    /// How many more answers there are to be.
    wanted: u64,
    /// What was said already, or is not to be said.
    silent_on_retained: bool,
    silent_on_others: bool,
}

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// An answer, after this time.
    Answer(Duration),
    /// Something else, which is acknowledged and forgotten.
    Other,
    /// Something after the last answer.
    Late,
}

impl Judge {
    fn new(
        plan: &RequestPlan,
        correlation: Option<Vec<u8>>,
        log: LogOptions,
        asked: Arc<Mutex<Option<Instant>>>,
    ) -> Self {
        Self {
            asked,
            correlation,
            retain_as_published: plan.filter_options.retain_as_published,
            prints_latency: plan.latency,
            wanted: plan.count,
            silent_on_retained: plan.no_retained || log.quiet,
            silent_on_others: log.quiet,
        }
    }

    fn choose(&mut self, message: &MessageRef<'_>) -> Choice {
        if self.wanted == 0 {
            return Choice::Late;
        }
        let asked = *lock(&self.asked);
        let (Some(asked), false) = (asked, message.retain() && !self.retain_as_published) else {
            if message.retain() && !std::mem::replace(&mut self.silent_on_retained, true) {
                skipped(message.topic(), "was retained before the request was sent");
            }
            return Choice::Other;
        };
        if self.correlation.is_some()
            && self.correlation.as_deref() != message.properties().correlation_data()
        {
            if !std::mem::replace(&mut self.silent_on_others, true) {
                skipped(
                    message.topic(),
                    "does not carry the correlation data of the request; --no-correlation takes it",
                );
            }
            return Choice::Other;
        }
        self.wanted -= 1;
        Choice::Answer(asked.elapsed())
    }
}

fn skipped(topic: &str, why: &str) {
    let text = format!("no answer: a message on {topic:?} {why}");
    stdio::report(Tool::Rr.name(), &text);
}

/// The line of `--latency`, in the unit that leaves at least one digit before the point.
fn latency(waited: Duration) -> String {
    let (seconds, nanos) = (waited.as_secs(), waited.subsec_nanos());
    match (seconds, nanos) {
        (0, 0..1_000) => format!("Latency: {nanos}ns\n"),
        (0, 1_000..1_000_000) => {
            format!("Latency: {}.{:03}µs\n", nanos / 1_000, nanos % 1_000)
        }
        (0, _) => {
            let micros = nanos / 1_000;
            format!("Latency: {}.{:03}ms\n", micros / 1_000, micros % 1_000)
        }
        _ => format!("Latency: {seconds}.{nanos:09}s\n"),
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_has_the_unit_of_its_size() {
        for (nanos, expected) in [
            (999, "999ns"),
            (1_000, "1.000µs"),
            (417_123, "417.123µs"),
            (1_000_000, "1.000ms"),
            (999_999_999, "999.999ms"),
            (1_000_000_001, "1.000000001s"),
        ] {
            let line = latency(Duration::from_nanos(nanos));
            assert_eq!(line, format!("Latency: {expected}\n"));
        }
    }

    #[test]
    fn random_texts_differ() {
        let (a, b) = (random_text().unwrap(), random_text().unwrap());
        assert_eq!((a.len(), b.len()), (32, 32));
        assert_ne!(a, b);
    }
}
