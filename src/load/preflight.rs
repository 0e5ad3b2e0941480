//! What a load needs of this machine, and what this machine has: open files, local ports, memory and
//! the kernel's tables, each with the commands that raise it.

use std::{fs, path::PathBuf};

use rustix::process::{Resource, getrlimit};

use super::{Plan, Target, descriptors, ports};

/// Memory that the kernel takes for one end of an idle TCP connection (measured on Linux 6.18: 4.66
/// KiB over all slabs).
const KERNEL_BYTES_PER_SOCKET: u64 = 4_770;
/// Memory that this program takes for an idle client over plain TCP, and over TLS.
const BYTES_PER_CLIENT: u64 = 700;
const BYTES_PER_TLS_CLIENT: u64 = 10_240;
/// Memory for one process of its own.
const BYTES_PER_PROCESS: u64 = 8 << 20;
/// Memory that netfilter takes for a connection that it tracks, on both of its ends.
const TRACKED: &str = "net.netfilter.nf_conntrack_max";

/// One resource of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provision {
    /// What it is.
    pub what: &'static str,
    /// What the load needs of it, in words.
    pub needed: String,
    /// What there is, in words.
    pub available: String,
    /// Whether that is enough.
    pub is_enough: bool,
    /// The command that gives more, where there is one; or what else to do.
    pub remedy: Option<String>,
}

/// The files in which the system tells of itself.
struct System {
    root: PathBuf,
}

