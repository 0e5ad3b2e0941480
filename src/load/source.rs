//! Which local addresses the connections come from: single addresses and whole networks.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Local addresses to connect from, such as `10.0.0.5`, `10.0.0.5,10.0.0.6` or `127.0.0.0/8`.
///
/// Of an IPv4 network the first and the last address, which belong to no host, are left out. The
/// addresses have to be this machine's own; on the loopback interface of Linux all of `127.0.0.0/8`
/// are.
///
/// ```
/// use midge::load::Sources;
///
/// let sources: Sources = "10.0.0.5,10.9.0.0/30".parse()?;
/// assert_eq!(sources.len(), 3);
/// assert_eq!(sources.get(1), Some([10, 9, 0, 1].into()));
/// # Ok::<(), midge::load::SourceError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sources {
    ranges: Vec<Range>,
}

/// Addresses that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: IpAddr,
    count: u64,
}

/// Why a text names no local addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It is neither an address nor a network.
    #[error("{0:?} is not an address such as 10.0.0.5, nor a network such as 10.0.0.0/24")]
    NotAnAddress(String),
    /// The number behind the slash is too large.
    #[error("a prefix of {prefix} is longer than an address of {family}, which has {most} bits")]
    PrefixTooLong {
        /// What was given.
        prefix: u8,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The longest prefix there is.
        most: u8,
    },
}

impl Sources {
    /// All addresses of the IPv4 loopback network.
    pub(super) fn loopback() -> Self {
        let first = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { ranges: vec![Range { first, count: (1 << 24) - 2 }] }
    }

    /// One address.
    pub(super) fn one(address: IpAddr) -> Self {
        Self { ranges: vec![Range { first: address, count: 1 }] }
    }

    /// How many addresses there are.
    pub fn len(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.count))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The address with this number.
    pub fn get(&self, mut number: u64) -> Option<IpAddr> {
        for range in &self.ranges {
            if number < range.count {
                return Some(range.get(number));
            }
            number -= range.count;
        }
        None
    }

    /// Those of one family.
    pub(super) fn of_family(&self, ipv4: bool) -> Self {
        let ranges = self.ranges.iter().filter(|range| range.first.is_ipv4() == ipv4);
        Self { ranges: ranges.copied().collect() }
    }
}

impl Range {
    fn get(&self, number: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + number as u32).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(number)).into(),
        }
    }
}

impl FromStr for Range {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = || SourceError::NotAnAddress(text.to_owned());
        let Some((address, prefix)) = text.split_once('/') else {
            return Ok(Self { first: text.parse().map_err(|_| wrong())?, count: 1 });
        };
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => {
                let (family, most) = ("IPv4", 32);
                let host_bits = u32::from(most)
                    .checked_sub(prefix.into())
                    .ok_or(SourceError::PrefixTooLong { prefix, family, most })?;
                let size = 1u64 << host_bits;
                let network = u64::from(address.to_bits()) & !(size - 1);
                let (skipped, count) = if host_bits >= 2 { (1, size - 2) } else { (0, size) };
                let first = Ipv4Addr::from_bits((network + skipped) as u32);
                Ok(Self { first: first.into(), count })
            }
            IpAddr::V6(address) => {
                let (family, most) = ("IPv6", 128);
                let host_bits = u32::from(most)
                    .checked_sub(prefix.into())
                    .ok_or(SourceError::PrefixTooLong { prefix, family, most })?;
                let size = 1u128.checked_shl(host_bits).unwrap_or(0);
                let network = address.to_bits() & !size.wrapping_sub(1);
                let first = Ipv6Addr::from_bits(network);
                // Of a larger network no more than this could ever be used.
                let count = 1u64 << host_bits.min(48);
                Ok(Self { first: first.into(), count })
            }
        }
    }
}

impl FromStr for Sources {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let ranges = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { ranges })
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{}", range.first)?;
            if range.count > 1 {
                write!(f, " to {}", range.get(range.count - 1))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let sources: Sources = text.parse().unwrap();
        (0..sources.len()).map(|number| sources.get(number).unwrap().to_string()).collect()
    }

    #[test]
    fn addresses_and_networks_are_counted_through() {
        assert_eq!(all("127.0.0.1"), ["127.0.0.1"]);
        assert_eq!(all("10.0.0.9,10.9.0.2/30"), ["10.0.0.9", "10.9.0.1", "10.9.0.2"]);
        assert_eq!(all("10.0.0.4/31"), ["10.0.0.4", "10.0.0.5"]);
        assert_eq!(all("10.0.0.4/32"), ["10.0.0.4"]);
        assert_eq!(all("fd00::7/127"), ["fd00::6", "fd00::7"]);
    }

    #[test]
    fn large_networks_are_not_listed() {
        let sources: Sources = "127.0.0.0/8".parse().unwrap();
        assert_eq!(sources, Sources::loopback());
        assert_eq!(sources.get(sources.len() - 1), Some([127, 255, 255, 254].into()));
        assert_eq!(sources.get(sources.len()), None);
        assert_eq!("::/0".parse::<Sources>().unwrap().len(), 1 << 48);
        assert_eq!("0.0.0.0/0".parse::<Sources>().unwrap().len(), (1 << 32) - 2);
        assert_eq!(sources.to_string(), "127.0.0.1 to 127.255.255.254");
    }

    #[test]
    fn families_are_kept_apart() {
        let sources: Sources = "::1,127.0.0.1".parse().unwrap();
        assert_eq!(sources.of_family(true).get(0), Some([127, 0, 0, 1].into()));
        assert_eq!(sources.of_family(false).len(), 1);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "localhost", "10.0.0.1,", "10.0.0.1/", "10.0.0.1/x", "10.0.0/8"] {
            assert!(matches!(text.parse::<Sources>(), Err(SourceError::NotAnAddress(_))), "{text}");
        }
        for text in ["10.0.0.1/33", "::/129"] {
            let error = text.parse::<Sources>().unwrap_err();
            assert!(matches!(error, SourceError::PrefixTooLong { .. }), "{text}");
        }
    }
}
