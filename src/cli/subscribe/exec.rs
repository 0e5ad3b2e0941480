//! --exec: a command for each message.
//!
//! The payload is its standard input; topic and properties are in its environment. It never goes
//! through a shell, and nothing of a message becomes an argument or the name of a variable. A
//! message is acknowledged once its command has ended well, in the order of arrival, however the
//! commands end.

use std::{process::ExitStatus, sync::Arc};

use anyhow::anyhow;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin, Command},
    task::JoinSet,
};

use super::intake::Intake;
use crate::{
    cli::{
        Tool,
        exit::{Exit, Failure},
        format,
        opts::{LogOptions, OnFailure},
        plan::ExecPlan,
        stdio,
    },
    client::Message,
    codec::{QoS, ReasonCode},
};

/// A longer value does not become a variable: the system takes no more than 128 KiB for one.
const MAX_VARIABLE_BYTES: usize = 100_000;

/// What is said about --exec in the manual page.
pub(super) const MANUAL: &str = "\
A command of --exec gets the payload as its standard input. Standard output and standard error are \
those of midge_sub. It has a process group of its own, so that it cannot read from the terminal. Its \
environment is that of midge_sub without MIDGE_PASSWORD, and with:

  MIDGE_TOPIC                     topic
  MIDGE_QOS                       0, 1 or 2
  MIDGE_RETAIN                    1 for a retained message, 0 for another
  MIDGE_DUP                       1 if the broker may have delivered it before, otherwise 0
  MIDGE_PAYLOADLEN                length of the payload in bytes
  MIDGE_MID                       packet identifier (QoS 1 and 2)
  MIDGE_CONTENT_TYPE              content type
  MIDGE_RESPONSE_TOPIC            response topic
  MIDGE_CORRELATION_DATA          correlation data, if it is text
  MIDGE_CORRELATION_DATA_BASE64   correlation data in base64
  MIDGE_PAYLOAD_FORMAT_INDICATOR  1 if the payload is said to be text, 0 if not
  MIDGE_MESSAGE_EXPIRY_INTERVAL   seconds
  MIDGE_SUBSCRIPTION_IDENTIFIER   the first of several
  MIDGE_USER_PROPERTIES           user properties as JSON: [{\"name\":\"value\"}, ...]

What a message does not have is not set; neither is a value of more than 100,000 bytes. The values \
come from whoever publishes: quote them in scripts.

A command fails when it ends with another exit code than 0, when a signal ends it, or when it \
cannot be started. At SIGINT and SIGTERM no further command is started, and midge_sub waits for \
those that run; at a second one, and when -W is up, it sends them SIGTERM and exits.";

/// The variables that depend on the message.
const VARIABLES: [&str; 14] = [
    "MIDGE_TOPIC",
    "MIDGE_QOS",
    "MIDGE_RETAIN",
    "MIDGE_DUP",
    "MIDGE_PAYLOADLEN",
    "MIDGE_MID",
    "MIDGE_CONTENT_TYPE",
    "MIDGE_RESPONSE_TOPIC",
    "MIDGE_CORRELATION_DATA",
    "MIDGE_CORRELATION_DATA_BASE64",
    "MIDGE_PAYLOAD_FORMAT_INDICATOR",
    "MIDGE_MESSAGE_EXPIRY_INTERVAL",
    "MIDGE_SUBSCRIPTION_IDENTIFIER",
    "MIDGE_USER_PROPERTIES",
];

/// Runs the commands until there are no more messages, and all have ended.
///
/// # Errors
/// Exit code 123 when one failed: with a text if that ended the run, otherwise each had its own.
pub(super) async fn run(
    plan: ExecPlan,
    mut intake: Intake<'_>,
    log: LogOptions,
) -> Result<(), Failure> {
    let plan = Arc::new(plan);
    let mut running = JoinSet::new();
    let mut outcome = Ok(());
    let mut more = true;
    loop {
        tokio::select! {
            biased;
            Some(ended) = running.join_next() => {
                // A task that panicked has nothing to acknowledge.
                let Ok((message, result)): Result<(Message, Result<(), String>), _> = ended else {
                    continue;
                };
                if let Err(why) = result {
                    let failure = settle_failure(&plan, &message, &why, log);
                    more &= failure.text().is_none();
                    if outcome.is_ok() {
                        outcome = Err(failure);
                    }
                    intake.failed();
                } else {
                    intake.succeeded(&message);
                }
            }
            message = intake.next(), if more && running.len() < plan.jobs => match message {
                Some(message) => {
                    let plan = Arc::clone(&plan);
                    running.spawn(async move {
                        let result = run_one(&plan, &message).await;
                        (message, result)
                    });
                }
                None => more = false,
            },
            else => return outcome,
        }
    }
}

/// Does what is to follow a failure; one with a text ends the run.
fn settle_failure(plan: &ExecPlan, message: &Message, why: &str, log: LogOptions) -> Failure {
    let program = plan.program.display();
    let text = format!("{program}, run for a message on {:?}, {why}", message.topic());
    match plan.on_failure {
        OnFailure::End => {
            return Failure::new(Exit::CommandFailed, anyhow!(text));
        }
        OnFailure::Reject => message.reject(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR),
        OnFailure::Ack => message.ack(),
    }
    if !log.quiet {
        stdio::report(Tool::Sub.name(), &text);
    }
    Failure::silent(Exit::CommandFailed)
}

/// Runs the command for one message.
async fn run_one(plan: &ExecPlan, message: &Message) -> Result<(), String> {
    let mut command = Command::new(&plan.program);
    command.args(&plan.args).stdin(std::process::Stdio::piped()).env_remove("MIDGE_PASSWORD");
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.envs(variables(message));
    // Ctrl-C at a terminal is for midge_sub, which lets the commands finish.
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let stdin = child.stdin.take();
    let mut running = RunningCommand::new(&child);
    let status = feed_and_wait(&mut child, stdin, message.payload()).await;
    running.ended();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ended with {status}")),
        Err(error) => Err(format!("cannot be waited for: {error}")),
    }
}

/// Writes the payload for as long as the command reads, and waits for its end.
async fn feed_and_wait(
    child: &mut Child,
    stdin: Option<ChildStdin>,
    payload: &[u8],
) -> std::io::Result<ExitStatus> {
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command need not read all of it.
            let _ = stdin.write_all(payload).await;
        }
    };
    tokio::pin!(feed);
    let mut is_fed = false;
    loop {
        tokio::select! {
            () = &mut feed, if !is_fed => is_fed = true,
            status = child.wait() => return status,
        }
    }
}

