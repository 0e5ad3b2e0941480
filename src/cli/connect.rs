//! What midge_pub, midge_sub and midge_rr share while they run: the client made from its plan, the signals
//! and limits that can end the tool, and the exit codes of a client's errors.

use std::{
    fmt, future, io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use tokio::{
    runtime,
    sync::Notify,
    task,
    time::{self, Instant},
};

use super::{
    Tool,
    exit::{Exit, Failure},
    log::PacketLog,
    opts::LogOptions,
    plan::{ClientPlan, MAX_PACKET_BYTES},
    printer::Printer,
    secret_input::PromptError,
    signals::Signals,
    stdio::{self, StdoutError},
};
#[cfg(feature = "socks5")]
use crate::net::ProxyProblem;
use crate::{
    client::{
        Client, ClientBuilder, CloseReason, ConnectError, Direction, DisconnectCause,
        DisconnectInfo, PublishError, Reconnect, State, Will,
    },
    codec::{Properties, ReasonCode, Version},
    net,
};

/// Between two attempts to connect again passes a random time of up to one second, which doubles
/// with every failure up to the second value.
const RECONNECT: Reconnect =
    Reconnect::Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };

/// The remedy where a server hangs up on CONNECT.
const CHECK_PORT: &str = "check that the port is for this transport, with TLS or without";

/// How long standard output may take for the rest when the tool has been told to stop.
const STOP_TIME: Duration = Duration::from_secs(1);

/// Runs `work` on one thread. With `--quiet`, its error loses its text.
///
/// # Errors
/// Those of `work`.
pub fn run(
    log: LogOptions,
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(work);
    // A host name may still be looked up: that cannot be stopped, and is not waited for.
    runtime.shutdown_background();
    outcome.map_err(|failure| failure.quiet_if(log.quiet))
}

/// Reads what is to be sent before there is a connection. The time limit of `plan` covers it and is
/// shortened by the time it takes.
///
/// # Errors
/// Those of `read`, and that the time is up.
pub async fn read_first<T: Send + 'static>(
    plan: &mut ClientPlan,
    read: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let Some(limit) = plan.time_limit else { return Ok(read()?) };
    let begin = Instant::now();
    // The thread is left to itself when the time is up: reading cannot be stopped.
    let read = time::timeout(limit, task::spawn_blocking(read)).await;
    let read = read.map_err(|_| timed_out(None))?.context("reading has failed")?;
    plan.time_limit = Some(limit.saturating_sub(begin.elapsed()));
    Ok(read?)
}

/// A running tool: what can end it beside its work.
#[derive(Debug)]
pub struct Session {
    tool: Tool,
    log: LogOptions,
    version: Version,
    time_limit: Option<Duration>,
    deadline: Option<Instant>,
    farewell: Properties,
    signals: Signals,
    printer: Option<Printer>,
    fatal: Arc<Fatal>,
    wind_down: Option<WindDown>,
}

/// Tells the work of a tool to come to an end.
struct WindDown(Box<dyn Fn() + Send>);

impl fmt::Debug for WindDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindDown")
    }
}

/// The first failure that connecting again would not mend: a peer that breaks the protocol, or one
/// that refuses this client. The client itself would go on trying.
#[derive(Debug, Default)]
struct Fatal {
    failure: Mutex<Option<Failure>>,
    found: Notify,
    /// Why the last attempt to connect failed.
    last_attempt: Mutex<Option<String>>,
}

/// What follows the loss of a connection that the broker had accepted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterLoss {
    ConnectAgain,
    End,
}

