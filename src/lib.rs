//! An async MQTT client library for 3.1, 3.1.1 and 5.0, and the tools built on it.
//!
//! ```no_run
//! use midge::{Client, QoS};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, mut inbox) = Client::builder("mqtt://localhost")?.client_id("lamp").start()?;
//! client.connected().await?;
//!
//! let mut orders = client.subscribe("lamp/set").qos(QoS::AtLeastOnce).await?;
//! client.publish("lamp/state", "off").qos(QoS::AtLeastOnce).retain(true).await?;
//! while let Some(order) = orders.next().await {
//!     client.publish("lamp/state", order.into_payload()).retain(true).enqueue().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The library owns the task that talks to the broker: it runs on the current Tokio runtime from
//! [`ClientBuilder::start`] on, connects again when the connection is lost, and subscribes again
//! when the broker has lost the session. Handles are cheap clones, futures may be dropped at any
//! time without anything being lost, and every queue is bounded ([`client`] has the table).
//!
//! # Where to look
//!
//! | to | use |
//! |---|---|
//! | set up a client | [`Client::builder`], [`ClientBuilder`] |
//! | decide when to try again | [`Reconnect`], [`ClientBuilder::on_retry`], [`Client::reconnect_now`] |
//! | publish, and know that it arrived | [`Client::publish`] awaited |
//! | publish as fast as the connection goes | [`Publish::enqueue`], [`Client::flush`] |
//! | publish where waiting is impossible | [`Publish::try_enqueue`], [`Handle`] |
//! | check or match topics | [`TopicName`], [`TopicFilter`], [`codec::topic_matches`] |
//! | speak MQTT over something else | [`driver`], or [`session`] without any I/O |
//! | receive the messages of one filter | [`Client::subscribe`], [`Subscription`] |
//! | receive everything else | [`Inbox`] |
//! | acknowledge when the work is done | [`Acks`], [`Message::ack`], [`AckHandle`] |
//! | receive as fast as the connection goes | [`ClientBuilder::on_message`] |
//! | ask and answer | [`Client::request`], [`Client::serve`] |
//! | be called for everything, as by libmosquitto | [`client::Hooks`], or its methods as closures |
//! | change each attempt to connect | [`ClientBuilder::before_connect`] |
//! | have another broker take over | [`ClientBuilder::fallback`] |
//! | follow the connection | [`ClientBuilder::on_connect`], [`ClientBuilder::on_disconnect`], [`Client::state`] |
//! | authenticate by more than a password | [`Authenticator`](client::Authenticator) |
//! | keep messages over a restart or a crash | [`client::FileStore`], [`ClientBuilder::store`] |
//! | give up on what is late, or too much | [`Publish::deadline`], [`client::OutgoingQueue`] |
//! | end | [`Client::drain`], [`Client::disconnect`], [`Client::abort`], [`Client::closed`] |
//! | do without an async runtime | [`blocking`] |
//!
//! `examples/` has a program for each of the usual tasks. `docs/libmosquitto.md` tells what stands
//! for each call of libmosquitto, `docs/conformance.md` which test stands for each statement of the
//! standards.
//!
//! # What is promised
//!
//! * A message that was admitted is sent, in the order of admission, or its
//!   [`Delivery`] tells why not. QoS 1 arrives at least once and QoS 2 exactly once for as long as
//!   the broker keeps the session; when it has lost it, [`ClientBuilder::on_session_loss`] decides
//!   between sending again and giving up.
//! * A QoS 1 or 2 message that was received is acknowledged when its consumer has taken it, and
//!   not before; a consumer that is slow holds the broker back and not the keep alive. QoS 0
//!   messages that find no room are counted, and the next one tells ([`Message::lagged`]).
//! * Whatever the broker sends ends in a message, an event or one typed error that says who began
//!   it. Of the limits that a broker announces none is exceeded: what it would not take fails
//!   where it was asked for.
//! * There is one API for 3.1, 3.1.1 and 5.0. Properties are empty in 3.x, and setting one there is
//!   an error of the call that does.
//!
//! # The floors
//!
//! From the ground up: [`codec`] turns bytes into packets and back, [`session`] is the protocol
//! engine without I/O, [`net`] moves bytes, [`driver`] joins one session to one stream, [`client`]
//! is the handle an application holds, `load` opens very many connections, `passwd` edits password
//! files and `cli` holds the command-line tools.
//!
//! # Features
//!
//! All are additive. The client library itself needs none.
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `tls` | yes | `mqtts://` and `wss://`, on rustls with the ring provider |
//! | `websocket` | yes | `ws://` and, with `tls`, `wss://` |
//! | `socks5` | yes | SOCKS5 proxies |
//! | `aws-lc-rs` | no | TLS with the aws-lc-rs provider in place of ring |
//! | `psk` | no | TLS with pre-shared keys, on OpenSSL |
//! | `srv` | no | DNS SRV lookups, by hickory-resolver |
//! | `load` | with `cli` | `midge::load`, the engine of the load tester; Unix only |
//! | `passwd` | with `cli` | `midge::passwd`, password files; Unix only |
//! | `cli` | yes | the command-line tools; Unix only |
//!
//! On a system that is not a Unix, depend on it with
//! `default-features = false, features = ["tls", "websocket", "socks5"]`.
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::unwrap_used
    )
)]

pub mod client;
pub mod codec;
pub mod driver;
#[cfg(all(feature = "load", unix))]
pub mod load;
pub mod net;
#[cfg(all(feature = "passwd", unix))]
pub mod passwd;
pub mod session;

#[cfg(all(feature = "cli", unix))]
#[doc(hidden)]
pub mod cli;

#[cfg(all(any(feature = "load", feature = "passwd"), not(unix)))]
compile_error!(
    "midge: the features `cli`, `load` and `passwd` need a Unix system; elsewhere, depend on it with \
     `default-features = false, features = [\"tls\", \"websocket\", \"socks5\"]`"
);

#[doc(inline)]
pub use crate::client::{
    AckHandle, Acks, Client, ClientBuilder, Delivery, Flow, Handle, Inbox, Message, MessageRef,
    Publish, Reconnect, Slow, Subscription, Will, blocking,
};
#[doc(inline)]
pub use crate::codec::{
    Properties, Property, PropertyValue, QoS, ReasonCode, SubscribeOptions, TopicFilter, TopicName,
    Version,
};
