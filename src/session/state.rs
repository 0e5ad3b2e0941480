//! The states of a session's connection.

use std::time::Instant;

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
    Offline,
    /// The link is up and CONNECT is on its way or waits for its CONNACK.
    Connecting { since: Instant, connect_sent: bool, clean_start: bool },
    /// The broker has accepted the connection.
    Online { keep_alive: KeepAlive, ping_wanted: bool },
    /// Nothing is taken in any more; a DISCONNECT may be the last thing to go out.
    Closing { last_word: Option<Box<LastWord>> },
}

/// What a DISCONNECT says.
#[derive(Debug)]
pub(super) struct LastWord {
    pub(super) reason: ReasonCode,
    pub(super) properties: Properties,
}
