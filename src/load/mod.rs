//! The connection load engine: very many connections to one broker, and how they fared.
//!
//! [`run()`] carries a [`Plan`] out and returns a [`Report`]. The clients start on an open-loop
//! schedule, on worker threads; they run on the same [`Session`](crate::session::Session) and
//! [`Link`](crate::driver::Link) as the client of this library, but without a task, a buffer or a
//! timer of their own, so that an idle connection costs less than a kilobyte of this process.
//!
//! ```
//! use std::{future, time::Duration};
//!
//! use midge::{codec::Version, load::{self, Plan, Target}, session::Config};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), load::StartError> {
//! let mut plan = Plan::new(Target::Embedded, Config::new(Version::V311));
//! plan.clients = 100;
//! plan.interval = Duration::ZERO;
//! plan.hold = Some(Duration::ZERO);
//! let report = load::run(plan, future::pending(), |_| {}).await?;
//! assert_eq!(report.totals.connected, 100);
//! # Ok(())
//! # }
//! ```

mod alarm;
mod descriptors;
mod failure;
mod identity;
mod pace;
mod plan;
mod ready;
mod report;
mod route;
mod run;
mod sink;
mod slab;
mod stats;
mod wheel;
mod worker;

pub use descriptors::TooFewDescriptors;
pub use failure::FailureClass;
pub use identity::Seed;
pub use plan::{Plan, PlanError, StartError, Target};
pub use report::{
    ErrorRow, Host, Latencies, Outcome, PlanFacts, Rate, Report, Run, Second, TargetFacts, Totals,
};
pub use run::{Progress, Update, run};
pub use sink::Sink;
pub use stats::{Counts, Phase};
pub use worker::Trouble;
