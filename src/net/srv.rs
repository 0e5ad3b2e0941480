//! DNS SRV records (RFC 2782): the servers of a domain, in the order in which to try them.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;

use super::{ConnectError, ConnectOptions, Endpoint, Scheme};

/// Treats the host of an endpoint as a domain, whose DNS names its brokers.
///
/// The records looked up are `_mqtt._tcp.DOMAIN`, or `_secure-mqtt._tcp.DOMAIN` for `mqtts`. They give
/// the port, too. A server's certificate must be for the domain and not for the host that DNS answered,
/// since that answer can be forged (RFC 6125 §6.2.1).
#[derive(Debug, Clone, Default)]
pub struct SrvLookup {
    name_server: Option<SocketAddr>,
}

impl SrvLookup {
    /// Asks the name servers that the operating system is configured for.
    pub fn system() -> SrvLookup {
        SrvLookup::default()
    }

    /// Asks this name server.
    pub fn with_name_server(name_server: SocketAddr) -> SrvLookup {
        SrvLookup { name_server: Some(name_server) }
    }

    /// Returns the addresses of all servers, at least one.
    pub(super) async fn lookup(
        &self,
        endpoint: &Endpoint,
        options: &ConnectOptions,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let service = match endpoint.scheme() {
            Scheme::Mqtt => "_mqtt._tcp",
            Scheme::Mqtts => "_secure-mqtt._tcp",
            scheme => {
                let needs = "a port instead of an SRV lookup, which is for mqtt:// and mqtts://";
                return Err(ConnectError::Unsupported { scheme, needs });
            }
        };
        let name = format!("{service}.{}.", endpoint.host().trim_end_matches('.'));
        let failure = |source| ConnectError::Resolve { host: name.clone(), source };
        let records = self.records(&name).await.map_err(failure)?;

        let mut addrs: Vec<SocketAddr> = Vec::new();
        let mut last_error = None;
        for record in in_order(records, random_below).into_iter().take(MAX_TARGETS) {
            let target = record.target.to_ascii();
            match options.resolver.lookup(target.trim_end_matches('.'), record.port).await {
                Ok(found) => addrs.extend(found),
                Err(source) => last_error = Some(ConnectError::Resolve { host: target, source }),
            }
        }
        if !addrs.is_empty() {
            return Ok(addrs);
        }
        Err(last_error.unwrap_or_else(|| {
            failure(io::Error::new(io::ErrorKind::NotFound, "the domain has no MQTT service"))
        }))
    }

    async fn records(&self, name: &str) -> io::Result<Vec<SRV>> {
        let builder = match self.name_server {
            None => TokioResolver::builder_tokio().map_err(io::Error::other)?,
            Some(addr) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.into_iter().map(|mut connection| {
                    connection.port = addr.port();
                    connection
                });
                let server = NameServerConfig::new(addr.ip(), true, connections.collect());
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let resolver = builder.build().map_err(io::Error::other)?;
        let answer = resolver.srv_lookup(name).await.map_err(io::Error::other)?;
        let records = answer.answers().iter().filter_map(|record| match &record.data {
            // The target "." says that there is no such service.
            RData::SRV(srv) if !srv.target.is_root() => Some(srv.clone()),
            _ => None,
        });
        Ok(records.collect())
    }
}

/// Orders records by priority and, among equals, by a random choice that follows their weights.
fn in_order(mut records: Vec<SRV>, mut random_below: impl FnMut(u64) -> u64) -> Vec<SRV> {
    // Those of weight 0 come first, which gives them their small chance (RFC 2782).
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let equals = || records.iter().take_while(|record| record.priority == priority);
        let total: u64 = equals().map(|record| u64::from(record.weight)).sum();
        let mut left = random_below(total + 1);
        let chosen = equals().position(|record| {
            let is_chosen = left <= u64::from(record.weight);
            left = left.saturating_sub(u64::from(record.weight));
            is_chosen
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

/// A random number to spread load by, which need not be unpredictable.
fn random_below(bound: u64) -> u64 {
    RandomState::new().hash_one(()) % bound.max(1)
}

/// A domain can name very many servers, each of which costs a lookup.
const MAX_TARGETS: usize = 16;

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Name;

    use super::*;

    fn record(priority: u16, weight: u16, port: u16) -> SRV {
        SRV::new(priority, weight, port, Name::root())
    }

    fn ports(records: &[SRV]) -> Vec<u16> {
        records.iter().map(|record| record.port).collect()
    }

    #[test]
    fn priority_goes_before_weight() {
        let records = || vec![record(2, 9, 1), record(1, 0, 2), record(1, 3, 3), record(0, 0, 4)];
        assert_eq!(ports(&in_order(records(), |_| 0)), [4, 2, 3, 1]);
        assert_eq!(ports(&in_order(records(), |bound| bound - 1)), [4, 3, 2, 1]);
        assert!(in_order(Vec::new(), random_below).is_empty());
    }

    #[test]
    fn weights_are_chances() {
        let mut first = [0; 3];
        for draw in 0..101 {
            let mut draws = [draw, 0, 0].into_iter();
            let records = vec![record(0, 10, 0), record(0, 20, 1), record(0, 70, 2)];
            let ordered = in_order(records, |bound| draws.next().unwrap_or(0).min(bound - 1));
            first[usize::from(ordered[0].port)] += 1;
        }
        assert_eq!(first, [11, 20, 70]);
    }
}
