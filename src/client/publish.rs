//! Publishing: the message under construction, its way through admission, and what became of it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::codec::{Properties, QoS, TopicName, Version};
use crate::session::{Receipt, Ticket};

use super::OutgoingMessage;
use super::error::{EnqueueError, InvalidTopic, PublishError};
use super::mailbox::{Admission, Ask, Command, NotAdmitted};
use super::shared::Shared;
use super::store_file::Position;
use super::task::now;

/// A message about to be published.
///
/// | finished by | waits for | yields |
/// |---|---|---|
/// | `.await` | the confirmation | [`Receipt`] |
/// | [`enqueue`](Self::enqueue)`.await` | room in the queue, and the store if there is one | [`Delivery`] |
/// | [`try_enqueue`](Self::try_enqueue) | nothing | [`Delivery`] |
/// | [`post`](Self::post)`.await` | as `enqueue` | the [`Ticket`] |
///
/// A QoS 0 message is confirmed when the kernel has taken its bytes (over TLS and WebSocket the
/// layer above it, which passes them on), QoS 1 by PUBACK and QoS 2 by PUBCOMP. Messages leave in the order in which they were admitted. A loop that awaits each
/// confirmation sends one message per round trip; `enqueue` keeps the connection busy.
///
/// # Cancel safety
///
/// Dropping the future before the message is admitted means that it is not sent. After that the
/// message is on its way, and dropping the future only means not to hear of it.
#[must_use = "a message is not published until it is awaited or enqueued"]
#[derive(Debug)]
pub struct Publish<'a> {
    shared: &'a Arc<Shared>,
    message: Result<OutgoingMessage, InvalidTopic>,
    deadline: Option<Duration>,
}

impl<'a> Publish<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        topic: impl IntoTopic,
        payload: impl Into<Bytes>,
    ) -> Publish<'a> {
        let message = topic.into_topic().map(|topic| OutgoingMessage::new(topic, payload));
        Publish { shared, message, deadline: None }
    }

    pub(super) fn from_message(shared: &'a Arc<Shared>, message: OutgoingMessage) -> Publish<'a> {
        Publish { shared, message: Ok(message), deadline: None }
    }

    /// Sets the quality of service. Default 0.
    #[inline]
    pub fn qos(mut self, qos: QoS) -> Self {
        if let Ok(message) = &mut self.message {
            message.qos = qos;
        }
        self
    }

    /// Sets whether the broker keeps it as the retained message of the topic. Default `false`.
    #[inline]
    pub fn retain(mut self, retain: bool) -> Self {
        if let Ok(message) = &mut self.message {
            message.retain = retain;
        }
        self
    }

    /// Sets the properties. In 3.x a message with properties is refused.
    #[inline]
    pub fn properties(mut self, properties: Properties) -> Self {
        if let Ok(message) = &mut self.message {
            message.properties = properties;
        }
        self
    }

    /// Sets the time in which the message is to be confirmed. By default there is no end to it: a
    /// message waits for a connection as long as the client lives.
    ///
    /// The time counts from [`enqueue`](Self::enqueue), [`try_enqueue`](Self::try_enqueue) or
    /// `await`. When it is up, a message that was not sent is taken out of the queue and comes back
    /// with the error: it will not be sent. A message that was sent cannot be unsent: its waiter
    /// is told, while the client goes on to deliver it as the protocol demands \[MQTT-4.4.0-1\].
    /// With a [store](super::ClientBuilder::store), the time goes on while no process runs.
    ///
    /// The time is this side's alone; the broker has the Message Expiry Interval among the
    /// [`properties`](Self::properties) (5.0). That, too, keeps a message from being sent too late:
    /// what of it has passed in the queue is taken off when the message is sent, and with none left
    /// it is not sent at all. Once it was sent it is sent again for as long as it takes
    /// \[MQTT-4.3.3-7\].
    #[inline]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Waits for room in the queue, and no longer. With a [store](super::ClientBuilder::store), a
    /// message of QoS 1 or 2 is in it then.
    ///
    /// # Errors
    ///
    /// [`EnqueueError`], with the message where there is one that could be sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready means that the message is not sent, unless what it
    /// waited for was the disk ([`Durability::Power`](super::Durability::Power)).
    #[inline]
    pub fn enqueue(self) -> Enqueue<'a> {
        let deadline = self.deadline.and_then(|deadline| now().checked_add(deadline));
        let stage = Stage::Asking(self.message);
        Enqueue { shared: self.shared, stage, place: None, deadline, detached: false }
    }

    /// Like [`enqueue`](Self::enqueue), for who hears of the end of the message by
    /// [`on_publish`](super::ClientBuilder::on_publish) alone: yields the ticket that is named there,
    /// and costs less than a [`Delivery`] that is dropped.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue).
    ///
    /// # Cancel safety
    ///
    /// As [`enqueue`](Self::enqueue).
    #[inline]
    pub fn post(self) -> Post<'a> {
        let mut enqueue = self.enqueue();
        enqueue.detached = true;
        Post(enqueue)
    }

    /// Queues the message if there is room at once. It may be called where waiting is not
    /// possible, as in a hook.
    ///
    /// With a [store](super::ClientBuilder::store), a message of QoS 1 or 2 is in the file when this
    /// returns; it does not wait for the disk.
    ///
    /// # Errors
    ///
    /// [`EnqueueError`], with the message where there is one that could be sent.
    pub fn try_enqueue(self) -> Result<Delivery, EnqueueError> {
        let deadline = self.deadline.and_then(|deadline| now().checked_add(deadline));
        Delivery::admit(self.shared, self.message?, deadline)
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = PublishFuture<'a>;

    fn into_future(self) -> PublishFuture<'a> {
        PublishFuture(Progress::Enqueue(self.enqueue()))
    }
}

