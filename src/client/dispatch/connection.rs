//! How a connection begins: its authentication, and who learns that it is up.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::codec::{Properties, ReasonCode, TopicFilter};
use crate::session::{self, End, Session};

use super::super::authenticate::{AuthData, AuthError};
use super::super::error::AuthenticateError;
use super::super::hooks::LogLevel;
use super::super::info::{ConnectInfo, State};
use super::super::task::now;
use super::Dispatch;

/// What is known of one connection.
#[derive(Default)]
pub(in crate::client) struct Connection {
    stage: Stage,
    /// Absent while the connection is up and nothing but messages comes over it.
    incidents: Option<Box<Incidents>>,
}

/// How far a connection is.
#[derive(Default)]
enum Stage {
    #[default]
    None,
    /// The broker has not accepted it.
    Making(Box<Making>),
    /// When the broker accepted it.
    Accepted(Instant),
}

/// What has come up on a connection.
#[derive(Default)]
pub(in crate::client) struct Incidents {
    /// A stream was full whose consumer wants the connection to be closed then.
    pub(in crate::client) overrun: bool,
    /// Why the session ended it.
    pub(in crate::client) end: Option<Box<End>>,
    /// What the authenticator found wrong.
    pub(in crate::client) authentication_error: Option<Arc<dyn Error + Send + Sync>>,
    /// Who waits for a re-authentication.
    pub(in crate::client) reauthentication: Option<ReauthenticationWaiter>,
}

/// What is to be told of a connection once the broker accepts it.
#[derive(Default)]
struct Making {
    peer: Option<SocketAddr>,
    deadline: Option<Instant>,
}

impl Connection {
    /// Begins with a connection that the broker has to accept until the deadline.
    pub(in crate::client) fn new(
        peer: Option<SocketAddr>,
        deadline: Option<Instant>,
    ) -> Connection {
        let making = Box::new(Making { peer, deadline });
        Connection { stage: Stage::Making(making), incidents: None }
    }

    /// When the broker accepted it, if it has.
    pub(in crate::client) fn accepted_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Accepted(at) => Some(at),
            Stage::None | Stage::Making(_) => None,
        }
    }

    /// Takes note that the broker accepts it.
    fn accept(&mut self, now: Instant) -> Making {
        match std::mem::replace(&mut self.stage, Stage::Accepted(now)) {
            Stage::Making(making) => *making,
            Stage::None | Stage::Accepted(_) => Making::default(),
        }
    }

    /// Whether the session has ended it.
    pub(in crate::client) fn has_ended(&self) -> bool {
        self.incidents.as_ref().is_some_and(|incidents| incidents.end.is_some())
    }

    /// Whether a stream was full whose consumer wants the connection to be closed then.
    pub(in crate::client) fn is_overrun(&self) -> bool {
        self.incidents.as_ref().is_some_and(|incidents| incidents.overrun)
    }

    /// What has come up on it.
    pub(in crate::client) fn incidents(&mut self) -> &mut Incidents {
        self.incidents.get_or_insert_default()
    }

    /// Who waits for a re-authentication, which has ended.
    pub(in crate::client) fn take_reauthentication(&mut self) -> Option<ReauthenticationWaiter> {
        let incidents = self.incidents.as_mut()?;
        let waiter = incidents.reauthentication.take();
        if waiter.is_some() && !incidents.overrun && incidents.end.is_none() {
            self.incidents = None;
        }
        waiter
    }

    /// What has come up on it, for the last time.
    pub(in crate::client) fn into_incidents(self) -> Incidents {
        self.incidents.map_or_else(Incidents::default, |incidents| *incidents)
    }

    /// Until when the broker has to accept it, if it has not.
    pub(in crate::client) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Making(making) => making.deadline,
            Stage::None | Stage::Accepted(_) => None,
        }
    }
}

pub(in crate::client) type ReauthenticationWaiter = oneshot::Sender<Result<(), AuthenticateError>>;

impl Dispatch {
    pub(super) fn connected(&mut self, session: &Session, connected: session::Connected) {
        let making = self.connection.accept(now());
        self.shared.mailbox.set_online(true);
        if let Some(store) = &self.shared.store {
            // The broker may have chosen it, or a hook.
            store.set_client_id(session.client_id());
        }
        let info = Arc::new(ConnectInfo {
            client_id: session.client_id().into(),
            session_present: connected.session_present,
            session_lost: connected.session_lost,
            reason: connected.reason,
            properties: connected.properties,
            limits: session.limits(),
            attempts: self.attempts,
            peer: making.peer,
        });
        tracing::info!(
            peer = info.peer.map(tracing::field::display),
            session_present = info.session_present,
            attempts = info.attempts,
            "connected"
        );
        self.hooks.log(LogLevel::Info, || {
            let kept = if info.session_present { ", the session was kept" } else { "" };
            format!("connected as {:?}{kept}", info.client_id)
        });
        self.shared.connects.add(1);
        self.hooks.on_connect(&info);
        self.shared.state.set(State::Connected(info));
    }

    /// Answers a challenge of the broker.
    pub(super) fn authenticate(&mut self, session: &mut Session, challenge: &Properties) {
        let step = self.hooks.authenticator(|authenticator| authenticator.step(challenge.as_ref()));
        let answered = match step {
            Some(Ok(AuthData { data, properties })) => session
                .authenticate(now(), data.as_deref(), properties)
                .map_err(|refused| refused.reason.into()),
            Some(Err(error)) => Err(error),
            None if self.hooks.panicked().is_some() => return,
            None => Err("there is no authenticator to answer the broker".into()),
        };
        if let Err(error) = answered {
            self.fail_authentication(session, error);
        }
    }

    /// Has the authenticator see what the broker accepted with; false if that is not right.
    pub(super) fn finish_authentication(
        &mut self,
        session: &mut Session,
        accepted: &Properties,
    ) -> bool {
        match self.hooks.authenticator(|authenticator| authenticator.finish(accepted.as_ref())) {
            Some(Err(error)) => {
                self.fail_authentication(session, error);
                false
            }
            Some(Ok(())) => true,
            None => self.hooks.panicked().is_none(),
        }
    }

    fn fail_authentication(&mut self, session: &mut Session, error: AuthError) {
        self.connection.incidents().authentication_error = Some(error.into());
        // It may be closing already, for what the broker sent after that.
        let _ = session.disconnect(now(), ReasonCode::UNSPECIFIED_ERROR, Properties::default());
    }

    pub(super) fn resubscribed(&mut self, reasons: Vec<(TopicFilter, ReasonCode)>) {
        let refused: Vec<_> = reasons
            .into_iter()
            .filter(|(_, reason)| reason.is_error())
            .map(|(filter, reason)| {
                tracing::warn!(%filter, %reason, "the broker refused to subscribe again");
                self.hooks.log(LogLevel::Warn, || {
                    format!("the broker refused to subscribe to {filter:?} again: {reason}")
                });
                filter
            })
            .collect();
        if !refused.is_empty() {
            self.end_routes(&refused);
        }
    }
}