impl System {
    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    /// A line such as `MemAvailable:  123 kB`, in bytes.
    fn memory(&self, name: &str) -> Option<u64> {
        let text = self.text("proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }
}

impl Plan {
    /// Looks at what the load needs of this machine, without starting anything.
    ///
    /// Names are not looked up: a target counts as inside this machine when its address says so.
    pub fn provisions(&self) -> Vec<Provision> {
        self.provisions_of(&System { root: PathBuf::from("/") })
    }

    fn provisions_of(&self, system: &System) -> Vec<Provision> {
        let local = match &self.target {
            Target::Embedded => true,
            Target::Brokers(endpoints) => endpoints.iter().all(|endpoint| {
                let address = endpoint.host().parse::<std::net::IpAddr>();
                address.is_ok_and(|address| address.is_loopback()) || endpoint.host() == "localhost"
            }),
        };
        let clients = u64::from(self.share());
        let rows = [
            self.open_files(),
            self.system_files(system, clients),
            self.local_ports(local),
            memory(system, clients, self.bytes_per_client(), local),
            conntrack(system, clients),
            accept_queue(system, self.in_progress.get().into(), local),
            epoll_watches(system, clients * self.descriptors_per_client()),
        ];
        rows.into_iter().flatten().collect()
    }

    fn bytes_per_client(&self) -> u64 {
        let is_tls = match &self.target {
            Target::Embedded => false,
            Target::Brokers(endpoints) => endpoints.iter().any(|it| it.scheme().is_tls()),
        };
        if is_tls { BYTES_PER_TLS_CLIENT } else { BYTES_PER_CLIENT }
    }

    /// The open files of each process.
    fn open_files(&self) -> Option<Provision> {
        let limits = getrlimit(Resource::Nofile);
        let hard = limits.maximum.unwrap_or(u64::MAX);
        let needed = descriptors::needed(self.share(), self.descriptors_per_client());
        let (is_enough, spread) = match self.processes() {
            Ok(1) => (true, String::new()),
            Ok(count) => (true, format!(", so the load runs in {count} processes")),
            Err(_) => (false, String::new()),
        };
        Some(Provision {
            what: "open files",
            needed: needed.to_string(),
            available: format!(
                "{}{spread}",
                if hard == u64::MAX {
                    "no limit".to_owned()
                } else {
                    format!("{hard} for each process")
                }
            ),
            is_enough,
            remedy: (hard < needed).then(|| {
                format!(
                    "ulimit -Hn {needed}; ulimit -n {needed} (as root, or nofile in \
                         /etc/security/limits.conf)"
                )
            }),
        })
    }

    /// The open files of the whole machine.
    fn system_files(&self, system: &System, clients: u64) -> Option<Provision> {
        let text = system.text("proc/sys/fs/file-nr")?;
        let mut words = text.split_whitespace().map(str::parse::<u64>);
        let (used, most) = (words.next()?.ok()?, words.nth(1)?.ok()?);
        let needed = clients * self.descriptors_per_client();
        let free = most.saturating_sub(used);
        let is_enough = free >= needed;
        Some(Provision {
            what: "files of all processes",
            needed: needed.to_string(),
            available: if free > u64::from(u32::MAX) {
                "no limit".to_owned()
            } else {
                free.to_string()
            },
            is_enough,
            remedy: (!is_enough)
                .then(|| format!("sysctl -w fs.file-max={}", used + needed + 10_000)),
        })
    }

    fn local_ports(&self, local: bool) -> Option<Provision> {
        let clients = u64::from(self.share());
        let range = ports::port_range();
        let each = ports::usable_count() as u64;
        let addresses = match (self.sources.len(), local) {
            (0, true) => None,
            (0, false) => Some(1),
            (count, _) => Some(count),
        };
        let available = addresses.map_or(u64::MAX, |count| count.saturating_mul(each));
        let is_enough = available >= clients;
        let range = format!("{} to {}", range.start(), range.end());
        Some(Provision {
            what: "local ports",
            needed: clients.to_string(),
            available: match addresses {
                None => "those of all of 127.0.0.0/8".to_owned(),
                Some(count) => format!(
                    "{available} on {count} source address{}; the kernel's own range is {range}",
                    if count == 1 { "" } else { "es" }
                ),
            },
            is_enough,
            remedy: (!is_enough).then(|| {
                let count = clients.div_ceil(each.max(1));
                format!(
                    "give this machine {count} addresses ('ip addr add ADDRESS/PREFIX dev \
                         DEVICE') and name them with --bind"
                )
            }),
        })
    }
}

fn memory(system: &System, clients: u64, each: u64, local: bool) -> Option<Provision> {
    let free = system.memory("MemAvailable")?;
    let ends = if local { 2 } else { 1 };
    let needed = clients * (each + ends * KERNEL_BYTES_PER_SOCKET) + BYTES_PER_PROCESS;
    let is_enough = free >= needed;
    Some(Provision {
        what: "memory",
        needed: megabytes(needed),
        available: megabytes(free),
        is_enough,
        remedy: (!is_enough).then(|| {
            let most =
                free.saturating_sub(BYTES_PER_PROCESS) / (each + ends * KERNEL_BYTES_PER_SOCKET);
            format!("use at most -C {most}, or spread the clients over several machines (--shard)")
        }),
    })
}

/// Connections that netfilter keeps track of; it drops those of which it has no room for.
fn conntrack(system: &System, clients: u64) -> Option<Provision> {
    let most = system.number("proc/sys/net/netfilter/nf_conntrack_max")?;
    let used = system.number("proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(0);
    let free = most.saturating_sub(used);
    let is_enough = free >= clients;
    Some(Provision {
        what: "tracked connections",
        needed: clients.to_string(),
        available: free.to_string(),
        is_enough,
        remedy: (!is_enough).then(|| format!("sysctl -w {TRACKED}={}", used + clients + 10_000)),
    })
}

/// How many connections may wait to be accepted by a broker on this machine.
fn accept_queue(system: &System, in_progress: u64, local: bool) -> Option<Provision> {
    if !local {
        return None;
    }
    let most = system.number("proc/sys/net/core/somaxconn")?;
    let is_enough = most >= in_progress;
    Some(Provision {
        what: "accept queue of a broker here",
        needed: in_progress.to_string(),
        available: most.to_string(),
        is_enough,
        remedy: (!is_enough)
            .then(|| format!("sysctl -w net.core.somaxconn={in_progress}, or lower --in-progress")),
    })
}

fn epoll_watches(system: &System, sockets: u64) -> Option<Provision> {
    let most = system.number("proc/sys/fs/epoll/max_user_watches")?;
    let is_enough = most >= sockets;
    Some(Provision {
        what: "watched sockets of this user",
        needed: sockets.to_string(),
        available: most.to_string(),
        is_enough,
        remedy: (!is_enough).then(|| format!("sysctl -w fs.epoll.max_user_watches={sockets}")),
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{codec::Version, net::Endpoint, session::Config};

    fn plan(url: &str, clients: u32) -> Plan {
        let target = Target::broker(Endpoint::parse(url).unwrap());
        let mut plan = Plan::new(target, Config::new(Version::V311));
        plan.clients = clients;
        plan
    }

    fn system_at(root: &Path) -> System {
        System { root: root.to_owned() }
    }

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn row(rows: &[Provision], what: &str) -> Provision {
        rows.iter().find(|row| row.what == what).unwrap().clone()
    }

    #[test]
    fn a_small_load_fits_on_this_machine() {
        let rows = plan("mqtt://127.0.0.1", 10).provisions();
        assert!(rows.len() >= 2, "{rows:?}");
        assert!(rows.iter().all(|row| row.is_enough && row.remedy.is_none()), "{rows:?}");
    }

    #[test]
    fn every_shortage_is_told_with_the_command_against_it() {
        let poor = machine(&[
            ("proc/sys/fs/file-nr", "1000\t0\t5000\n"),
            ("proc/meminfo", "MemTotal: 90000 kB\nMemAvailable:   20480 kB\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "8000\n"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "1000\n"),
            ("proc/sys/net/core/somaxconn", "16\n"),
            ("proc/sys/fs/epoll/max_user_watches", "500\n"),
        ]);
        let rows = plan("mqtt://127.0.0.1", 10_000).provisions_of(&system_at(poor.path()));
        for (what, remedy) in [
            ("files of all processes", "sysctl -w fs.file-max=21000"),
            ("memory", "use at most -C"),
            ("tracked connections", "sysctl -w net.netfilter.nf_conntrack_max=21000"),
            ("accept queue of a broker here", "net.core.somaxconn=64"),
            ("watched sockets of this user", "sysctl -w fs.epoll.max_user_watches=10000"),
        ] {
            let row = row(&rows, what);
            assert!(!row.is_enough, "{row:?}");
            assert!(row.remedy.as_ref().unwrap().contains(remedy), "{row:?}");
        }
        assert!(row(&rows, "local ports").is_enough);
    }

    #[test]
    fn one_address_has_so_many_ports() {
        let rows = plan("mqtt://192.0.2.1", 70_000).provisions();
        let ports = row(&rows, "local ports");
        assert!(!ports.is_enough && ports.remedy.unwrap().contains("--bind"));
        assert!(!rows.iter().any(|row| row.what.starts_with("accept queue")));
        let mut two = plan("mqtt://192.0.2.1", 70_000);
        two.sources = "192.0.2.2,192.0.2.3".parse().unwrap();
        assert!(row(&two.provisions(), "local ports").is_enough);
    }

    #[test]
    fn what_the_system_does_not_tell_is_left_out() {
        let silent = machine(&[]);
        let rows = plan("mqtt://127.0.0.1", 10).provisions_of(&system_at(silent.path()));
        assert_eq!(rows.len(), 2, "{rows:?}");
    }
}