/// Waits until a message is admitted: see [`Publish::enqueue`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Enqueue<'a> {
    shared: &'a Arc<Shared>,
    stage: Stage,
    /// The place in the line for room.
    place: Option<u64>,
    deadline: Option<Instant>,
    /// Nobody waits for the end of the message.
    detached: bool,
}

/// Waits until a message is admitted, and yields its ticket: see [`Publish::post`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Post<'a>(Enqueue<'a>);

impl Future for Post<'_> {
    type Output = Result<Ticket, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_sent(cx).map_ok(|sent| sent.ticket)
    }
}

/// A message that was admitted, and the way to hear of its end if somebody wants to.
#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    result: Option<oneshot::Receiver<Result<Receipt, PublishError>>>,
}

#[derive(Debug)]
enum Stage {
    /// For room.
    Asking(Result<OutgoingMessage, InvalidTopic>),
    /// For the disk. The message is kept for who must be told that it failed.
    Storing(Sent, Position, Box<OutgoingMessage>),
    Ready,
}

impl Enqueue<'_> {
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sent, EnqueueError>> {
        let shared = self.shared;
        let mut admitted = None;
        // The message stays where it is until there is room for it.
        if let Stage::Asking(Ok(message)) = &self.stage {
            let refused =
                self.place.is_none().then(|| check(shared, message)).and_then(Result::err);
            if let Some(refused) = refused {
                self.stage = Stage::Ready;
                return Poll::Ready(Err(refused));
            }
            let ask = ask(message, self.deadline);
            admitted = Some(ready!(shared.mailbox.poll_admit(cx, ask, &mut self.place)));
        }
        match (mem::replace(&mut self.stage, Stage::Ready), admitted) {
            (Stage::Asking(Ok(message)), Some(admitted)) => {
                let keep = shared.waits_for_disk().then(|| Box::new(message.clone()));
                let (deadline, detached) = (self.deadline, self.detached);
                let (sent, position) = Sent::send(shared, admitted, message, deadline, detached)?;
                match (position, keep) {
                    (Some(position), Some(message)) => {
                        self.poll_stored(cx, sent, position, message)
                    }
                    _ => Poll::Ready(Ok(sent)),
                }
            }
            (Stage::Asking(Err(invalid)), _) => Poll::Ready(Err(invalid.into())),
            (Stage::Storing(sent, position, message), _) => {
                self.poll_stored(cx, sent, position, message)
            }
            (Stage::Asking(Ok(_)) | Stage::Ready, _) => Poll::Pending,
        }
    }

    /// Waits for the disk.
    fn poll_stored(
        &mut self,
        cx: &mut Context<'_>,
        sent: Sent,
        position: Position,
        message: Box<OutgoingMessage>,
    ) -> Poll<Result<Sent, EnqueueError>> {
        let stored = self.shared.store.as_ref().map(|store| store.poll_durable(cx, position));
        match stored {
            Some(Poll::Pending) => {
                self.stage = Stage::Storing(sent, position, message);
                Poll::Pending
            }
            Some(Poll::Ready(Err(error))) => {
                Poll::Ready(Err(EnqueueError::Store { message, error }))
            }
            Some(Poll::Ready(Ok(()))) | None => Poll::Ready(Ok(sent)),
        }
    }
}

