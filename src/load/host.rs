//! What the system tells about this machine and this process. Everything is optional: what Linux
//! tells in `/proc` is not known elsewhere.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Processor time that this process has used since its start.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The resident memory of this process.
pub(crate) fn resident_bytes() -> Option<u64> {
    memory("VmRSS:")
}

/// The part of it that is this process's own: what is mapped from files, such as the program itself,
/// comes in as it is first used, whatever that is for.
pub(crate) fn own_bytes() -> Option<u64> {
    memory("RssAnon:")
}

fn memory(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// TCP segments that this machine has retransmitted since it started.
pub(crate) fn retransmits() -> Option<u64> {
    counter(&fs::read_to_string("/proc/net/snmp").ok()?, "Tcp:", "RetransSegs")
}

/// Those of them that begin a connection: a SYN, or the answer to one, that was not answered in time.
pub(crate) fn syn_retransmits() -> Option<u64> {
    counter(&fs::read_to_string("/proc/net/netstat").ok()?, "TcpExt:", "TCPSynRetrans")
}

/// The value below `name` in a table of a line of names and one of numbers, which both begin with
/// `table`.
fn counter(text: &str, table: &str, name: &str) -> Option<u64> {
    let mut rows = text.lines().filter_map(|line| line.strip_prefix(table));
    let column = rows.next()?.split_whitespace().position(|known| known == name)?;
    rows.next()?.split_whitespace().nth(column)?.parse().ok()
}

/// The lowest and the highest local port that the system chooses by itself.
pub(crate) fn port_range() -> Option<(u16, u16)> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ports = range.split_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

/// The name of this machine, empty when the system does not tell.
pub(crate) fn name() -> String {
    trimmed("/proc/sys/kernel/hostname")
}

/// The name and release of the kernel, empty when the system does not tell.
pub(crate) fn kernel() -> String {
    let (name, release) =
        (trimmed("/proc/sys/kernel/ostype"), trimmed("/proc/sys/kernel/osrelease"));
    format!("{name} {release}").trim().to_owned()
}

fn trimmed(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_everything() {
        let (resident, own) = (resident_bytes().unwrap(), own_bytes().unwrap());
        assert!(100_000 < own && own < resident, "{own} of {resident}");
        assert!(retransmits().is_some());
        assert!(syn_retransmits().is_some());
        assert_eq!(counter("A: x y\nB: y\nA: 1 2\nB: 3\n", "B:", "y"), Some(3));
        let (low, high) = port_range().unwrap();
        assert!(low < high);
        assert!(kernel().starts_with("Linux "), "{}", kernel());
        assert!(!name().is_empty());
        let before = cpu_time();
        std::hint::black_box((0..1_000_000u64).map(std::hint::black_box).sum::<u64>());
        assert!(cpu_time() > before);
    }
}
