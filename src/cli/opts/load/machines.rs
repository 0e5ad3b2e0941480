//! Several machines that share one plan.

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use crate::{cli::opts::value, load::Shard, net::Endpoint};

/// Options about several machines that share one plan.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Many machines")]
pub struct MachineOptions {
    /// Start shard I of N: those of the COUNT clients whose index leaves the remainder I when
    /// divided by N. With 'auto', I and N come from the scheduler: JOB_COMPLETION_INDEX (and
    /// SHARDS), SLURM_ARRAY_TASK_ID, SLURM_PROCID, or PARALLEL_SEQ (and SHARDS). With I missing,
    /// as in /N, only I does.
    #[arg(long, value_name = "I/N|/N|auto", value_parser = shard)]
    pub shard: Option<ShardOption>,

    /// Start the first client at this instant: RFC 3339, such as 2030-01-31T12:00:00Z, or a time
    /// from now, such as +30s.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    #[arg(conflicts_with = "barrier")]
    pub start_at: Option<Timestamp>,

    /// Start together with the other shards: the URL of a broker, with a topic, over which they
    /// find each other. Shard 0 publishes the instant once all of them are there.
    #[arg(long, value_name = "URL", value_parser = value::hidden(value::tool_url))]
    pub barrier: Option<Endpoint>,

    /// Start even though the clock of this machine is not synchronised.
    #[arg(long)]
    pub force: bool,
}

/// Which shard to start, as far as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardOption {
    /// Both numbers.
    Given(Shard),
    /// How many there are.
    Count(u32),
    /// Neither.
    Auto,
}

fn shard(text: &str) -> Result<ShardOption, String> {
    let wrong = || "must be I/N with I from 0 to N-1, or /N, or auto".to_owned();
    if text == "auto" {
        return Ok(ShardOption::Auto);
    }
    let (index, count) = text.split_once('/').ok_or_else(wrong)?;
    let count: u32 = count.parse().map_err(|_| wrong())?;
    if index.is_empty() && count > 0 {
        return Ok(ShardOption::Count(count));
    }
    let index = index.parse().map_err(|_| wrong())?;
    Shard::new(index, count).map(ShardOption::Given).ok_or_else(wrong)
}

fn instant(text: &str) -> Result<Timestamp, String> {
    if let Some(from_now) = text.strip_prefix('+') {
        let wait = SignedDuration::try_from(value::duration(from_now)?);
        return wait
            .ok()
            .and_then(|wait| Timestamp::now().checked_add(wait).ok())
            .ok_or_else(|| "must not be that far away".to_owned());
    }
    text.parse().map_err(|_| {
        "must be an instant such as 2030-01-31T12:00:00Z, or a time from now such as +30s"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_counted_from_zero() {
        let given = |index, count| Ok(ShardOption::Given(Shard::new(index, count).unwrap()));
        assert_eq!(shard("0/1"), given(0, 1));
        assert_eq!(shard("3/4"), given(3, 4));
        assert_eq!(shard("/4"), Ok(ShardOption::Count(4)));
        assert_eq!(shard("auto"), Ok(ShardOption::Auto));
        for wrong in ["", "4/4", "1", "/0", "0/0", "-1/4", "1/x", "a/4", "1/2/3", "1.5/4"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants_are_absolute_or_from_now() {
        let at = instant("2030-01-31T12:00:00Z").unwrap();
        assert_eq!(at.to_string(), "2030-01-31T12:00:00Z");
        assert_eq!(instant("2030-01-31T13:00:00+01:00"), Ok(at));
        let wait = Timestamp::now().duration_until(instant("+1h").unwrap());
        assert!((3_590..=3_600).contains(&wait.as_secs()), "{wait}");
        for wrong in ["", "now", "12:00", "+", "+x", "-5s", "2030-01-31T12:00:00", "+1000000000d"] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }
}
