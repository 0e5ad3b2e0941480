//! midge_sub.
//!
//! - `goal`: where messages go from the connection; `watch` and `tree` are the views of -w
//! - `request`: SUBSCRIBE, UNSUBSCRIBE and the broker's answers
//! - `selection`: which of the received messages count
//! - `retained`: the end of the retained messages, and their removal
//! - `intake`: the way of messages to whoever works on them: `exec`, or `files` with `file_name`

mod exec;
mod file_name;
mod files;
mod goal;
mod intake;
mod request;
mod retained;
mod selection;
mod tree;
mod watch;

use std::{convert::Infallible, future, sync::Arc};

use clap::{ArgMatches, FromArgMatches, Parser};
use tokio::sync::Notify;

use super::{
    Tool,
    connect::{self, Session},
    exit::{Exit, Failure},
    format::{self, PayloadError},
    opts::{
        ClientOptions, DeliveryOptions, GeneralOptions, LogOptions, OutputOptions,
        SubscribeOptions, WatchOptions,
    },
    plan::{ClientPlan, DeliveryPlan, SubscribePlan},
    printer::Printer,
    stdio,
};
use crate::client::{Acks, Client, OutgoingQueue};

use goal::Goal;
use intake::{Backlog, Intake};
pub(super) use request::{Explanation, request_failure};
use retained::Removals;
use selection::Selection;

/// Subscribes to topics of an MQTT broker and prints their messages.
///
/// Each message is printed on standard output as it arrives, and the program runs until it is
/// stopped, unless -C or -W ends it. It connects again when the connection is lost.
#[derive(Debug, Parser)]
#[command(after_long_help = manual())]
pub struct SubscribeCommand {
    #[command(flatten)]
    subscribe: SubscribeOptions,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    watch: WatchOptions,
    #[command(flatten)]
    delivery: DeliveryOptions,
    #[command(flatten)]
    client: ClientOptions,
    #[command(flatten)]
    general: GeneralOptions,
}

/// What the manual page says behind the options.
fn manual() -> String {
    [format::MANUAL, exec::MANUAL, file_name::MANUAL].join("\n\n")
}

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
    let plan = SubscribePlan::new(&command.subscribe, &client, matches)?;
    let delivery = DeliveryPlan::new(&command.delivery, &command.watch, &client)?;
    let log = command.client.log;
    connect::run(log, subscribe(&client, plan, delivery, command.output, log))
}