impl Session {
    /// Takes the signals over. With a printer, its output is written in full before the tool ends.
    ///
    /// # Errors
    /// When the signals cannot be taken over.
    pub fn new(
        tool: Tool,
        log: LogOptions,
        plan: &ClientPlan,
        printer: Option<Printer>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            tool,
            log,
            version: plan.version,
            time_limit: plan.time_limit,
            deadline: None,
            farewell: plan.properties.disconnect.clone(),
            signals: Signals::new().context("cannot take over the signals")?,
            printer,
            fatal: Arc::default(),
            wind_down: None,
        })
    }

    /// Has the work come to an end by itself when a signal asks for it, where it is dropped at once
    /// otherwise: `wind_down` tells the work, which is then waited for until a second signal.
    #[must_use]
    pub fn on_signal(self, wind_down: impl Fn() + Send + 'static) -> Self {
        Self { wind_down: Some(WindDown(Box::new(wind_down))), ..self }
    }

    /// Standard output, if the tool prints anything.
    pub fn printer(&self) -> Option<&Printer> {
        self.printer.as_ref()
    }

    /// The client of `plan`, with what every tool wants of it. It connects again when a connection
    /// is lost. Asks for the secrets that are to be typed.
    ///
    /// # Errors
    /// A will that cannot be sent, and files that cannot be used.
    pub fn builder(&self, plan: &ClientPlan) -> Result<ClientBuilder, Failure> {
        let builder = self.client(plan, AfterLoss::ConnectAgain);
        Ok(builder.map_err(|failure| self.unless_stopped(failure))?.reconnect(RECONNECT))
    }

    /// Like [`Session::builder`], for a tool that ends when an accepted connection is lost.
    ///
    /// # Errors
    /// As there.
    pub fn builder_once(&self, plan: &ClientPlan) -> Result<ClientBuilder, Failure> {
        let reconnect = if plan.retry { RECONNECT } else { Reconnect::Never };
        let builder = self.client(plan, AfterLoss::End);
        Ok(builder.map_err(|failure| self.unless_stopped(failure))?.reconnect(reconnect))
    }

    /// A signal at a prompt ends the tool as it does later, while there is no connection.
    fn unless_stopped(&self, failure: Failure) -> Failure {
        match failure.cause() {
            Some(&PromptError::Interrupted { signal, .. }) => {
                stopped_by(Exit::Signal(signal), self.tool, false).err().unwrap_or(failure)
            }
            _ => failure,
        }
    }

    fn client(&self, plan: &ClientPlan, after_loss: AfterLoss) -> Result<ClientBuilder, Failure> {
        let (tool, quiet, version) = (self.tool, self.log.quiet, self.version);
        let (lost, unmade) = (Arc::clone(&self.fatal), Arc::clone(&self.fatal));
        // Without --retry the first attempt is the only one, and its failure that of the tool.
        let tries_again = Arc::new(AtomicBool::new(plan.retry));
        let connected = Arc::clone(&tries_again);
        let ends = after_loss == AfterLoss::End;
        let mut options = plan.transport.connect_options()?;
        options.connect_timeout = plan.keep_alive;
        let mut builder = ClientBuilder::new(plan.transport.endpoint.clone())
            .version(plan.version)
            .client_id(&plan.client_id)
            .clean_start(plan.clean_start)
            .keep_alive(plan.keep_alive)
            .connect_options(options)
            .maximum_packet_size(plan.settings.maximum_packet_size.unwrap_or(MAX_PACKET_BYTES))
            .topic_alias_maximum(plan.settings.topic_alias_maximum.unwrap_or(0))
            .connect_properties(plan.properties.connect.clone())
            .retry_first_connect(plan.retry)
            .on_disconnect(move |info, _| {
                connected.store(true, Ordering::Relaxed);
                match &info.cause {
                    DisconnectCause::User => {}
                    cause if ends || matches!(cause, DisconnectCause::Protocol(_)) => {
                        lost.record(disconnect_failure(cause.clone()));
                    }
                    _ if !quiet => warn_of_loss(tool, info),
                    _ => {}
                }
            })
            .on_connect_failure(move |error, _| {
                let failure = connect_failure(error.clone(), version);
                *lock(&unmade.last_attempt) = failure.text();
                if matches!(error, ConnectError::Protocol(_)) || !error.is_retryable() {
                    unmade.record(failure);
                } else if tries_again.load(Ordering::Relaxed) && !quiet {
                    warn_of_retry(tool, &failure);
                }
            });
        if let Some(username) = &plan.username {
            builder = builder.username(username);
        }
        if let Some(password) = &plan.password {
            builder = builder.password(password.read()?.as_bytes());
        }
        if let Some(authentication) = &plan.properties.authentication {
            builder = builder.authenticator(authentication.clone());
        }
        if let Some(seconds) = plan.session_expiry {
            builder = builder.session_expiry(seconds);
        }
        if let Some(will) = &plan.will {
            let message = Will::new(&*will.topic, will.payload.clone())?;
            let message = message.qos(will.qos).retain(will.retain);
            builder = builder.will(message.properties(will.properties.clone()));
        }
        if let Some(count) = plan.settings.receive_maximum {
            builder = builder.receive_maximum(count);
        }
        if let Some(count) = plan.max_inflight {
            builder = builder.max_inflight(count);
        }
        if let Some(printer) = &self.printer {
            if self.log.debug {
                let log = PacketLog::new(plan.version, &plan.client_id);
                let mut log = log.with_grants(tool == Tool::Sub && !quiet);
                let printer = printer.clone();
                builder = builder.on_packet(move |direction, view| {
                    // Who produces the packets looks at the printer before producing more.
                    let _ = printer.append(|out| log.line(direction, view.packet(), out));
                    // What is received is written when no more is waiting; no such moment follows
                    // what is sent without an answer.
                    if direction == Direction::Sent {
                        printer.flush();
                    }
                });
            }
            let printer = printer.clone();
            builder = builder.on_idle(move |_| printer.flush());
        }
        Ok(builder)
    }

    /// The time limit begins. Runs `work` until it ends, or a signal, the time limit, standard output or the end of the
    /// client ends it; then disconnects and writes what is left to be printed.
    ///
    /// # Errors
    /// Those of `work`, and of what ended it instead.
    pub async fn attend(
        mut self,
        client: &Client,
        work: impl Future<Output = Result<Exit, Failure>>,
    ) -> Result<Exit, Failure> {
        self.deadline = self.time_limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut stopped = false;
        let mut work = pin!(work);
        let outcome = tokio::select! {
            biased;
            outcome = &mut work => outcome,
            signal = self.signals.next() => {
                stopped = true;
                let wound_down = self.wind_down(work).await;
                wound_down.and_then(|()| {
                    stopped_by(signal, self.tool, client.stats().connects > 0)
                })
            }
            () = sleep_until(self.deadline) => {
                stopped = true;
                let attempt = lock(&self.fatal.last_attempt).take();
                Err(timed_out(attempt.filter(|_| client.stats().connects == 0)))
            }
            error = stdout_failed(self.printer.as_ref()) => Err(error.into()),
            failure = self.fatal.found() => Err(failure),
            reason = client.closed() => Err(close_failure(reason, self.version)),
        };
        self.disconnect(client, stopped).await;
        let printed = self.print_rest(stopped).await;
        outcome.and_then(|exit| printed.map(|()| exit))
    }

    /// Waits for the end of work that comes to one by itself.
    async fn wind_down(
        &mut self,
        work: Pin<&mut impl Future<Output = Result<Exit, Failure>>>,
    ) -> Result<(), Failure> {
        let Some(WindDown(tell)) = &self.wind_down else { return Ok(()) };
        tell();
        tokio::select! {
            biased;
            outcome = work => outcome.map(|_| ()),
            _ = self.signals.next() => Ok(()),
            () = sleep_until(self.deadline) => Err(timed_out(None)),
        }
    }

    /// Sends DISCONNECT if there is a connection. On 5.0, and only there, the broker publishes the
    /// will of a tool that was stopped, as mosquitto_sub has it.
    async fn disconnect(&mut self, client: &Client, stopped: bool) {
        if !matches!(&*client.state().borrow(), State::Connected(_)) {
            return;
        }
        let reason = match self.version {
            Version::V5 if stopped => ReasonCode::DISCONNECT_WITH_WILL,
            _ => ReasonCode::SUCCESS,
        };
        let farewell = std::mem::take(&mut self.farewell);
        tokio::select! {
            // That a broker which is gone does not hear of it is no error.
            _ = client.disconnect_with(reason, farewell) => {}
            _ = self.signals.next() => {}
            () = sleep_until(self.deadline), if !stopped => {}
            () = time::sleep(STOP_TIME), if stopped => {}
        }
    }

    /// Has everything printed; who stops a tool does not wait long for a reader that does not read.
    async fn print_rest(&mut self, stopped: bool) -> Result<(), Failure> {
        let Some(printer) = &self.printer else { return Ok(()) };
        tokio::select! {
            printed = printer.finish() => Ok(printed?),
            _ = self.signals.next() => Ok(()),
            () = sleep_until(self.deadline), if !stopped => Err(timed_out(None)),
            () = time::sleep(STOP_TIME), if stopped => Ok(()),
        }
    }
}

