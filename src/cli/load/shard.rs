//! Which shard this process is: from the command line, or from the scheduler that started it.

use anyhow::{Context, Result, anyhow, bail};

use crate::{cli::opts::load::ShardOption, load::Shard};

/// A variable that tells the index, and those that tell the number of shards.
struct Scheduler {
    index: &'static str,
    /// What the lowest index is subtracted from the index, where it is not `first`.
    lowest: Option<&'static str>,
    first: u32,
    count: &'static [&'static str],
}

/// In the order in which they are looked for: the innermost scheduler comes first.
const SCHEDULERS: [Scheduler; 4] = [
    // GNU parallel counts from 1 and does not tell how many jobs there are.
    Scheduler { index: "PARALLEL_SEQ", lowest: None, first: 1, count: &["SHARDS"] },
    // A Kubernetes Indexed Job; its manifest has to tell the completions.
    Scheduler { index: "JOB_COMPLETION_INDEX", lowest: None, first: 0, count: &["SHARDS"] },
    Scheduler {
        index: "SLURM_ARRAY_TASK_ID",
        lowest: Some("SLURM_ARRAY_TASK_MIN"),
        first: 0,
        count: &["SHARDS", "SLURM_ARRAY_TASK_COUNT"],
    },
    Scheduler { index: "SLURM_PROCID", lowest: None, first: 0, count: &["SHARDS", "SLURM_NTASKS"] },
];

/// Which shard to start. `variable` tells the value of a variable of the environment.
///
/// # Errors
/// When it is to come from the environment and does not, or does not make sense.
pub(super) fn resolve(
    option: Option<&ShardOption>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Shard> {
    let count = match option {
        None => return Ok(Shard::default()),
        Some(ShardOption::Given(shard)) => {
            let mut shard = shard.clone();
            shard.source = Some("--shard".to_owned());
            return Ok(shard);
        }
        Some(ShardOption::Count(count)) => Some(*count),
        Some(ShardOption::Auto) => None,
    };
    let number = |name: &str| -> Result<Option<u32>> {
        let Some(text) = variable(name) else { return Ok(None) };
        let number = text.trim().parse();
        number.map(Some).map_err(|_| anyhow!("{name} is {text:?} and not a number"))
    };
    let Some(scheduler) = SCHEDULERS.iter().find(|s| variable(s.index).is_some()) else {
        let names = SCHEDULERS.map(|scheduler| scheduler.index).join(", ");
        bail!("--shard needs one of these variables to tell which shard this is: {names}");
    };
    let raw = number(scheduler.index)?.unwrap_or_default();
    let lowest = match scheduler.lowest.map(number).transpose()?.flatten() {
        Some(lowest) => lowest,
        None => scheduler.first,
    };
    let index = raw.checked_sub(lowest).with_context(|| {
        format!("{} is {raw}, less than the lowest index {lowest}", scheduler.index)
    })?;
    let mut told = count.map(|count| (count, "--shard"));
    for name in scheduler.count {
        if told.is_none() {
            told = number(name)?.map(|count| (count, *name));
        }
    }
    let (count, counted_by) = told.with_context(|| {
        format!(
            "{} tells which shard this is, but nothing tells how many there are: write --shard /N, \
             or set {}",
            scheduler.index,
            scheduler.count.join(" or ")
        )
    })?;
    let mut shard = Shard::new(index, count).with_context(|| {
        format!(
            "{} is {raw}, shard {index}, but there are only {count} ({counted_by})",
            scheduler.index
        )
    })?;
    shard.source = Some(format!("{} and {counted_by}", scheduler.index));
    Ok(shard)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(option: ShardOption, variables: &[(&str, &str)]) -> Result<Shard> {
        resolve(Some(&option), |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn auto(variables: &[(&str, &str)]) -> (u32, u32, String) {
        let shard = resolved(ShardOption::Auto, variables).unwrap();
        (shard.index, shard.count, shard.source.unwrap())
    }

    #[test]
    fn every_scheduler_is_understood() {
        for (variables, index, count, source) in [
            (
                &[("JOB_COMPLETION_INDEX", "3"), ("SHARDS", "4")][..],
                3,
                4,
                "JOB_COMPLETION_INDEX and SHARDS",
            ),
            (
                &[
                    ("SLURM_ARRAY_TASK_ID", "12"),
                    ("SLURM_ARRAY_TASK_MIN", "10"),
                    ("SLURM_ARRAY_TASK_COUNT", "4"),
                    // Within a task of an array, there is one process.
                    ("SLURM_PROCID", "0"),
                    ("SLURM_NTASKS", "1"),
                ],
                2,
                4,
                "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT",
            ),
            (
                &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "2")],
                0,
                2,
                "SLURM_PROCID and SLURM_NTASKS",
            ),
            (&[("PARALLEL_SEQ", "1"), ("SHARDS", "2")], 0, 2, "PARALLEL_SEQ and SHARDS"),
        ] {
            assert_eq!(auto(variables), (index, count, source.to_owned()), "{variables:?}");
        }
    }

    #[test]
    fn the_command_line_comes_first() {
        let given = ShardOption::Given(Shard::new(1, 3).unwrap());
        let shard = resolved(given, &[("PARALLEL_SEQ", "1")]).unwrap();
        assert_eq!((shard.index, shard.count), (1, 3));
        let variables = [("PARALLEL_SEQ", "2"), ("SHARDS", "9")];
        let shard = resolved(ShardOption::Count(5), &variables).unwrap();
        assert_eq!((shard.index, shard.count), (1, 5));
        assert_eq!(resolve(None, |_| Some("7".into())).unwrap(), Shard::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (variables, says) in [
            (&[][..], "needs one of these variables"),
            (&[("JOB_COMPLETION_INDEX", "0")], "write --shard /N, or set SHARDS"),
            (&[("JOB_COMPLETION_INDEX", "4"), ("SHARDS", "4")], "there are only 4 (SHARDS)"),
            (&[("PARALLEL_SEQ", "0"), ("SHARDS", "4")], "less than the lowest index 1"),
            (&[("PARALLEL_SEQ", "one"), ("SHARDS", "4")], "PARALLEL_SEQ is \"one\""),
            (&[("PARALLEL_SEQ", "1"), ("SHARDS", "0")], "there are only 0 (SHARDS)"),
        ] {
            let error = resolved(ShardOption::Auto, variables).unwrap_err().to_string();
            assert!(error.contains(says), "{variables:?}: {error}");
        }
    }
}
