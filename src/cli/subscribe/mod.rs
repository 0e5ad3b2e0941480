//! midge_sub.
//!
//! - `request`: SUBSCRIBE, UNSUBSCRIBE and the broker's answers
//! - `selection`: which of the received messages count
//! - `retained`: the end of the retained messages, and their removal

mod request;
mod retained;
mod selection;

use std::{convert::Infallible, future, sync::Arc};

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
    client::{Client, Flow, MessageRef, OutgoingQueue},
    codec::Publish,
};

pub(super) use request::{Explanation, request_failure};
use retained::Removals;
use selection::{Choice, Selection};

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
    let client = ClientPlan::new(Tool::Sub, &command.client, matches)?;
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
    let session = Session::new(Tool::Sub, log, client, Some(printer.clone()))?;
    let mut builder = session.builder(client)?;
    if let Some(count) = plan.selection.count.filter(|count| *count < SMALL_COUNT) {
        builder = builder.receive_maximum(u16::try_from(count).unwrap_or(u16::MAX));
    }
    let removals = Removals::default();
    if plan.selection.remove_retained {
        let finished = removals.clone();
        builder = builder
            .outgoing(OutgoingQueue { messages: usize::MAX, bytes: usize::MAX })
            .on_publish(move |ticket, result, _| finished.finished(ticket, result, log.quiet));
    }
    let explanation = Explanation::default();
    let builder = explanation.watch(builder);

    let complete = Arc::new(Notify::new());
    let completed = Arc::clone(&complete);
    let reader = printer.clone();
    let mut renderer = Renderer::new(format).for_terminal(printer.is_terminal());
    let mut selection = Selection::new(plan.selection.clone());
    let removing = removals.clone();
    let builder = builder.on_message(move |message, handle| {
        let (shown, last) = match selection.choose(message) {
            Choice::Take { shown, last } => (shown, last),
            Choice::Leave => return Flow::Taken,
            choice @ (Choice::End | Choice::Late) => {
                if choice == Choice::End {
                    completed.notify_one();
                }
                // Nobody reads the inbox: what is not printed is not acknowledged either.
                return Flow::Continue;
            }
        };
        if selection.removes(message) {
            removing.begin(message.topic(), handle);
        }
        if shown {
            let message = publish_of(message);
            let mut rendered = Ok(());
            if reader.append_raw(|out| rendered = renderer.render(&message, out)) == Fill::Full {
                handle.pause_reading();
            }
            if let Err(error) = rendered
                && !log.quiet
            {
                complain(Tool::Sub, message.topic, error);
            }
        }
        if last {
            completed.notify_one();
        }
        Flow::Taken
    });
    let (client, _inbox) = builder.start()?;

    let subscribed = async {
        client.connected().await.map_err(|error| connect::connect_failure(error, version))?;
        request::send(&client, &plan, &explanation, version, log).await?;
        if plan.exit_when_subscribed {
            return Ok(());
        }
        if plan.selection.retained_only {
            return match retained::all_received(&client, async || {}).await {
                Ok(()) => Ok(()),
                Err(error) => Err(request_failure(error, &client, version).await),
            };
        }
        future::pending().await
    };
    let work = async {
        tokio::select! {
            biased;
            () = complete.notified() => {}
            outcome = subscribed => outcome?,
            never = resume_reading(&client, &printer) => match never {},
        }
        removals.all_confirmed(&client).await?;
        Ok(Exit::Success)
    };
    session.attend(&client, work).await
}

/// Reads on whenever the reader of standard output has caught up.
pub(super) async fn resume_reading(client: &Client, printer: &Printer) -> Infallible {
    loop {
        printer.room().await;
        client.resume_reading();
    }
}

/// The message as it stood in its packet.
pub(super) fn publish_of<'a>(message: &MessageRef<'a>) -> Publish<'a> {
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
pub(super) fn complain(tool: Tool, topic: &str, error: PayloadError) {
    let error = anyhow::Error::new(error).context(format!("a message on {topic:?}"));
    stdio::report(tool.name(), &format!("{error:#}"));
}
