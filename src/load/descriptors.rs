//! The limit of open files: raised as far as the process may, and checked before the load starts.

use std::fs::File;

use rustix::{
    io::fcntl_dupfd_cloexec,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// Open files of the process besides its connections: standard streams, event queues, output files.
pub(crate) const RESERVE: u64 = 64;

/// More processes than this would be busy with themselves.
const MOST_PROCESSES: u32 = 64;

/// The plan needs more open files than this process can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this run needs {needed} open files and the limit of this process is {limit}, {} too few: raise \
     it with 'ulimit -Hn {needed}; ulimit -n {needed}' (as root, or nofile in \
     /etc/security/limits.conf), or use at most -C {most}",
    needed - limit
)]
#[non_exhaustive]
pub struct TooFewDescriptors {
    /// Open files that the plan needs.
    pub needed: u64,
    /// The hard limit.
    pub limit: u64,
    /// The largest number of clients that fits into the limit.
    pub most: u64,
}

/// Open files of a process with `clients` connections of `per_client` descriptors.
pub(crate) fn needed(clients: u32, per_client: u64) -> u64 {
    u64::from(clients) * per_client + RESERVE
}

/// Raises the soft limit to the hard one where `clients` connections of `per_client` descriptors
/// need it, and returns the limit in force; `u64::MAX` when there is none.
///
/// # Errors
/// [`TooFewDescriptors`] when the hard limit is too low as well.
pub(crate) fn provide(clients: u32, per_client: u64) -> Result<u64, TooFewDescriptors> {
    let needed = needed(clients, per_client);
    let limits = getrlimit(Resource::Nofile);
    let soft = limits.current.unwrap_or(u64::MAX);
    if soft >= needed {
        return Ok(soft);
    }
    let raised = Rlimit { current: limits.maximum, maximum: limits.maximum };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum.unwrap_or(u64::MAX),
        Err(_) => soft,
    };
    if limit >= needed {
        return Ok(limit);
    }
    let most = limit.saturating_sub(RESERVE) / per_client.max(1);
    Err(TooFewDescriptors { needed, limit, most })
}

/// Makes the kernel's table of open files large enough for `count` of them, as far as it lets us.
///
/// The table doubles whenever it is full, and in a process of several threads the one whose file did
/// not fit waits until every processor has passed through the scheduler. In a run of 10,000
/// connections the longest of these waits took 20 to 40 ms.
pub(crate) fn make_room(count: u64) {
    let Some(last) = count.checked_sub(1).and_then(|last| i32::try_from(last).ok()) else { return };
    // Where it fails, the run reports its stalls itself.
    if let Ok(file) = File::open("/dev/null") {
        drop(fcntl_dupfd_cloexec(&file, last));
    }
}

/// How many processes `clients` connections of `per_client` descriptors have to be dealt to, so that
/// each fits into the hard limit.
///
/// # Errors
/// [`TooFewDescriptors`] when that would be more than [`MOST_PROCESSES`].
pub(crate) fn processes(clients: u32, per_client: u64) -> Result<u32, TooFewDescriptors> {
    let limits = getrlimit(Resource::Nofile);
    let limit = limits.maximum.or(limits.current).unwrap_or(u64::MAX);
    processes_within(limit, clients, per_client)
}

fn processes_within(limit: u64, clients: u32, per_client: u64) -> Result<u32, TooFewDescriptors> {
    let each = limit.saturating_sub(RESERVE) / per_client.max(1);
    let needed = needed(clients, per_client);
    let most = each.saturating_mul(MOST_PROCESSES.into());
    if each == 0 || most < clients.into() {
        return Err(TooFewDescriptors { needed, limit, most });
    }
    Ok(u64::from(clients).div_ceil(each).try_into().unwrap_or(MOST_PROCESSES).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_says_by_how_much_and_what_to_do() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let Some(hard) = hard.filter(|&hard| hard < u64::from(u32::MAX)) else {
            return;
        };
        let error = provide(u32::MAX, 1).unwrap_err();
        assert_eq!((error.limit, error.most), (hard, hard - RESERVE));
        let text = error.to_string();
        let needed = u64::from(u32::MAX) + RESERVE;
        assert!(text.contains(&format!("{} too few", needed - hard)), "{text}");
        assert!(text.contains(&format!("ulimit -Hn {needed}")), "{text}");
        let embedded = provide(u32::MAX, 2).unwrap_err();
        assert_eq!(embedded.most, (hard - RESERVE) / 2);
    }

    #[test]
    fn clients_are_dealt_to_as_many_processes_as_they_need() {
        assert_eq!(processes_within(20_000, 19_936, 1), Ok(1));
        assert_eq!(processes_within(20_000, 19_937, 1), Ok(2));
        assert_eq!(processes_within(20_000, 100_000, 1), Ok(6));
        assert_eq!(processes_within(20_000, 100_000, 2), Ok(11));
        assert_eq!(processes_within(u64::MAX, u32::MAX, 2), Ok(1));
        let error = processes_within(100, 10_000, 1).unwrap_err();
        assert_eq!((error.needed, error.most), (10_064, 36 * 64));
        assert!(processes_within(60, 1, 1).is_err());
    }

    #[test]
    fn the_table_has_room_before_the_connections_come() {
        let room = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
            size.trim().parse::<u64>().unwrap()
        };
        let count = room() * 2 + 1;
        if provide(u32::try_from(count).unwrap(), 1).is_ok() {
            make_room(count);
            assert!(room() >= count, "{} of {count}", room());
        }
    }

    #[test]
    fn a_small_run_fits() {
        assert!(provide(1, 2).unwrap() >= 66);
    }
}
