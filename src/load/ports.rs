//! Local ports, chosen here instead of by the kernel.
//!
//! `connect` looks for a free port among those of one parity first; once these are used up, after
//! half of `net.ipv4.ip_local_port_range` per address, it searches through all of them each time: 16
//! µs become 1.2 ms (measured on Linux 6.18, 19,000 connections from one address). What was meant as
//! a measurement of the broker then measures this search. So a load that needs more than a part of
//! the range gives every connection its address and port itself.
//!
//! A port that some socket is bound to, on whatever address, is never chosen by the kernel for
//! another one: a load that took them all would keep every other program of the machine from
//! connecting to anything. So the ports outside the kernel's range come first, and on the loopback
//! interface, where there are addresses enough, no others are used.
//!
//! A port that was used rests behind all others: its last connection may be in TIME_WAIT.

use std::{
    collections::VecDeque,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
};

use super::{Sources, StartError, host};

/// No port was chosen.
pub(super) const UNCHOSEN: u32 = u32::MAX;
/// What Linux has where it does not say.
const DEFAULT_RANGE: RangeInclusive<u16> = 32_768..=60_999;
/// Ports below are for servers.
const LOWEST_PORT: u16 = 1_024;
/// Ports below are often those of servers that anybody may start.
const LOWEST_CALM_PORT: u16 = 10_000;

/// The local addresses and ports of a whole load.
#[derive(Debug)]
pub(super) struct PortPlan {
    /// In the order in which they are used.
    ports: Vec<u16>,
    addresses: Vec<IpAddr>,
}

/// This load needs more local ports than there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this run needs {needed} local ports and {addresses} of them have {available}, {} too few: \
     name more addresses of this machine with --bind ADDRESS,ADDRESS or --bind NETWORK/PREFIX, or \
     use at most -C {available}",
    needed - available
)]
#[non_exhaustive]
pub struct TooFewPorts {
    /// Local ports that the plan needs: one for each client.
    pub needed: u64,
    /// Ports there are, over all source addresses.
    pub available: u64,
    /// The source addresses, in words.
    pub addresses: String,
}

impl PortPlan {
    /// The ports for `clients` connections to `targets`; `None` when the kernel may choose them.
    ///
    /// `sources` are the addresses that the user named. Without any, connections to the loopback
    /// interface come from as many of its addresses as it takes, and others from whatever address
    /// the route to the target has. The seed says where in the range to begin, so that several
    /// loads on one machine rarely want the same ports.
    pub(super) fn new(
        sources: &Sources,
        targets: &[SocketAddr],
        clients: u32,
        seed: u32,
    ) -> Result<Option<Self>, StartError> {
        let Some(target) = targets.first() else { return Ok(None) };
        let range = port_range();
        if sources.is_empty() && clients <= easy(&range) {
            return Ok(None);
        }
        let (mut ports, calm) = usable_ports(&range, &reserved_ports(), seed);
        let loopback = targets.iter().all(|target| is_loopback(target.ip()) && target.is_ipv4());
        let as_needed = sources.is_empty() && loopback;
        let sources = if !sources.is_empty() {
            sources.of_family(target.is_ipv4())
        } else if loopback {
            Sources::loopback()
        } else if target.is_ipv4() {
            Sources::one(Ipv4Addr::UNSPECIFIED.into())
        } else {
            Sources::one(Ipv6Addr::UNSPECIFIED.into())
        };
        let count = if as_needed {
            if calm > 0 {
                ports.truncate(calm);
            }
            u64::from(clients).div_ceil((ports.len() as u64).max(1))
        } else {
            sources.len().min(u64::from(clients))
        };
        if sources.is_empty() {
            return Err(StartError::NoSource { target: *target });
        }
        let available = sources.len().saturating_mul(ports.len() as u64);
        if available < u64::from(clients) {
            let needed = clients.into();
            let addresses = match sources.get(0) {
                Some(ip) if ip.is_unspecified() => "the one source address".to_owned(),
                _ => format!("the {} source addresses ({sources})", sources.len()),
            };
            return Err(TooFewPorts { needed, available, addresses }.into());
        }
        let addresses = (0..count).filter_map(|number| sources.get(number)).collect();
        Ok(Some(Self { ports, addresses }))
    }