async fn subscribe(
    client: &ClientPlan,
    plan: SubscribePlan,
    delivery: DeliveryPlan,
    output: OutputOptions,
    log: LogOptions,
) -> Result<Exit, Failure> {
    let version = client.version;
    let printer = Printer::start();
    let backlog = Backlog::new();
    let mut session = Session::new(Tool::Sub, log, client, Some(printer.clone()))?;
    let mut builder = session.builder(client)?;
    if client.settings.receive_maximum.is_none()
        && let Some(count) = receive_maximum(&plan, &delivery)
    {
        builder = builder.receive_maximum(count);
    }
    let removals = Removals::default();
    if plan.selection.remove_retained {
        let finished = removals.clone();
        builder = builder
            .outgoing(OutgoingQueue {
                messages: usize::MAX,
                bytes: usize::MAX,
                ..OutgoingQueue::default()
            })
            .on_publish(move |ticket, result, _| finished.finished(ticket, result, log.quiet));
    }
    let explanation = Explanation::default();
    builder = explanation.watch(builder);
    if matches!(delivery, DeliveryPlan::Exec(_) | DeliveryPlan::Files(_)) {
        builder = Backlog::bound(builder.acks(Acks::Manual));
        let backlog = backlog.clone();
        let tells = matches!(delivery, DeliveryPlan::Exec(_)) && !log.quiet;
        session = session.on_signal(move || {
            let running = backlog.stop();
            if tells && running > 0 {
                let (commands, them) =
                    if running == 1 { ("a command", "it") } else { ("commands", "them") };
                let text = format!("waiting for {commands} to end; a second signal ends {them}");
                stdio::report(Tool::Sub.name(), &text);
            }
        });
    }
    let host = client.transport.endpoint.host();
    let goal = Goal::new(&delivery, output.clone(), host, &printer, &backlog, log);
    let ticker = goal.ticker();
    let complete = Arc::new(Notify::new());
    let selection = Selection::new(plan.selection.clone());
    let builder = goal::receive(builder, selection, goal, removals.clone(), Arc::clone(&complete));
    // Nobody reads the inbox of what is printed: what comes too late is not acknowledged.
    let (client, mut inbox) = builder.start()?;

    let requested = async {
        client.connected().await.map_err(|error| connect::connect_failure(error, version))?;
        request::send(&client, &plan, &explanation, version, log).await?;
        if plan.exit_when_subscribed {
            return Ok(());
        }
        if plan.selection.retained_only {
            return match retained::all_received(&client, || backlog.settled()).await {
                Ok(()) => Ok(()),
                Err(error) => Err(request_failure(error, &client, version).await),
            };
        }
        future::pending().await
    };
    let all_there = async {
        tokio::select! {
            biased;
            () = complete.notified() => Ok(()),
            outcome = requested => outcome,
            never = resume_reading(&client, &printer) => match never {},
            never = ticker.clone().run(&printer) => match never {},
        }
    };
    let work = async {
        let removing = plan.selection.remove_retained.then(|| removals.clone());
        let intake = Intake::new(client.clone(), &mut inbox, backlog.clone(), removing);
        match delivery {
            DeliveryPlan::Print | DeliveryPlan::Watch | DeliveryPlan::Rate => {
                all_there.await?;
                ticker.finish(&printer);
            }
            DeliveryPlan::Exec(plan) => {
                let commands = exec::run(plan, intake, log);
                deal_with_all(commands, all_there, &backlog).await?;
            }
            DeliveryPlan::Files(plan) => {
                let files = files::run(plan, output.into_format(), intake, log);
                deal_with_all(files, all_there, &backlog).await?;
            }
        }
        removals.all_confirmed(&client).await?;
        Ok(Exit::Success)
    };
    session.attend(&client, work).await
}

/// How many messages of QoS 1 and 2 the broker may have on their way, on 5.0, if not the usual
/// number.
fn receive_maximum(plan: &SubscribePlan, delivery: &DeliveryPlan) -> Option<u16> {
    let most = match delivery {
        // What waits for its command here could run elsewhere, as in a shared subscription.
        DeliveryPlan::Exec(exec) => Some(exec.jobs as u64),
        _ => None,
    };
    let count = plan.selection.count.filter(|count| *count < SMALL_COUNT);
    let most = most.into_iter().chain(count).min()?;
    Some(u16::try_from(most).unwrap_or(u16::MAX))
}

/// Waits until `deal_with`, which takes messages from the intake, has come to an end: at the
/// latest, the end of what has arrived when `all_there` is ready.
async fn deal_with_all(
    deal_with: impl Future<Output = Result<(), Failure>>,
    all_there: impl Future<Output = Result<(), Failure>>,
    backlog: &Backlog,
) -> Result<(), Failure> {
    let close = async {
        all_there.await?;
        backlog.end_here();
        future::pending().await
    };
    tokio::select! {
        biased;
        outcome = deal_with => outcome,
        outcome = close => outcome,
    }
}

/// Reads on whenever the reader of standard output has caught up.
pub(super) async fn resume_reading(client: &Client, printer: &Printer) -> Infallible {
    loop {
        printer.room().await;
        client.resume_reading();
    }
}

/// Says what could not be printed of a message.
#[cold]
pub(super) fn complain(tool: Tool, topic: &str, error: PayloadError) {
    let error = anyhow::Error::new(error).context(format!("a message on {topic:?}"));
    stdio::report(tool.name(), &format!("{error:#}"));
}
