//! Wakes a worker at an instant.
//!
//! Tokio's timers count in whole milliseconds, which would show as schedule lag in every report. On
//! Linux a timer of the kernel's wakes the worker within microseconds.

#[cfg(not(target_os = "linux"))]
pub(super) use self::coarse::Alarm;
#[cfg(target_os = "linux")]
pub(super) use self::precise::Alarm;

#[cfg(target_os = "linux")]
mod precise {
    use std::{
        io,
        os::fd::OwnedFd,
        task::{Context, Poll},
        time::{Duration, Instant},
    };

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// One alarm, which can be set again and again.
    #[derive(Debug)]
    pub(in crate::load) struct Alarm {
        timer: AsyncFd<OwnedFd>,
        set_for: Option<Instant>,
    }

    impl Alarm {
        /// An alarm that is not set. To be called in a Tokio runtime with I/O enabled.
        pub(in crate::load) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe because a descriptor of any type could be closed \
                          too early; an `OwnedFd` cannot"
            )]
            let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
            Ok(Self { timer, set_for: None })
        }

        /// Ready once `at` has come; until then, the task is woken when it comes.
        pub(in crate::load) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
            if self.set_for != Some(at) {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() || self.set(left).is_err() {
                    return Poll::Ready(());
                }
                self.set_for = Some(at);
            }
            loop {
                match self.timer.poll_read_ready(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    // Setting the timer again also clears its count, so nothing is read from it. What
                    // it rang for may have been an instant before this one.
                    Poll::Ready(Ok(mut guard)) => guard.clear_ready(),
                }
                if Instant::now() >= at {
                    self.set_for = None;
                    return Poll::Ready(());
                }
            }
        }

        fn set(&self, left: Duration) -> io::Result<()> {
            let setting = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec {
                    tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                },
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod coarse {
    use std::{
        future::Future,
        io,
        pin::Pin,
        task::{Context, Poll},
        time::Instant,
    };

    use tokio::time::Sleep;

    /// One alarm, which can be set again and again.
    #[derive(Debug)]
    pub(in crate::load) struct Alarm {
        sleep: Pin<Box<Sleep>>,
    }

    impl Alarm {
        /// An alarm that is not set. To be called in a Tokio runtime with time enabled.
        pub(in crate::load) fn new() -> io::Result<Self> {
            Ok(Self { sleep: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())) })
        }

        /// Ready once `at` has come; until then, the task is woken when it comes.
        pub(in crate::load) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
            if self.sleep.deadline().into_std() != at {
                self.sleep.as_mut().reset(at.into());
            }
            self.sleep.as_mut().poll(cx)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        time::{Duration, Instant},
    };

    use super::Alarm;

    #[tokio::test]
    async fn rings_at_its_instant_and_can_be_set_again() {
        let mut alarm = Alarm::new().unwrap();
        for milliseconds in [0, 3, 1, 20] {
            let at = Instant::now() + Duration::from_millis(milliseconds);
            poll_fn(|cx| alarm.poll(cx, at)).await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn an_earlier_setting_does_not_ring_for_a_later_one() {
        let mut alarm = Alarm::new().unwrap();
        let start = Instant::now();
        let (soon, later) = (start + Duration::from_millis(2), start + Duration::from_millis(30));
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            // The first poll sets it for the earlier instant; whatever comes of that is past.
            if polls == 1 && alarm.poll(cx, soon).is_pending() {
                let _ = alarm.poll(cx, later);
                return std::task::Poll::Pending;
            }
            alarm.poll(cx, later)
        })
        .await;
        assert!(Instant::now() >= later);
        assert!(polls <= 4, "{polls} polls: it woke for nothing");
    }

    #[tokio::test]
    async fn an_alarm_can_be_put_forward() {
        let mut alarm = Alarm::new().unwrap();
        let later = Instant::now() + Duration::from_secs(3600);
        poll_fn(|cx| {
            assert!(alarm.poll(cx, later).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        let soon = Instant::now() + Duration::from_millis(5);
        poll_fn(|cx| alarm.poll(cx, soon)).await;
        assert!((soon..later).contains(&Instant::now()));
    }
}