    /// Whether the addresses, as far as a few of them tell, are this machine's.
    pub(super) fn check(&self) -> Result<(), StartError> {
        const CHECKED: usize = 64;
        for address in self.addresses.iter().take(CHECKED).chain(self.addresses.last()) {
            let bound = std::net::TcpListener::bind(SocketAddr::new(*address, 0));
            bound.map_err(|source| StartError::Source { address: *address, source })?;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.ports.len() as u64 * self.addresses.len() as u64
    }

    fn get(&self, number: u32) -> Option<SocketAddr> {
        let count = self.addresses.len().max(1);
        let (port, address) = (number as usize / count, number as usize % count);
        Some(SocketAddr::new(*self.addresses.get(address)?, *self.ports.get(port)?))
    }
}

/// One worker's share of the ports: every `stride`th of the [`PortPlan`].
#[derive(Debug)]
pub(super) struct Ports {
    plan: Arc<PortPlan>,
    next: u64,
    stride: u64,
    /// Those that were given back, the longest ago first.
    rested: VecDeque<u32>,
}

impl Ports {
    pub(super) fn new(plan: Arc<PortPlan>, first: u32, stride: u32) -> Self {
        Self { plan, next: first.into(), stride: stride.into(), rested: VecDeque::new() }
    }

    /// A local address and port that no connection of this load has, and their number.
    pub(super) fn take(&mut self) -> Option<(u32, SocketAddr)> {
        if self.next < self.plan.len() {
            let number = u32::try_from(self.next).ok()?;
            self.next += self.stride;
            return Some((number, self.plan.get(number)?));
        }
        let number = self.rested.pop_front()?;
        Some((number, self.plan.get(number)?))
    }

    /// Gives a port back whose connection is closed.
    pub(super) fn give_back(&mut self, number: u32) {
        if number != UNCHOSEN {
            self.rested.push_back(number);
        }
    }
}

/// How many connections from one address to one target the kernel finds ports for easily: a part of
/// those of one parity, since other programs use some, too.
fn easy(range: &RangeInclusive<u16>) -> u32 {
    range.len() as u32 * 9 / 20
}

/// The ports to use, and how many of them, at the front, are nobody else's business: those outside
/// the kernel's range that no server is likely to have.
fn usable_ports(
    range: &RangeInclusive<u16>,
    reserved: &[RangeInclusive<u16>],
    seed: u32,
) -> (Vec<u16>, usize) {
    let is_free = |port: &u16| !reserved.iter().any(|reserved| reserved.contains(port));
    let all = || (LOWEST_PORT..=u16::MAX).filter(is_free);
    let outside = |port: &u16| !range.contains(port);
    let mut ports: Vec<_> =
        all().filter(outside).filter(|port| *port >= LOWEST_CALM_PORT).collect();
    let calm = ports.len();
    // Several loads on one machine begin at different places.
    ports.rotate_left(seed as usize % calm.max(1));
    ports.extend(all().filter(outside).filter(|port| *port < LOWEST_CALM_PORT).rev());
    ports.extend(all().filter(|port| range.contains(port)));
    (ports, calm)
}

/// The ports that the kernel chooses from.
pub(super) fn port_range() -> RangeInclusive<u16> {
    let told = host::port_range().filter(|(low, high)| low <= high);
    told.map_or(DEFAULT_RANGE, |(low, high)| low..=high)
}

/// How many ports each address has for a load.
pub(super) fn usable_count() -> usize {
    usable_ports(&port_range(), &reserved_ports(), 0).0.len()
}

fn reserved_ports() -> Vec<RangeInclusive<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
    parse_reserved(&text.unwrap_or_default())
}

