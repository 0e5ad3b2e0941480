//! Publishing: the message under construction, its way through admission, and what became of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::codec::{Properties, QoS, TopicName};
use crate::session::{Receipt, Ticket};

use super::OutgoingMessage;
use super::error::{EnqueueError, InvalidTopic, PublishError};
use super::mailbox::{Admission, Command, NotAdmitted};
use super::shared::Shared;

/// A message about to be published.
///
/// | finished by | waits for | yields |
/// |---|---|---|
/// | `.await` | the confirmation | [`Receipt`] |
/// | [`enqueue`](Self::enqueue)`.await` | room in the queue | [`Delivery`] |
/// | [`try_enqueue`](Self::try_enqueue) | nothing | [`Delivery`] |
///
/// A QoS 0 message is confirmed when the kernel has taken its bytes, QoS 1 by PUBACK and QoS 2 by
/// PUBCOMP. Messages leave in the order in which they were admitted. A loop that awaits each
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
}

impl<'a> Publish<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        topic: impl IntoTopic,
        payload: impl Into<Bytes>,
    ) -> Publish<'a> {
        let message = topic.into_topic().map(|topic| OutgoingMessage::new(topic, payload));
        Publish { shared, message }
    }

    /// Sets the quality of service. Default 0.
    pub fn qos(mut self, qos: QoS) -> Self {
        if let Ok(message) = &mut self.message {
            message.qos = qos;
        }
        self
    }

    /// Sets whether the broker keeps it as the retained message of the topic. Default `false`.
    pub fn retain(mut self, retain: bool) -> Self {
        if let Ok(message) = &mut self.message {
            message.retain = retain;
        }
        self
    }

    /// Sets the properties. In 3.x a message with properties is refused.
    pub fn properties(mut self, properties: Properties) -> Self {
        if let Ok(message) = &mut self.message {
            message.properties = properties;
        }
        self
    }

    /// Waits for room in the queue, and no longer.
    ///
    /// # Errors
    ///
    /// [`EnqueueError::InvalidTopic`], and [`EnqueueError::Closed`] with the message.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready means that the message is not sent.
    pub fn enqueue(self) -> Enqueue<'a> {
        Enqueue { shared: self.shared, message: Some(self.message), place: None }
    }

    /// Queues the message if there is room at once. It may be called where waiting is not
    /// possible, as in a hook.
    ///
    /// # Errors
    ///
    /// [`EnqueueError::InvalidTopic`], and with the message [`EnqueueError::Full`] and
    /// [`EnqueueError::Closed`].
    pub fn try_enqueue(self) -> Result<Delivery, EnqueueError> {
        Delivery::admit(self.shared, self.message?)
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
    /// `None` once it is admitted or refused.
    message: Option<Result<OutgoingMessage, InvalidTopic>>,
    /// The place in the line for room.
    place: Option<u64>,
}

impl Future for Enqueue<'_> {
    type Output = Result<Delivery, EnqueueError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let message = match this.message.take() {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Poll::Ready(Err(error.into())),
            None => return Poll::Pending,
        };
        let mailbox = &this.shared.mailbox;
        match mailbox.poll_admit(cx, message.queued_bytes(), &mut this.place) {
            Poll::Ready(admitted) => Poll::Ready(Delivery::send(admitted, message)),
            Poll::Pending => {
                this.message = Some(Ok(message));
                Poll::Pending
            }
        }
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
/// Dropping it does not take the message back.
#[must_use = "a message can fail after it was admitted; drop the delivery to ignore that"]
#[derive(Debug)]
pub struct Delivery {
    ticket: Ticket,
    result: oneshot::Receiver<Result<Receipt, PublishError>>,
}

impl Delivery {
    /// Returns the ticket by which [`on_publish`](super::ClientBuilder::on_publish) names the
    /// message.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(super) fn admit(
        shared: &Shared,
        message: OutgoingMessage,
    ) -> Result<Delivery, EnqueueError> {
        Delivery::send(shared.mailbox.try_admit(message.queued_bytes()), message)
    }

    fn send(
        admitted: Result<Admission<'_>, NotAdmitted>,
        message: OutgoingMessage,
    ) -> Result<Delivery, EnqueueError> {
        match admitted {
            Ok(mut admission) => {
                let ticket = admission.ticket();
                let (done, result) = oneshot::channel();
                admission.send(Command::Publish { ticket, message, done });
                Ok(Delivery { ticket, result })
            }
            Err(NotAdmitted::Full) => Err(EnqueueError::Full(Box::new(message))),
            Err(NotAdmitted::Closed) => Err(EnqueueError::Closed(Box::new(message))),
        }
    }
}

impl Future for Delivery {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(cx).map(|result| {
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