impl Fatal {
    fn record(&self, failure: Failure) {
        lock(&self.failure).get_or_insert(failure);
        self.found.notify_one();
    }

    async fn found(&self) -> Failure {
        loop {
            self.found.notified().await;
            if let Some(failure) = lock(&self.failure).take() {
                return failure;
            }
        }
    }
}

/// mosquitto_sub takes a signal for a normal end, mosquitto_pub does not.
fn stopped_by(signal: Exit, tool: Tool, has_connected: bool) -> Result<Exit, Failure> {
    match tool {
        Tool::Sub if has_connected => Ok(Exit::Success),
        Tool::Sub => Err(Failure::silent(Exit::SignalBeforeConnect)),
        _ => Err(Failure::silent(signal)),
    }
}

fn timed_out(last_attempt: Option<String>) -> Failure {
    let error = match last_attempt {
        Some(why) => anyhow!("timed out; the last attempt to connect failed: {why}"),
        None => anyhow!("timed out"),
    };
    Failure::new(Exit::TimedOut, error)
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn warn_of_loss(tool: Tool, info: &DisconnectInfo) {
    if info.will_reconnect_in.is_some() {
        warn_of_retry(tool, &Failure::new(Exit::ConnectionLost, info.cause.clone()));
    }
}

fn warn_of_retry(tool: Tool, cause: &Failure) {
    let text = cause.text().unwrap_or_default();
    stdio::report(tool.name(), &format!("{text}; connecting again"));
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => future::pending().await,
    }
}