/// Reads a list such as `8080,9000-9010`.
fn parse_reserved(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |word: &str| {
        let (low, high) = word.split_once('-').unwrap_or((word, word));
        Some(low.parse().ok()?..=high.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).collect()
}

/// Whether the addresses of the targets are this machine's loopback interface.
fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);

    fn remote() -> SocketAddr {
        ([192, 0, 2, 1], 1883).into()
    }

    fn plan(sources: &str, target: SocketAddr, clients: u32) -> Option<PortPlan> {
        let sources =
            if sources.is_empty() { Sources::default() } else { sources.parse().unwrap() };
        PortPlan::new(&sources, &[target], clients, 7).unwrap()
    }

    #[test]
    fn the_kernel_chooses_for_small_loads() {
        assert!(plan("", LOCAL, 10_000).is_none());
        assert!(plan("", remote(), 10_000).is_none());
        assert!(plan("127.0.0.9", LOCAL, 1).is_some(), "the user named an address");
    }

    #[test]
    fn loopback_takes_as_many_addresses_as_it_needs() {
        let plan = plan("", LOCAL, 100_000).unwrap();
        let range = port_range();
        assert!((2..8).contains(&plan.addresses.len()), "{}", plan.addresses.len());
        let mut ports = Ports::new(Arc::new(plan), 0, 1);
        let taken: HashSet<_> = (0..100_000).map(|_| ports.take().unwrap().1).collect();
        assert_eq!(taken.len(), 100_000);
        // Those of the kernel's range are left to other programs.
        assert!(taken.iter().all(|local| !range.contains(&local.port())));
    }

    #[test]
    fn named_addresses_are_all_used() {
        let plan = plan("127.0.0.0/28", LOCAL, 1_000).unwrap();
        assert_eq!(plan.addresses.len(), 14);
        let mut ports = Ports::new(Arc::new(plan), 0, 1);
        let taken: HashSet<_> = (0..14).map(|_| ports.take().unwrap().1.ip()).collect();
        assert_eq!(taken.len(), 14);
    }

    #[test]
    fn shares_do_not_overlap() {
        let plan = Arc::new(plan("127.0.0.1", LOCAL, 1_000).unwrap());
        let mut taken = HashSet::new();
        for first in 0..3 {
            let mut ports = Ports::new(Arc::clone(&plan), first, 3);
            taken.extend((0..1_000).map(|_| ports.take().unwrap().1));
        }
        assert_eq!(taken.len(), 3_000);
    }

    #[test]
    fn what_was_given_back_comes_last_and_oldest_first() {
        let plan = PortPlan { ports: vec![5, 6, 7, 8], addresses: vec![LOCAL.ip()] };
        let mut ports = Ports::new(Arc::new(plan), 0, 1);
        let mut take = |back: &[u32]| {
            back.iter().for_each(|&number| ports.give_back(number));
            ports.take().map(|(number, local)| (number, local.port()))
        };
        assert_eq!((take(&[]), take(&[])), (Some((0, 5)), Some((1, 6))));
        assert_eq!(take(&[1, 0]), Some((2, 7)));
        assert_eq!((take(&[]), take(&[])), (Some((3, 8)), Some((1, 6))));
        assert_eq!((take(&[UNCHOSEN]), take(&[])), (Some((0, 5)), None));
    }

    #[test]
    fn too_few_ports_are_told_with_what_helps() {
        let sources = "127.0.0.1".parse().unwrap();
        let error = PortPlan::new(&sources, &[LOCAL], 70_000, 0).unwrap_err();
        let StartError::Ports(error) = error else { panic!("{error:?}") };
        assert_eq!(error.needed, 70_000);
        assert!((60_000..=64_512).contains(&error.available), "{error:?}");
        assert!(error.to_string().contains("--bind"), "{error}");
        assert!(PortPlan::new(&Sources::default(), &[remote()], 70_000, 0).is_err());
        let other = PortPlan::new(&sources, &["[::1]:1883".parse().unwrap()], 1, 0).unwrap_err();
        assert!(matches!(other, StartError::NoSource { .. }), "{other:?}");
    }

    #[test]
    fn reserved_ports_are_left_out() {
        let reserved = parse_reserved("8080,32770-32772\n");
        assert_eq!(reserved, [8080..=8080, 32_770..=32_772]);
        assert_eq!(parse_reserved("\n"), []);
        let (ports, calm) = usable_ports(&(32_768..=60_999), &reserved, 0);
        assert_eq!(ports[..2], [10_000, 10_001]);
        assert_eq!(calm, (32_768 - 10_000) + (65_536 - 61_000));
        assert_eq!(ports.len(), 65_536 - 1_024 - 4);
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        assert!(!ports.contains(&8080) && ports.contains(&1_024) && ports.contains(&65_535));
        assert!(ports[..calm].iter().all(|port| !(32_768..=60_999).contains(port)));
        assert_eq!(usable_ports(&(32_768..=60_999), &[], 3).0[0], 10_003);
        // Where the kernel may choose any, none is left to it.
        let (all, calm) = usable_ports(&(1_024..=65_535), &[], 9);
        assert_eq!((all.len(), calm), (64_512, 0));
    }
}
