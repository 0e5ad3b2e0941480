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
//! use midge::{codec::Version, load::{self, Plan, Profile, Target}, session::Config};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), load::StartError> {
//! let mut plan = Plan::new(Target::Embedded, Config::new(Version::V311));
//! plan.clients = 100;
//! plan.profile = Profile::interval(Duration::ZERO);
//! plan.hold = Some(Duration::ZERO);
//! let report = load::run(plan, future::pending(), |_| {}).await?;
//! assert_eq!(report.totals.connected, 100);
//! # Ok(())
//! # }
//! ```

mod alarm;
mod client;
mod compare;
mod descriptors;
mod failure;
mod host;
mod identity;
mod life;
mod locate;
mod merge;
mod pace;
mod plan;
mod poller;
mod ports;
mod preflight;
mod ready;
mod report;
mod route;
mod run;
mod shard;
mod sink;
mod slab;
mod slo;
mod source;
mod stats;
mod template;
mod traffic;
mod verdict;
mod wheel;
mod worker;

pub use compare::{Change, Comparison, PhaseComparison, Shift};
pub use descriptors::TooFewDescriptors;
pub use failure::FailureClass;
pub use identity::{Account, Identity, Seed};
pub use life::{Comeback, Life, Storm};
pub use merge::{Lost, MergeError, PartName};
pub use pace::{Profile, ProfileError};
#[cfg(feature = "tls")]
pub use plan::ClientTls;
pub use plan::{Plan, PlanError, StartError, Target};
pub use ports::TooFewPorts;
pub use preflight::Provision;
pub use report::{
    Ceiling, Distribution, DistributionError, ErrorRow, Host, Latencies, Outcome, Part, PlanFacts,
    Rate, ReadReportError, Report, Run, SCHEMA, Second, TargetFacts, Totals,
};
pub use run::{Interval, Progress, Update, run};
pub use shard::Shard;
pub use sink::Sink;
pub use slo::{Slo, SloError, SloRow};
pub use source::{SourceError, Sources};
pub use stats::{Counts, Phase};
pub use template::{Template, TemplateError};
pub use traffic::{Publishing, Subscribing, Traffic};
pub use verdict::{Judgement, Limit, State};
pub use worker::Trouble;
