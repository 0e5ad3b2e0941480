//! Which of a worker's plain TCP sockets are ready, from an event queue of its own.
//!
//! Tokio keeps some 300 bytes and three atomic operations per event for each socket that it watches.
//! A worker has a table of its clients anyway: the kernel gives it their numbers back. Tokio watches
//! the one queue instead, so that a worker still sleeps in one place.

#[cfg(not(target_os = "linux"))]
pub(super) use self::absent::{Poller, Queue};
#[cfg(target_os = "linux")]
pub(super) use self::epoll::{Poller, Queue};

/// One socket that became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readiness {
    /// The number of its client.
    pub(super) slot: u32,
    /// There is something to read.
    pub(super) readable: bool,
    /// The end can be read as well.
    pub(super) at_end: bool,
}

/// What a socket is watched for.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "Tokio watches every socket"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    /// Nothing yet.
    Nothing,
    /// Something to read.
    Input,
    /// That, and room to write or the end of a connect.
    Both,
}

#[cfg(target_os = "linux")]
mod epoll {
    use std::{
        io,
        os::fd::OwnedFd,
        task::{Context, Poll},
    };

    use rustix::{
        buffer::spare_capacity,
        event::{
            Timespec,
            epoll::{self, CreateFlags, Event, EventData, EventFlags},
        },
    };
    use tokio::io::{Interest, unix::AsyncFd};

    use super::{Readiness, Watch};
    use crate::net::Unwatched;

    /// How many events are taken at a time; beyond, the worker looks after its other duties first.
    const EVENTS_PER_TURN: usize = 256;

    /// The event queue of one worker.
    #[derive(Debug)]
    pub(in crate::load) struct Queue(AsyncFd<OwnedFd>);

    /// The queue, in use by the thread of its worker.
    pub(in crate::load) struct Poller {
        queue: AsyncFd<OwnedFd>,
        events: Vec<Event>,
    }

    impl Queue {
        /// An empty queue. To be called in a Tokio runtime with I/O enabled.
        pub(in crate::load) fn new() -> io::Result<Self> {
            let queue = epoll::create(CreateFlags::CLOEXEC)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe because a descriptor of any type could be closed \
                          too early; an `OwnedFd` cannot"
            )]
            let queue = AsyncFd::with_interest(queue, Interest::READABLE)?;
            Ok(Self(queue))
        }
    }

    impl Poller {
        pub(in crate::load) fn new(Queue(queue): Queue) -> Self {
            Self { queue, events: Vec::with_capacity(EVENTS_PER_TURN) }
        }

        /// Watches a socket for `wanted` besides `watched`. What it is ready for already comes as an
        /// event, too. Closing the socket ends the watch.
        pub(in crate::load) fn watch(
            &self,
            socket: &Unwatched,
            slot: u32,
            watched: Watch,
            wanted: Watch,
        ) -> io::Result<()> {
            let mut flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
            if wanted == Watch::Both {
                flags |= EventFlags::OUT;
            }
            let data = EventData::new_u64(slot.into());
            match watched {
                Watch::Nothing => epoll::add(&self.queue, socket, data, flags)?,
                _ => epoll::modify(&self.queue, socket, data, flags)?,
            }
            Ok(())
        }

        /// Takes what has become ready, and has the task woken when more does.
        pub(in crate::load) fn poll(&mut self, cx: &mut Context<'_>, ready: &mut Vec<Readiness>) {
            ready.clear();
            loop {
                let Poll::Ready(Ok(mut guard)) = self.queue.poll_read_ready(cx) else { return };
                self.events.clear();
                let room = spare_capacity(&mut self.events);
                let taken = epoll::wait(self.queue.get_ref(), room, Some(&Timespec::default()));
                let all = !matches!(taken, Ok(EVENTS_PER_TURN));
                if all {
                    guard.clear_ready();
                }
                ready.extend(self.events.iter().map(|event| {
                    let end = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
                    let (flags, data) = (event.flags, event.data);
                    Readiness {
                        slot: data.u64() as u32,
                        readable: flags.intersects(end | EventFlags::IN),
                        at_end: flags.intersects(end),
                    }
                }));
                if !all {
                    cx.waker().wake_by_ref();
                    return;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod absent {
    use std::{io, task::Context};

    use super::Readiness;

    /// Nothing: Tokio watches every socket.
    #[derive(Debug)]
    pub(in crate::load) struct Queue;

    pub(in crate::load) struct Poller;

    impl Queue {
        pub(in crate::load) fn new() -> io::Result<Self> {
            Ok(Self)
        }
    }

    impl Poller {
        pub(in crate::load) fn new(_: Queue) -> Self {
            Self
        }

        pub(in crate::load) fn poll(&mut self, _: &mut Context<'_>, ready: &mut Vec<Readiness>) {
            ready.clear();
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        future::poll_fn,
        io::Write,
        net::{Ipv4Addr, TcpListener},
        task::Poll,
    };

    use super::*;
    use crate::net::{ConnectOptions, Unwatched};

    async fn next(poller: &mut Poller) -> Vec<Readiness> {
        let mut ready = Vec::new();
        poll_fn(|cx| {
            poller.poll(cx, &mut ready);
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        ready
    }

    #[tokio::test]
    async fn sockets_are_told_apart_and_each_edge_is_told_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut poller = Poller::new(Queue::new().unwrap());
        let mut pairs = Vec::new();
        for slot in [3, 4_000_000_000] {
            let socket = Unwatched::dial(addr, None, &ConnectOptions::default()).unwrap();
            let (peer, _) = listener.accept().unwrap();
            poller.watch(&socket, slot, Watch::Nothing, Watch::Input).unwrap();
            pairs.push((socket, peer));
        }
        pairs[1].1.write_all(b"x").unwrap();
        assert_eq!(
            next(&mut poller).await,
            [Readiness { slot: 4_000_000_000, readable: true, at_end: false }]
        );
        pairs[0].1.write_all(b"x").unwrap();
        assert_eq!(next(&mut poller).await, [Readiness { slot: 3, readable: true, at_end: false }]);
        // Asking for room to write tells of the room there is, and of what is unread.
        let (socket, _) = &pairs[0];
        poller.watch(socket, 3, Watch::Input, Watch::Both).unwrap();
        assert_eq!(next(&mut poller).await, [Readiness { slot: 3, readable: true, at_end: false }]);
    }

    #[tokio::test]
    async fn more_than_one_turn_of_events_is_all_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let mut poller = Poller::new(Queue::new().unwrap());
        let (mut kept, mut sockets) = (Vec::new(), Vec::new());
        for slot in 0..300 {
            let socket = Unwatched::dial(addr, None, &ConnectOptions::default()).unwrap();
            kept.push(listener.accept().unwrap().0);
            poller.watch(&socket, slot, Watch::Nothing, Watch::Both).unwrap();
            sockets.push(socket);
        }
        let mut seen = Vec::new();
        while seen.len() < 300 {
            seen.extend(next(&mut poller).await.iter().map(|readiness| readiness.slot));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
    }
}
