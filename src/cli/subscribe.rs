//! midge_sub.

use std::{
    convert::Infallible,
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::anyhow;
use clap::{ArgMatches, FromArgMatches, Parser};
use tokio::sync::Notify;

use super::{
    Tool,
    connect::{self, Session},
    exit::{Exit, Failure},
    format::{Format, MANUAL, PayloadError, Renderer},
    opts::{ClientOptions, GeneralOptions, LogOptions, OutputOptions, SubscribeOptions},
    plan::{ClientPlan, SubscribePlan},
    printer::{Fill, Printer},
    stdio,
};
use crate::{
    client::{Client, Flow, MessageRef, SubscribeError},
    codec::{Properties, Publish, ReasonCode, SubscribeOptions as FilterOptions, TopicFilter},
};

/// Subscribes to topics of an MQTT broker and prints their messages.
///
/// Each message is printed on standard output as it arrives, and the program runs until it is
/// stopped, unless -C or -W ends it. It connects again when the connection is lost.
#[derive(Debug, Parser)]
#[command(after_long_help = MANUAL)]
pub struct SubscribeCommand {
    #[command(flatten)]
    subscribe: SubscribeOptions,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    client: ClientOptions,
    #[command(flatten)]
    general: GeneralOptions,
}

/// How midge_sub can end.
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
    Exit::SignalBeforeConnect,
];

/// Up to this count of -C the broker is asked, on 5.0, to have no more messages on their way than
/// are wanted: what is acknowledged but not printed is lost.
const SMALL_COUNT: u64 = 20;

/// Runs midge_sub.
///
/// # Errors
/// What ended it before its count was reached.
pub fn run(matches: &ArgMatches) -> Result<Exit, Failure> {
    let command = SubscribeCommand::from_arg_matches(matches)?;
    let client = ClientPlan::new(&command.client, matches)?;
    let plan = SubscribePlan::new(&command.subscribe, &client)?;
    let log = command.client.log;
    connect::run(log, subscribe(&client, plan, command.output.into_format(), log))
}

async fn subscribe(
    client: &ClientPlan,
    plan: SubscribePlan,
    format: Format,
    log: LogOptions,
) -> Result<Exit, Failure> {
    let version = client.version;
    let printer = Printer::start();
    let session = Session::new(Tool::Sub, log, client, plan.timeout, Some(printer.clone()))?;
    let mut builder = session.builder(client)?.reconnect(connect::RECONNECT);
    if let Some(count) = plan.count.filter(|count| *count < SMALL_COUNT) {
        builder = builder.receive_maximum(u16::try_from(count).unwrap_or(u16::MAX));
    }

    let complete = Arc::new(Notify::new());
    let completed = Arc::clone(&complete);
    let reader = printer.clone();
    let mut renderer = Renderer::new(format).for_terminal(printer.is_terminal());
    let mut wanted = plan.count;
    let explanation = Arc::new(Mutex::default());
    let explained = Arc::clone(&explanation);
    let builder = builder
        .on_message(move |message, handle| {
            match &mut wanted {
                // Nobody reads the inbox: what is not printed is not acknowledged either.
                Some(0) => return Flow::Continue,
                Some(wanted) => *wanted -= 1,
                None => {}
            }
            let message = publish_of(message);
            let mut rendered = Ok(());
            if reader.append_raw(|out| rendered = renderer.render(&message, out)) == Fill::Full {
                handle.pause_reading();
            }
            if let Err(error) = rendered
                && !log.quiet
            {
                complain(message.topic, error);
            }
            if wanted == Some(0) {
                completed.notify_one();
            }
            Flow::Taken
        })
        .on_subscribe(move |_, result, _| {
            if let Ok(receipt) = result {
                *lock(&explained) = receipt.properties.as_ref().reason_string().map(str::to_owned);
            }
        });
    let (client, _inbox) = builder.start()?;

    let subscribed = async {
        client.connected().await.map_err(|error| connect::connect_failure(error, version))?;
        match client.subscribe_many(plan.filters.clone(), Properties::default()).await {
            Ok(reasons) => {
                let explanation = lock(&explanation).take();
                check_answers(&plan.filters, &reasons, explanation, log)
            }
            Err(SubscribeError::Closed) => {
                Err(connect::close_failure(client.closed().await, version))
            }
            Err(error @ SubscribeError::Timeout) => Err(Failure::new(Exit::KeepAlive, error)),
            Err(error) => Err(error.into()),
        }
    };
    let counted = async {
        subscribed.await?;
        future::pending().await
    };
    let work = async {
        tokio::select! {
            biased;
            () = complete.notified() => Ok(Exit::Success),
            outcome = counted => outcome,
            never = resume_reading(&client, &printer) => match never {},
        }
    };
    session.attend(&client, work).await
}

/// Reads on whenever the reader of standard output has caught up.
async fn resume_reading(client: &Client, printer: &Printer) -> Infallible {
    loop {
        printer.room().await;
        client.resume_reading();
    }
}

/// Fails if the broker has refused every filter, and warns of each if it has refused some.
fn check_answers(
    filters: &[(TopicFilter, FilterOptions)],
    answers: &[ReasonCode],
    explanation: Option<String>,
    log: LogOptions,
) -> Result<(), Failure> {
    let explanation = explanation.map_or(String::new(), |text| format!(" ({text:?})"));
    match answers.first() {
        Some(first) if answers.iter().all(|reason| reason.is_error()) => {
            let error = anyhow!("the broker refused all subscriptions: {first}{explanation}");
            Err(Failure::new(Exit::Refused(first.code()), error))
        }
        _ => {
            for ((filter, _), reason) in filters.iter().zip(answers) {
                if reason.is_error() && !log.quiet {
                    let text = format!("the broker refused {:?}: {reason}{explanation}", &**filter);
                    stdio::report(Tool::Sub.name(), &text);
                }
            }
            Ok(())
        }
    }
}

/// The message as it stood in its packet.
fn publish_of<'a>(message: &MessageRef<'a>) -> Publish<'a> {
    Publish {
        dup: message.dup(),
        qos: message.qos(),
        retain: message.retain(),
        topic: message.topic(),
        packet_id: message.packet_id(),
        properties: message.properties(),
        payload: message.payload(),
    }
}

/// Says what could not be printed of a message.
#[cold]
fn complain(topic: &str, error: PayloadError) {
    let error = anyhow::Error::new(error).context(format!("a message on {topic:?}"));
    stdio::report(Tool::Sub.name(), &format!("{error:#}"));
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
