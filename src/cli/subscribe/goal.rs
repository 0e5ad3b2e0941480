//! Where messages go from the connection: to standard output, one behind the other or in a view, or
//! to whoever works on them.

use std::{
    convert::Infallible,
    future, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    time::{self, MissedTickBehavior},
};

use super::{
    complain,
    intake::Backlog,
    retained::Removals,
    selection::{Choice, Selection},
    tree::{self, Tree},
    watch::{self, TopicLines},
};
use crate::{
    cli::{
        Tool,
        format::{PayloadError, Renderer},
        opts::{LogOptions, OutputOptions},
        plan::DeliveryPlan,
        printer::{Fill, Printer},
        stdio::terminal_size,
    },
    client::{ClientBuilder, Flow, Handle, MessageRef},
    codec::Publish,
};

/// Where messages go.
pub(super) enum Goal {
    Lines(Screen<Renderer>),
    TopicLines(Screen<TopicLines>),
    Tree(Arc<Mutex<Tree>>),
    Rate(Arc<AtomicU64>),
    Intake(Backlog),
}

/// What is printed from time to time. Clones share it.
#[derive(Clone)]
pub(super) enum Ticker {
    Nothing,
    Tree(Arc<Mutex<Tree>>),
    Rate(Arc<AtomicU64>),
}

impl Goal {
    /// The goal that the options ask for. What stands before all messages is printed at once.
    pub(super) fn new(
        delivery: &DeliveryPlan,
        output: OutputOptions,
        host: &str,
        printer: &Printer,
        backlog: &Backlog,
        log: LogOptions,
    ) -> Self {
        let printer = printer.clone();
        match delivery {
            DeliveryPlan::Exec(_) | DeliveryPlan::Files(_) => Self::Intake(backlog.clone()),
            DeliveryPlan::Rate => Self::Rate(Arc::default()),
            DeliveryPlan::Watch if printer.is_terminal() && !output.has_format() => {
                print_first(&printer, |out| out.extend_from_slice(b"\x1b[2J"));
                let colors = output.color.for_stdout();
                Self::Tree(Arc::new(Mutex::new(Tree::new(host, colors))))
            }
            DeliveryPlan::Watch => {
                print_first(&printer, |out| watch::begin(host, out));
                let view = TopicLines::new(output.into_format());
                Self::TopicLines(Screen { view, printer, log })
            }
            DeliveryPlan::Print => {
                let format = output.into_format();
                if let Some(header) = format.header() {
                    print_first(&printer, |out| {
                        out.extend_from_slice(header.as_bytes());
                        out.push(b'\n');
                    });
                }
                let view = Renderer::new(format).for_terminal(printer.is_terminal());
                Self::Lines(Screen { view, printer, log })
            }
        }
    }

    /// What is to be run beside.
    pub(super) fn ticker(&self) -> Ticker {
        match self {
            Self::Tree(tree) => Ticker::Tree(Arc::clone(tree)),
            Self::Rate(count) => Ticker::Rate(Arc::clone(count)),
            _ => Ticker::Nothing,
        }
    }

    fn message(&mut self, message: &MessageRef<'_>, handle: &Handle) -> Flow {
        match self {
            Self::Lines(lines) => lines.print(message, handle),
            Self::TopicLines(lines) => lines.print(message, handle),
            Self::Tree(tree) => lock(tree).message(message.publish()),
            Self::Rate(count) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Self::Intake(backlog) => {
                backlog.arrived(message.payload().len(), handle);
                return Flow::Continue;
            }
        }
        Flow::Taken
    }
}

/// Sets the hook that brings messages to their goal. `complete` is notified when there are to be no
/// more.
pub(super) fn receive(
    builder: ClientBuilder,
    mut selection: Selection,
    mut goal: Goal,
    removals: Removals,
    complete: Arc<Notify>,
) -> ClientBuilder {
    builder.on_message(move |message, handle| {
        let (shown, last) = match selection.choose(message) {
            Choice::Take { shown, last } => (shown, last),
            Choice::Leave => return Flow::Taken,
            // It goes to the inbox, where it is not acknowledged.
            Choice::Late => return Flow::Continue,
            Choice::End => {
                complete.notify_one();
                return Flow::Continue;
            }
        };
        // What is worked on is removed when that has gone well.
        if selection.removes(message) && !matches!(goal, Goal::Intake(_)) {
            removals.begin(message.topic(), handle);
        }
        let flow = if shown { goal.message(message, handle) } else { Flow::Taken };
        if last {
            complete.notify_one();
        }
        flow
    })
}

/// What makes bytes of messages.
pub(super) trait View {
    fn render(&mut self, message: &Publish<'_>, out: &mut Vec<u8>) -> Result<(), PayloadError>;
}

impl View for Renderer {
    fn render(&mut self, message: &Publish<'_>, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        Renderer::render(self, message, out)
    }
}

impl View for TopicLines {
    fn render(&mut self, message: &Publish<'_>, out: &mut Vec<u8>) -> Result<(), PayloadError> {
        self.message(message, out)
    }
}

/// Prints each message in a view.
pub(super) struct Screen<V> {
    view: V,
    printer: Printer,
    log: LogOptions,
}

impl<V: View> Screen<V> {
    fn print(&mut self, message: &MessageRef<'_>, handle: &Handle) {
        let message = message.publish();
        let mut rendered = Ok(());
        let fill = self.printer.append_raw(|out| rendered = self.view.render(message, out));
        if fill == Fill::Full {
            handle.pause_reading();
        }
        if let Err(error) = rendered
            && !self.log.quiet
        {
            complain(Tool::Sub, message.topic, error);
        }
    }
}

impl Ticker {
    pub(super) async fn run(self, printer: &Printer) -> Infallible {
        match self {
            Self::Nothing => future::pending().await,
            Self::Tree(tree) => draw(&tree, printer).await,
            Self::Rate(count) => print_rates(&count, printer).await,
        }
    }

    /// Prints what has not been shown yet of a view.
    pub(super) fn finish(&self, printer: &Printer) {
        if let Self::Tree(tree) = self {
            draw_once(tree, Duration::ZERO, printer);
        }
    }
}

async fn draw(tree: &Mutex<Tree>, printer: &Printer) -> Infallible {
    let start = Instant::now();
    loop {
        // A terminal that is stopped gets the newest picture when it goes on.
        if !printer.is_behind() {
            draw_once(tree, start.elapsed(), printer);
        }
        time::sleep(tree::FRAME).await;
    }
}

fn draw_once(tree: &Mutex<Tree>, now: Duration, printer: &Printer) {
    // A picture is never much.
    let _ = printer.append_raw(|out| lock(tree).draw(now, terminal_size(io::stdout()), out));
    printer.flush();
}

async fn print_rates(count: &AtomicU64, printer: &Printer) -> Infallible {
    let mut second = time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once.
    second.tick().await;
    loop {
        second.tick().await;
        let line = format!("{} msgs/s\n", count.swap(0, Ordering::Relaxed));
        let _ = printer.append_raw(|out| out.extend_from_slice(line.as_bytes()));
        printer.flush();
    }
}

fn print_first(printer: &Printer, write: impl FnOnce(&mut Vec<u8>)) {
    // The first thing there is does not fill it.
    let _ = printer.append_raw(write);
    printer.flush();
}

fn lock(tree: &Mutex<Tree>) -> std::sync::MutexGuard<'_, Tree> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}