impl Future for Enqueue<'_> {
    type Output = Result<Delivery, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sent = self.poll_sent(cx);
        sent.map_ok(|sent| Delivery::new(self.shared, sent))
    }
}

impl Drop for Enqueue<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.shared.mailbox.leave(place);
        }
    }
}

/// Waits until a message is confirmed: what awaiting a [`Publish`] does.
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct PublishFuture<'a>(Progress<'a>);

#[derive(Debug)]
enum Progress<'a> {
    Enqueue(Enqueue<'a>),
    Delivery(Delivery),
}

impl Future for PublishFuture<'_> {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Progress::Enqueue(enqueue) => match Pin::new(enqueue).poll(cx) {
                    Poll::Ready(Ok(delivery)) => self.0 = Progress::Delivery(delivery),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => return Poll::Pending,
                },
                Progress::Delivery(delivery) => return Pin::new(delivery).poll(cx),
            }
        }
    }
}

/// Waits for the confirmation of an admitted message.
///
/// # Cancel safety
///
/// Dropping it does not take the message back; [`cancel`](Self::cancel) does.
#[must_use = "a message can fail after it was admitted; drop the delivery to ignore that"]
#[derive(Debug)]
pub struct Delivery {
    shared: Arc<Shared>,
    sent: Sent,
}

/// Says that a message could not be taken back: it was sent, at least in part, or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message was sent already")]
pub struct TooLate;

impl Delivery {
    /// Returns the ticket by which [`on_publish`](super::ClientBuilder::on_publish) names the
    /// message.
    pub fn ticket(&self) -> Ticket {
        self.sent.ticket
    }

    /// Takes the message back if it was not sent yet: it leaves the queue, and the store, and this
    /// delivery ends with [`PublishError::Cancelled`].
    ///
    /// # Errors
    ///
    /// [`TooLate`] when it was sent, in this session or in one that was lost, or when its delivery
    /// has ended; the delivery can be awaited as before.
    ///
    /// # Cancel safety
    ///
    /// The message is taken back even if the future is dropped, once it was polled; only the
    /// answer is lost.
    pub async fn cancel(&mut self) -> Result<OutgoingMessage, TooLate> {
        let (done, message) = oneshot::channel();
        let ticket = self.sent.ticket;
        self.shared.mailbox.send(Command::Cancel { ticket, done });
        message.await.map_err(|_| TooLate)
    }

    pub(super) fn admit(
        shared: &Arc<Shared>,
        message: OutgoingMessage,
        deadline: Option<Instant>,
    ) -> Result<Delivery, EnqueueError> {
        check(shared, &message)?;
        let admitted = shared.mailbox.try_admit(ask(&message, deadline));
        let (sent, _) = Sent::send(shared, admitted, message, deadline, false)?;
        Ok(Delivery::new(shared, sent))
    }

