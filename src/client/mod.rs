//! The client: cheap handles on a task that connects, keeps the connection and makes it again.
//!
//! [`Client::builder`] sets one up and [`ClientBuilder::start`] starts it; from then on the library
//! owns a task that does all the work, and nothing has to be polled. A [`Client`] publishes and
//! subscribes; messages arrive in a hook ([`ClientBuilder::on_message`]), in the streams of
//! [`Subscription`]s, or in the [`Inbox`].
//!
//! Not here: the protocol ([`session`](crate::session)), sockets ([`net`](crate::net)), bytes to
//! and from them ([`driver`](crate::driver)).
//!
//! # What is bounded, and what happens at the bound
//!
//! | what | bound | at the bound |
//! |---|---|---|
//! | admitted, unconfirmed messages | [`OutgoingQueue`], count and bytes | `enqueue` waits, `try_enqueue` gives the message back ([`Overflow`] has other ways) |
//! | QoS 1 and 2 messages to the broker | [`max_inflight`](ClientBuilder::max_inflight), the broker's Receive Maximum | the others wait in the queue |
//! | QoS 0 messages in a stream | [`inbox_capacity`](ClientBuilder::inbox_capacity), [`inbox_bytes`](ClientBuilder::inbox_bytes) | the oldest goes; [`Message::lagged`] tells ([`Slow`] has other ways) |
//! | QoS 1 and 2 messages in a stream | [`receive_maximum`](ClientBuilder::receive_maximum), and the same | unacknowledged ([`Acks`]), so the broker waits; beyond the bound the socket is not read |
//! | size of a packet | [`maximum_packet_size`](ClientBuilder::maximum_packet_size) | the connection is closed with PACKET_TOO_LARGE |

mod acks;
mod alike;
mod attempt;
mod authenticate;
pub mod blocking;
mod callbacks;
mod dialing;
mod dispatch;
mod error;
mod handle;
mod hooks;
mod info;
mod mailbox;
mod message;
mod options;
mod publish;
mod request;
mod router;
mod serve;
mod shared;
mod state;
mod store_file;
mod stream;
mod subscribe;
mod task;
mod timers;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::codec::{Properties, ReasonCode, SubscribeOptions, TopicFilter};
use crate::net::EndpointError;

pub use self::acks::{AckHandle, Acks};
pub use self::attempt::Attempt;
pub use self::authenticate::{AuthData, AuthError, Authenticator};
pub use self::error::{
    AuthenticateError, BuildError, ConnectError, DisconnectError, EnqueueError, InvalidTopic,
    PublishError, RequestError, ResponseError, SubscribeError, UnsubscribeError,
};
pub use self::handle::Handle;
pub use self::hooks::{BeforeConnect, Failure, Flow, Hooks, LogLevel, PacketView};
pub use self::info::{
    CloseReason, ConnectInfo, DisconnectCause, DisconnectInfo, DisconnectedBy, DrainReport, State,
    Stats,
};
pub use self::message::{Message, MessageRef};
pub use self::options::{ClientBuilder, Offline, OutgoingQueue, Overflow, Reconnect};
pub use self::publish::{Delivery, Enqueue, IntoTopic, Post, Publish, PublishFuture, TooLate};
pub use self::request::Request;
pub use self::serve::{Response, Serve};
pub use self::store_file::{Durability, FileStore, StoreError};
pub use self::stream::{Inbox, Slow};
pub use self::subscribe::{Subscribe, Subscription};
pub use crate::driver::Direction;
pub use crate::session::Message as OutgoingMessage;
pub use crate::session::{Receipt, SessionLoss, SubscribeReceipt, Ticket, Will};

use self::mailbox::Command;
use self::shared::Shared;
use self::task::now;

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A handle on a running client. Clones are handles on the same client.
///
/// When the last one is dropped, what was admitted has one second to be confirmed; then the client
/// sends a DISCONNECT and ends.
///
/// ```no_run
/// use midge::{Client, QoS};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (client, _inbox) = Client::builder("mqtt://localhost")?.start()?;
/// let mut lamps = client.subscribe("lamps/+/state").qos(QoS::AtLeastOnce).await?;
/// client.publish("lamps/kitchen/set", "on").qos(QoS::AtLeastOnce).await?;
/// while let Some(message) = lamps.next().await {
///     println!("{}: {:?}", message.topic(), message.payload());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Client {
    shared: Arc<Shared>,
}

impl Clone for Client {
    fn clone(&self) -> Client {
        Client::new(Arc::clone(&self.shared))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.shared.clients.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.mailbox.send(Command::HandlesGone);
        }
    }
}

