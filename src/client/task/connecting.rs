//! One attempt to connect, what came of it, and what follows.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::driver::{Link, LinkEnd};
use crate::net::{self, ConnectOptions, Endpoint};
use crate::session::End;

use super::super::attempt::Attempt;
use super::super::authenticate::{AuthData, AuthError};
use super::super::callbacks::BeforeConnectBy;
use super::super::dispatch::ReauthenticationWaiter;
use super::super::error::{AuthenticateError, ConnectError, DisconnectError};
use super::super::hooks::{Failure, LogLevel};
use super::super::info::{CloseReason, DisconnectCause, DisconnectInfo, DisconnectedBy};
use super::{Farewell, Task, chain, now};

/// How an attempt to connect, or the connection that came of it, has ended.
pub(super) enum Outcome {
    Stopped,
    ConnectFailed(ConnectError),
    Disconnected { cause: DisconnectCause, accepted_at: Instant },
}

/// How a served link has ended.
pub(super) enum Served {
    Link(LinkEnd),
    /// There was no CONNACK in time.
    NoAnswer,
    /// It was dropped without a word to the broker.
    Aborted,
}

impl Task {
    /// Makes a connection to speak MQTT on.
    pub(super) async fn dial(&mut self) -> Result<Link, Box<Outcome>> {
        let (endpoint, options) = if self.dispatch.hooks.change_attempts() {
            self.prepare().await?
        } else {
            (self.dialing.endpoint().clone(), Arc::clone(self.dialing.options()))
        };
        self.dispatch.hooks.log(LogLevel::Debug, || format!("connecting to {endpoint}"));
        let deadline = now().checked_add(options.connect_timeout);
        let mut dial = pin!(net::connect(&endpoint, &options));
        let dialed = poll_fn(|cx| {
            if let Poll::Ready(dialed) = dial.as_mut().poll(cx) {
                return Poll::Ready(Some(dialed));
            }
            self.poll_offline(cx, None).map(|_| None)
        });
        match dialed.await {
            None => Err(Box::new(Outcome::Stopped)),
            Some(Err(error)) => {
                Err(Box::new(Outcome::ConnectFailed(ConnectError::Network(Arc::new(error)))))
            }
            Some(Ok(connected)) => {
                self.begin_authentication()?;
                Ok(self.attach(connected, deadline))
            }
        }
    }