async fn stdout_failed(printer: Option<&Printer>) -> StdoutError {
    match printer {
        Some(printer) => printer.failed().await,
        None => future::pending().await,
    }
}

/// The failure of a client that has ended by itself.
pub fn close_failure(reason: CloseReason, version: Version) -> Failure {
    match reason {
        CloseReason::ConnectFailed(error) => connect_failure(error, version),
        CloseReason::Disconnected(cause) => disconnect_failure(cause),
        other => Failure::new(Exit::ConnectionLost, other),
    }
}

/// The failure of an attempt to connect.
pub fn connect_failure(error: ConnectError, version: Version) -> Failure {
    let exit = match &error {
        ConnectError::Network(error) => network_exit(error),
        ConnectError::Refused { reason, .. } => match (version, reason.to_v3_connack()) {
            (Version::V31 | Version::V311, Some(code)) => Exit::RefusedV3(code),
            _ => Exit::Refused(reason.code()),
        },
        ConnectError::Protocol(_) => Exit::ProtocolError,
        ConnectError::NoAnswer { .. } => Exit::KeepAlive,
        ConnectError::Authentication(_) => Exit::Failure,
        _ => Exit::ConnectionLost,
    };
    match &error {
        ConnectError::Refused { reason: ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, .. } => {
            Failure::new(exit, anyhow!("{error}; choose another version with -V"))
        }
        // What a server does that hears another protocol than its own.
        ConnectError::Closed { .. } => Failure::new(exit, anyhow!("{error}; {CHECK_PORT}")),
        ConnectError::Io(cause) if cause.kind() == io::ErrorKind::ConnectionReset => {
            Failure::new(exit, anyhow!("{error}; {CHECK_PORT}: {cause}"))
        }
        _ => Failure::new(exit, error),
    }
}

fn network_exit(error: &net::ConnectError) -> Exit {
    match error {
        #[cfg(feature = "tls")]
        net::ConnectError::Tls { .. } => Exit::TlsFailure,
        #[cfg(feature = "socks5")]
        net::ConnectError::Proxy { problem, .. } if *problem != ProxyProblem::Unreachable => {
            Exit::ProxyFailure
        }
        _ => Exit::Failure,
    }
}

fn disconnect_failure(cause: DisconnectCause) -> Failure {
    let exit = match cause {
        DisconnectCause::Protocol(_) => Exit::ProtocolError,
        DisconnectCause::PingTimeout | DisconnectCause::PacketTimeout => Exit::KeepAlive,
        _ => Exit::ConnectionLost,
    };
    Failure::new(exit, cause)
}

/// The failure of a message.
pub fn publish_failure(error: PublishError) -> Failure {
    let exit = match &error {
        PublishError::Rejected { reason, .. } => Exit::Refused(reason.code()),
        PublishError::Lost { .. } | PublishError::Closed { .. } => Exit::ConnectionLost,
        _ => Exit::Failure,
    };
    Failure::new(exit, error)
}