    fn new(shared: &Arc<Shared>, sent: Sent) -> Delivery {
        Delivery { shared: Arc::clone(shared), sent }
    }
}

impl Sent {
    /// Stores the message, if that is to be, and sends it to the driver. With the position in the
    /// store that must be durable.
    #[inline]
    fn send(
        shared: &Arc<Shared>,
        admitted: Result<Admission<'_>, NotAdmitted>,
        message: OutgoingMessage,
        deadline: Option<Instant>,
        detached: bool,
    ) -> Result<(Sent, Option<Position>), EnqueueError> {
        let mut admission = match admitted {
            Ok(admission) => admission,
            Err(reason) => return Err(EnqueueError::not_admitted(reason, message)),
        };
        let ticket = admission.ticket();
        // In the order of the tickets: nobody else is admitted meanwhile.
        let stored =
            shared.store.as_ref().filter(|_| message.qos != QoS::AtMostOnce).map(|store| {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(now()));
                store.admit(ticket, left, &message)
            });
        let position = match stored.transpose() {
            Ok(position) => position,
            Err(error) => {
                admission.give_back(message.queued_bytes());
                return Err(EnqueueError::Store { message: Box::new(message), error });
            }
        };
        let (done, result) = match detached {
            true => (None, None),
            false => {
                let (done, result) = oneshot::channel();
                (Some(done), Some(result))
            }
        };
        admission.send(Command::Publish { ticket, message, deadline, done });
        Ok((Sent { ticket, result }, position))
    }
}

fn ask(message: &OutgoingMessage, deadline: Option<Instant>) -> Ask {
    Ask { bytes: message.queued_bytes(), qos: Some(message.qos), deadline }
}

/// Checks what can be known of a message before the broker is asked.
fn check(shared: &Shared, message: &OutgoingMessage) -> Result<(), EnqueueError> {
    message.check(shared.settings().version)?;
    // Topic names are valid and fit; only 3.1 has a tighter bound, and only large packets none.
    if shared.settings().version == Version::V31 || message.queued_bytes() > CERTAIN_TO_FIT {
        message.encoded_len(shared.settings().version)?;
    }
    Ok(())
}

/// Messages of this size fit into a packet, whatever its headers have.
const CERTAIN_TO_FIT: usize = 64 << 20;

impl Future for Delivery {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A delivery always has a channel.
        let Some(result) = &mut self.sent.result else { return Poll::Pending };
        Pin::new(result).poll(cx).map(|result| {
            // A runtime that is shut down drops the driver task, and the sender with it.
            result.unwrap_or(Err(PublishError::Closed { maybe_delivered: true }))
        })
    }
}

/// What can be the topic of a message: text, which is checked, or a [`TopicName`], which has been.
pub trait IntoTopic: sealed::Sealed {
    /// Makes the topic name.
    ///
    /// # Errors
    ///
    /// [`InvalidTopic`] says what is wrong with the text.
    fn into_topic(self) -> Result<TopicName, InvalidTopic>;
}

macro_rules! impl_into_topic {
    ($($type:ty: $topic:ident => $result:expr;)*) => {$(
        impl sealed::Sealed for $type {}

        impl IntoTopic for $type {
            fn into_topic(self) -> Result<TopicName, InvalidTopic> {
                let $topic = self;
                $result
            }
        }
    )*};
}

impl_into_topic! {
    &str: topic => topic.try_into().map_err(|reason| InvalidTopic::name(topic, reason));
    &String: topic => topic.as_str().into_topic();
    String: topic => topic.as_str().into_topic();
    TopicName: topic => Ok(topic);
    &TopicName: topic => Ok(topic.clone());
}

mod sealed {
    pub trait Sealed {}
}
