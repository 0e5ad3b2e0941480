//! The states of a session's connection.

use std::time::{Duration, Instant};

use crate::codec::{Properties, ReasonCode};

use super::keepalive::KeepAlive;

/// Says where a session is between two links.
///
/// ```text
///            handle_connected              CONNACK accepted
/// Offline ───────────────────► Connecting ─────────────────► Online
///    ▲                             │                           │
///    │                             │ refused, breach,          │ breach, silence,
///    │                             │ silence, disconnect       │ DISCONNECT, disconnect
///    │       handle_disconnected   ▼                           │
///    ├───────────────────────── Closing ◄──────────────────────┘
///    └──── handle_disconnected, from any state
/// ```
#[derive(Debug)]
pub(super) enum State {
    /// No link.
    Offline { lifetime: Lifetime },
    /// The link is up and CONNECT is on its way or waits for its CONNACK. Once there is output, it
    /// has begun with the CONNECT.
    Connecting { since: Instant, lifetime: Lifetime },
    /// The broker has accepted the connection.
    Online { keep_alive: KeepAlive },
    /// Nothing is taken in any more; a DISCONNECT may be the last thing to go out.
    Closing { lifetime: Lifetime, requested: bool, last_word: Option<Box<LastWord>> },
}

impl State {
    /// How long the session lasts that there was before this link, or that there is on it.
    pub(super) fn lifetime(&self) -> Lifetime {
        match self {
            State::Offline { lifetime }
            | State::Connecting { lifetime, .. }
            | State::Closing { lifetime, .. } => *lifetime,
            State::Online { .. } => Lifetime::Endless,
        }
    }
}

/// How long the session outlives its connection (§3.1.2.11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// There is none, or it has ended with its connection.
    Ended,
    /// By the clock of this side: the broker began to count when it noticed the loss.
    Until(Instant),
    /// Also while a connection lasts.
    Endless,
}

impl Lifetime {
    /// The lifetime of a session whose connection was lost at `now`.
    pub(super) fn after(now: Instant, expiry_seconds: u32) -> Lifetime {
        match expiry_seconds {
            0 => Lifetime::Ended,
            u32::MAX => Lifetime::Endless,
            seconds => now
                .checked_add(Duration::from_secs(seconds.into()))
                .map_or(Lifetime::Endless, Lifetime::Until),
        }
    }

    /// Whether the broker is sure to have the session still, unless it has lost it.
    pub(super) fn lasts(self, now: Instant) -> bool {
        match self {
            Lifetime::Ended => false,
            Lifetime::Until(end) => now < end,
            Lifetime::Endless => true,
        }
    }
}

/// What a DISCONNECT says.
#[derive(Debug)]
pub(super) struct LastWord {
    pub(super) reason: ReasonCode,
    pub(super) properties: Properties,
}