    /// Has the hooks change the attempt.
    async fn prepare(&mut self) -> Result<(Endpoint, Arc<ConnectOptions>), Box<Outcome>> {
        let options = ConnectOptions::clone(self.dialing.options());
        let after = options.connect_timeout;
        let until = now().checked_add(after);
        let unchanged = self.dialing.client_id().unwrap_or(self.session.client_id());
        let unchanged: Box<str> = unchanged.into();
        let endpoint = self.dialing.endpoint().clone();
        let mut attempt = Attempt::new(
            self.dispatch.attempts,
            endpoint,
            &unchanged,
            self.dialing.config(),
            options,
        );
        self.dispatch.hooks.on_pre_connect(&mut attempt);
        for by in [BeforeConnectBy::Closure, BeforeConnectBy::Object] {
            let begun = self.dispatch.hooks.before_connect(by, attempt);
            let Some(mut changing) = begun else { return Err(Box::new(Outcome::Stopped)) };
            attempt = poll_fn(|cx| {
                let failed = |error| Poll::Ready(Err(Box::new(Outcome::ConnectFailed(error))));
                match self.dispatch.hooks.poll_before_connect(&mut changing, cx) {
                    Some(Poll::Ready(Ok(attempt))) => return Poll::Ready(Ok(attempt)),
                    Some(Poll::Ready(Err(error))) => {
                        return failed(ConnectError::Hook(error.into()));
                    }
                    Some(Poll::Pending) => {}
                    None => return Poll::Ready(Err(Box::new(Outcome::Stopped))),
                }
                match self.poll_offline(cx, until) {
                    Poll::Ready(Ok(())) => failed(ConnectError::HookTimeout { after }),
                    Poll::Ready(Err(_)) => Poll::Ready(Err(Box::new(Outcome::Stopped))),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await?;
        }
        if let Some(store) = &self.dispatch.shared.store {
            let checked = store.check_client_id(&attempt.client_id);
            checked.map_err(|error| Box::new(Outcome::ConnectFailed(error.into())))?;
        }
        if *attempt.client_id != *unchanged {
            self.dialing.set_client_id(unchanged);
        }
        let applied = attempt.apply(self.dialing.config(), &mut self.session);
        let (endpoint, options) =
            applied.map_err(|error| Box::new(Outcome::ConnectFailed(error)))?;
        Ok((endpoint, Arc::new(options)))
    }

    /// Has the authenticator say what CONNECT is to carry.
    fn begin_authentication(&mut self) -> Result<(), Box<Outcome>> {
        let begun = self.dispatch.hooks.authenticator(|authenticator| {
            authenticator.start().map(|data| (authenticator.method().to_owned(), data))
        });
        let set = match begun {
            None => return Ok(()),
            Some(Ok((method, AuthData { data, properties }))) => self
                .session
                .set_authentication(&method, data.as_deref(), properties)
                .map_err(AuthError::from),
            Some(Err(error)) => Err(error),
        };
        set.map_err(|error| {
            Box::new(Outcome::ConnectFailed(ConnectError::Authentication(error.into())))
        })
    }

    pub(super) fn reauthenticate(&mut self, now: Instant, done: ReauthenticationWaiter) {
        // An exchange that is under way must not be disturbed.
        let may = self.session.check_reauthenticate();
        let begun = self.dispatch.hooks.authenticator(|authenticator| match may {
            Ok(()) => {
                authenticator.start().map_err(|error| AuthenticateError::Failed(error.into()))
            }
            Err(reason) => Err(AuthenticateError::Refused(reason)),
        });
        let asked = match begun {
            Some(Ok(AuthData { data, properties })) => {
                let asked = self.session.reauthenticate(now, data.as_deref(), properties);
                asked.map_err(|refused| AuthenticateError::Refused(refused.reason))
            }
            Some(Err(error)) => Err(error),
            None => Err(AuthenticateError::NoAuthenticator),
        };
        match asked {
            Ok(()) => self.dispatch.connection.incidents().reauthentication = Some(done),
            Err(error) => drop(done.send(Err(error))),
        }
    }

    /// Decides what follows: the delay of the next attempt, or the end of the client.
    pub(super) fn consider(&mut self, outcome: Outcome) -> ControlFlow<CloseReason, Duration> {
        let decision = match outcome {
            Outcome::Stopped => return ControlFlow::Break(self.stopped()),
            Outcome::ConnectFailed(error) => {
                self.dispatch.shared.counters().connect_failures.add(1);
                let planned = self.dialing.handle_failure(&error);
                let delay = self.dispatch.hooks.on_retry(Failure::Connect(&error), planned);
                tracing::warn!(error = %chain(&error), ?delay, "could not connect");
                self.log_loss("could not connect", &error, delay);
                self.dispatch.hooks.on_connect_failure(&error);
                delay.ok_or(CloseReason::ConnectFailed(error))
            }
            Outcome::Disconnected { cause, accepted_at } => {
                self.dispatch.attempts = 0;
                let ours = cause.by() == DisconnectedBy::User && cause.is_final();
                let planned = self.dialing.handle_loss(&cause, accepted_at, now());
                let leaving = self.is_leaving();
                let planned = planned.filter(|_| !leaving);
                let delay = if ours || leaving {
                    planned
                } else {
                    self.dispatch.hooks.on_retry(Failure::Disconnect(&cause), planned)
                };
                match &cause {
                    DisconnectCause::User => {
                        tracing::info!("disconnected");
                        self.dispatch.hooks.log(LogLevel::Info, || "disconnected".into());
                    }
                    cause => {
                        tracing::warn!(cause = %chain(cause), ?delay, "connection lost");
                        self.log_loss("connection lost", cause, delay);
                    }
                }
                let info = DisconnectInfo { cause, will_reconnect_in: delay };
                self.dispatch.hooks.on_disconnect(&info);
                delay.ok_or(match info.cause {
                    DisconnectCause::User => CloseReason::User,
                    cause => CloseReason::Disconnected(cause),
                })
            }
        };
        match decision {
            _ if self.dispatch.hooks.panicked().is_some() || self.store_failure().is_some() => {
                ControlFlow::Break(self.stopped())
            }
            Ok(delay) => ControlFlow::Continue(delay),
            Err(reason) => ControlFlow::Break(reason),
        }
    }

    /// Whether another connection would be of no use.
    fn is_leaving(&self) -> bool {
        match self.farewell.as_deref() {
            None => false,
            // What was admitted may still be confirmed on another one.
            Some(Farewell::HandlesGone { by }) => now() >= *by || self.dispatch.is_idle(),
            Some(Farewell::Asked(_) | Farewell::Aborted) => true,
        }
    }

    fn log_loss(&mut self, what: &str, error: &dyn std::error::Error, delay: Option<Duration>) {
        self.dispatch.hooks.log(LogLevel::Warn, || {
            let next = match delay {
                Some(delay) => format!("trying again in {delay:?}"),
                None => "not trying again".into(),
            };
            format!("{what}: {}; {next}", chain(error))
        });
    }

    /// Puts together what the session and the link say of the end of a connection.
    pub(super) fn outcome(&mut self, served: Served) -> Outcome {
        let connection = std::mem::take(&mut self.dispatch.connection);
        let accepted_at = connection.accepted_at();
        let incidents = connection.into_incidents();
        let end = incidents.end.map(|end| *end);
        if let Some(done) = incidents.reauthentication {
            let _ = done.send(Err(match (&incidents.authentication_error, &end) {
                (Some(error), _) => AuthenticateError::Failed(Arc::clone(error)),
                (None, Some(End::ServerDisconnect { reason, properties })) => {
                    let (reason, properties) = (*reason, properties.clone());
                    AuthenticateError::Rejected { reason, properties }
                }
                (None, _) => AuthenticateError::Lost,
            }));
        }
        if let Some(error) = incidents.authentication_error {
            return match accepted_at {
                Some(accepted_at) => {
                    let cause = DisconnectCause::Authentication(error);
                    Outcome::Disconnected { cause, accepted_at }
                }
                None => Outcome::ConnectFailed(ConnectError::Authentication(error)),
            };
        }
        if matches!(end, Some(End::Requested)) {
            return self.requested_outcome(served, accepted_at, incidents.overrun);
        }
        if let (Served::Aborted, None) = (&served, accepted_at) {
            return Outcome::Stopped;
        }
        let Some(accepted_at) = accepted_at else {
            return Outcome::ConnectFailed(self.connect_error(end, served));
        };
        let cause = match (end, served) {
            (Some(End::ServerDisconnect { reason, properties }), _) => {
                DisconnectCause::Server { reason, properties }
            }
            (Some(End::Protocol(error)), _) => DisconnectCause::Protocol(error),
            (Some(End::PacketTimeout), _) => DisconnectCause::PacketTimeout,
            // The others come before CONNACK only.
            (Some(_), _) => DisconnectCause::PingTimeout,
            (None, Served::Link(LinkEnd::ClosedByPeer { partial_bytes })) => {
                DisconnectCause::Closed { partial_bytes }
            }
            (None, Served::Link(LinkEnd::Failed(error))) => DisconnectCause::Io(Arc::new(error)),
            (None, Served::Aborted) => match self.store_failure() {
                Some(error) => DisconnectCause::Store(error),
                None => DisconnectCause::User,
            },
            (None, Served::Link(LinkEnd::Closed) | Served::NoAnswer) => {
                DisconnectCause::Closed { partial_bytes: 0 }
            }
        };
        Outcome::Disconnected { cause, accepted_at }
    }

    fn connect_error(&self, end: Option<End>, served: Served) -> ConnectError {
        let no_answer = ConnectError::NoAnswer { after: self.session.config().connack_timeout };
        match (end, served) {
            (Some(End::Refused { reason, properties }), _) => {
                ConnectError::Refused { reason, properties }
            }
            (Some(End::ServerDisconnect { reason, properties }), _) => {
                ConnectError::ServerDisconnect { reason, properties }
            }
            (Some(End::Protocol(error)), _) => ConnectError::Protocol(error),
            (Some(End::Unsendable(error)), _) => ConnectError::Unsendable(error),
            (None, Served::Link(LinkEnd::ClosedByPeer { partial_bytes })) => {
                ConnectError::Closed { partial_bytes }
            }
            (None, Served::Link(LinkEnd::Failed(error))) => ConnectError::Io(Arc::new(error)),
            (Some(_), _)
            | (None, Served::Link(LinkEnd::Closed) | Served::NoAnswer | Served::Aborted) => {
                no_answer
            }
        }
    }

    /// The end that this side wanted, whether or not the broker has heard of it.
    fn requested_outcome(
        &mut self,
        served: Served,
        accepted_at: Option<Instant>,
        overrun: bool,
    ) -> Outcome {
        let sent = match served {
            Served::Link(LinkEnd::Failed(error)) => {
                Err(DisconnectError::Lost(Some(Arc::new(error))))
            }
            Served::Link(LinkEnd::ClosedByPeer { .. }) | Served::NoAnswer | Served::Aborted => {
                Err(DisconnectError::Lost(None))
            }
            Served::Link(LinkEnd::Closed) => Ok(()),
        };
        if let Some(Farewell::Asked(asked)) = self.farewell.as_deref_mut()
            && let Some(done) = asked.done.take()
        {
            let _ = done.send(sent);
        }
        let cause = match self.dispatch.hooks.panicked() {
            Some(hook) => DisconnectCause::HookPanicked(hook),
            None if overrun && self.farewell.is_none() => DisconnectCause::SlowConsumer,
            None => DisconnectCause::User,
        };
        match accepted_at {
            Some(accepted_at) => Outcome::Disconnected { cause, accepted_at },
            None => Outcome::Stopped,
        }
    }
}