/// What the command shall know of the message beside its payload.
fn variables(message: &Message) -> impl Iterator<Item = (&'static str, String)> {
    let properties = message.properties();
    let flag = |flag: bool| Some(u8::from(flag).to_string());
    let correlation_data = properties.correlation_data();
    let text = correlation_data.and_then(|data| std::str::from_utf8(data).ok());
    let user_properties = properties.user_properties().next().is_some();
    let values = [
        Some(message.topic().to_owned()),
        Some(u8::from(message.qos()).to_string()),
        flag(message.retain()),
        flag(message.dup()),
        Some(message.payload().len().to_string()),
        message.packet_id().filter(|_| message.qos() != QoS::AtMostOnce).map(|id| id.to_string()),
        properties.content_type().map(str::to_owned),
        properties.response_topic().map(str::to_owned),
        text.filter(|text| !text.contains('\0')).map(str::to_owned),
        correlation_data.map(format::base64),
        properties.payload_format_indicator().and_then(flag),
        properties.message_expiry_interval().map(|value| value.to_string()),
        properties.subscription_identifiers().next().map(|value| value.to_string()),
        user_properties.then(|| format::user_properties(properties)),
    ];
    VARIABLES
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(_, value)| value.len() <= MAX_VARIABLE_BYTES)
}

/// A command that is told to end if nobody waits for its end any more.
struct RunningCommand {
    id: Option<u32>,
}

impl RunningCommand {
    fn new(child: &Child) -> Self {
        Self { id: child.id() }
    }

    fn ended(&mut self) {
        self.id = None;
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(id) = self.id.and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // It leads a process group of its own, which its own commands are in.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::TERM);
        }
    }
}