impl Client {
    fn new(shared: Arc<Shared>) -> Client {
        shared.clients.fetch_add(1, Ordering::Relaxed);
        Client { shared }
    }

    /// Sets up a client for a URL such as `mqtt://localhost` or `mqtt://user:password@[::1]:1884`.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] says what is wrong with the URL.
    pub fn builder(url: &str) -> Result<ClientBuilder, EndpointError> {
        ClientBuilder::from_url(url)
    }

    /// Waits until the broker has accepted the connection; returns at once while it is up.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] once the client has ended and will make no further attempt. The failures
    /// before that go to [`on_connect_failure`](ClientBuilder::on_connect_failure).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn connected(&self) -> Result<ConnectInfo, ConnectError> {
        self.shared.connected().await.map(|info| (*info).clone())
    }

    /// Prepares a message: see [`Publish`] for the ways to finish.
    ///
    /// ```no_run
    /// # use midge::{Client, QoS};
    /// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.publish("status", "up").qos(QoS::AtLeastOnce).retain(true).await?;
    ///
    /// let mut deliveries = Vec::new();
    /// for n in 0..10_000 {
    ///     deliveries.push(client.publish("count", n.to_string()).enqueue().await?);
    /// }
    /// for delivery in deliveries {
    ///     delivery.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish(&self, topic: impl IntoTopic, payload: impl Into<Bytes>) -> Publish<'_> {
        Publish::new(&self.shared, topic, payload)
    }

    /// Prepares a subscription with a stream of its own: see [`Subscribe`].
    pub fn subscribe(&self, filter: impl AsRef<str>) -> Subscribe<'_> {
        Subscribe::new(&self.shared, filter.as_ref())
    }

    /// Prepares a request, to which a response comes back: see [`Request`].
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use midge::Client;
    /// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let time = client.request("clock/now", "utc").timeout(Duration::from_secs(2)).await?;
    /// println!("{:?}", time.payload());
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, topic: impl IntoTopic, payload: impl Into<Bytes>) -> Request<'_> {
        Request::new(&self.shared, topic, payload)
    }

    /// Prepares to answer the requests of a filter with `handler`: see [`Serve`].
    ///
    /// ```no_run
    /// # use midge::{Client, QoS};
    /// # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client
    ///     .serve("clock/now", |request| async move {
    ///         format!("{:?} in {:?}", std::time::SystemTime::now(), request.payload())
    ///     })
    ///     .qos(QoS::AtLeastOnce)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve<'a, H, F>(&'a self, filter: impl AsRef<str>, handler: H) -> Serve<'a, H>
    where
        H: FnMut(Message) -> F + Send + 'a,
        F: Future<Output: Into<Response>> + Send + 'static,
    {
        Serve::new(&self.shared, filter.as_ref(), handler)
    }

    /// Makes several subscriptions with one SUBSCRIBE and returns the broker's answer to each
    /// filter, which can be a refusal. The messages go to the
    /// [`on_message`](ClientBuilder::on_message) hook and the [`Inbox`].
    ///
    /// # Errors
    ///
    /// [`RequestError`] tells why there was no answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the request is admitted means that it is not sent; after that
    /// the subscriptions are made, and only the answer is lost.
    pub async fn subscribe_many(
        &self,
        filters: Vec<(TopicFilter, SubscribeOptions)>,
        properties: Properties,
    ) -> Result<SubscribeReceipt, RequestError> {
        subscribe::subscribe_many(&self.shared, filters, properties).await
    }

    /// Ends subscriptions with one UNSUBSCRIBE and returns the broker's answer to each filter;
    /// there is none in 3.x. Streams with these filters end, unless the broker refuses.
    ///
    /// # Errors
    ///
    /// [`RequestError`] tells why there was no answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the request is admitted means that it is not sent; after that
    /// the subscriptions end, and only the answer is lost.
    pub async fn unsubscribe_many(
        &self,
        filters: Vec<TopicFilter>,
        properties: Properties,
    ) -> Result<SubscribeReceipt, RequestError> {
        subscribe::unsubscribe_many(&self.shared, filters, properties).await
    }

    /// Authenticates again over the connection that is up (§4.12.1), with the
    /// [`authenticator`](ClientBuilder::authenticator) of the client: to renew a token, say, before
    /// it expires. Everything else goes on meanwhile.
    ///
    /// # Errors
    ///
    /// [`AuthenticateError`]. When the broker refuses, or the authenticator does, the connection is
    /// over too.
    ///
    /// # Cancel safety
    ///
    /// The authentication goes on even if the future is dropped, once it was polled.
    pub async fn reauthenticate(&self) -> Result<(), AuthenticateError> {
        let (done, result) = oneshot::channel();
        self.shared.mailbox.send(Command::Reauthenticate { done });
        result.await.unwrap_or(Err(AuthenticateError::Closed))
    }

    /// Waits until everything admitted so far has ended: each message written and confirmed, or
    /// failed.
    ///
    /// # Errors
    ///
    /// [`CloseReason`] when the client ends first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn flush(&self) -> Result<(), CloseReason> {
        let (done, flushed) = oneshot::channel();
        self.shared.mailbox.send_numbered(|ticket| Command::Flush { ticket, done });
        match flushed.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.closed().await),
        }
    }

    /// Ends the client in good order: admits no more messages, waits until those admitted have
    /// ended, or for `deadline` at most, and disconnects, which suppresses the will. The report says
    /// what became of each.
    ///
    /// Publishing fails with `Closed` from here on; messages go on being received until the end.
    ///
    /// # Errors
    ///
    /// [`CloseReason`] when the client has ended, or its end was asked for, before.
    ///
    /// # Cancel safety
    ///
    /// The client ends even if the future is dropped, once it was polled; only the report is lost.
    pub async fn drain(&self, deadline: Duration) -> Result<DrainReport, CloseReason> {
        let (done, report) = oneshot::channel();
        self.shared.mailbox.stop_publishing();
        // A time that cannot be told is as good as none.
        let by = now().checked_add(deadline).unwrap_or_else(|| now() + FOR_EVER);
        self.shared.mailbox.send(Command::Drain { by, done });
        let report = report.await;
        let reason = self.closed().await;
        report.map_err(|_| reason)
    }

    /// Ends the client at once and closes the socket without a DISCONNECT, so that the broker
    /// publishes the will. Messages that are not yet confirmed fail.
    ///
    /// It does not wait; [`closed`](Self::closed) does.
    pub fn abort(&self) {
        self.shared.mailbox.send(Command::Abort);
    }

    /// Ends the client with a DISCONNECT, which suppresses the will. Messages that are not yet
    /// confirmed fail: [`flush`](Self::flush) first to have them all sent.
    ///
    /// Returns when the DISCONNECT is written and the socket closed, or at once without a
    /// connection.
    ///
    /// # Errors
    ///
    /// [`DisconnectError`].
    ///
    /// # Cancel safety
    ///
    /// The client ends even if the future is dropped, once it was polled.
    pub async fn disconnect(&self) -> Result<(), DisconnectError> {
        self.disconnect_with(ReasonCode::SUCCESS, Properties::default()).await
    }

    /// Like [`disconnect`](Self::disconnect), with a reason and properties of its own in 5.0. With
    /// [`ReasonCode::DISCONNECT_WITH_WILL`] the broker publishes the will all the same.
    ///
    /// # Errors
    ///
    /// [`DisconnectError`]; after [`Invalid`](DisconnectError::Invalid) the client goes on.
    ///
    /// # Cancel safety
    ///
    /// The client ends even if the future is dropped, once it was polled.
    pub async fn disconnect_with(
        &self,
        reason: ReasonCode,
        properties: Properties,
    ) -> Result<(), DisconnectError> {
        let (done, result) = oneshot::channel();
        let done = Some(done);
        self.shared.mailbox.send(Command::Disconnect { reason, properties, done });
        let result = result.await.unwrap_or(Err(DisconnectError::Closed));
        if !matches!(result, Err(DisconnectError::Invalid(_))) {
            self.closed().await;
        }
        result
    }

    /// Waits until the client has ended for good, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> CloseReason {
        let closed = self.shared.state.wait_for(|state| match state {
            State::Closed(reason) => Some(reason.clone()),
            _ => None,
        });
        closed.await.unwrap_or(CloseReason::RuntimeStopped)
    }

    /// Stops reading the socket, so that TCP holds the broker back. Writing and the pings go on,
    /// and the broker is not taken for dead meanwhile. Up to 64 KiB that were read before are
    /// still handed over.
    pub fn pause_reading(&self) {
        self.shared.mailbox.set_reading_paused(true);
    }

    /// Reads the socket again.
    pub fn resume_reading(&self) {
        self.shared.mailbox.set_reading_paused(false);
    }

    /// Makes the next attempt to connect at once, where the client waits for its time. Has no effect
    /// while an attempt is under way or a connection is up.
    pub fn reconnect_now(&self) {
        self.shared.mailbox.send(Command::ReconnectNow);
    }

    /// Returns a watch of what the client is doing.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.watch()
    }

    /// Returns the counters as they are.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Returns a handle that does not keep the client alive, as hooks get it.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.shared.state.get())
            .field("handles", &self.shared.clients.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
