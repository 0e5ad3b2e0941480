//! From host names to addresses, in the order in which they are tried.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

/// How host names become addresses.
///
/// The default asks the operating system (`getaddrinfo`), on a thread of its own: a name server that
/// never answers then delays neither the connect timeout nor the end of the program.
#[derive(Clone, Default)]
pub struct Resolver {
    lookup: Option<Arc<Lookup>>,
}

type Lookup = dyn Fn(&str, u16) -> LookupFuture + Send + Sync;
type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

impl Resolver {
    /// Creates a resolver from an asynchronous function of host name and port. It is not asked about
    /// hosts that are IP addresses.
    ///
    /// ```
    /// use midge::net::Resolver;
    ///
    /// let resolver = Resolver::new(|_host, port| async move {
    ///     Ok(vec![([127, 0, 0, 1], port).into(), ([127, 0, 0, 2], port).into()])
    /// });
    /// ```
    pub fn new<F, Fut>(lookup: F) -> Resolver
    where
        F: Fn(String, u16) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let lookup =
            move |host: &str, port| -> LookupFuture { Box::pin(lookup(host.to_owned(), port)) };
        Resolver { lookup: Some(Arc::new(lookup)) }
    }

    /// Returns the addresses of a host, at least one, in the order in which to try them.
    pub(super) async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let addrs = match &self.lookup {
            Some(lookup) => lookup(host, port).await?,
            None => system_lookup(host.to_owned(), port).await?,
        };
        if addrs.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(interleave(addrs))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.lookup.is_some() { "Resolver(custom)" } else { "Resolver(system)" })
    }
}

async fn system_lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new().name("midge-resolve".to_owned()).spawn(move || {
        let addrs = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // The receiver is gone when the connect timeout has passed.
        let _ = answer.send(addrs);
    })?;
    answered.await.unwrap_or_else(|_| Err(io::Error::other("the name lookup thread died")))
}

/// Alternates the address families, beginning with the one the resolver prefers (RFC 8305 §4), and
/// drops repetitions.
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addrs.first().is_some_and(SocketAddr::is_ipv4);
    let mut ordered = Vec::with_capacity(addrs.len());
    let mut preferred = addrs.iter().filter(|addr| addr.is_ipv4() == first_is_v4);
    let mut other = addrs.iter().filter(|addr| addr.is_ipv4() != first_is_v4);
    loop {
        let pair = [preferred.next(), other.next()];
        if pair == [None, None] {
            return ordered;
        }
        for addr in pair.into_iter().flatten() {
            if !ordered.contains(addr) {
                ordered.push(*addr);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 1)).collect()
    }

    #[test]
    fn families_alternate_from_the_preferred_one() {
        assert_eq!(
            interleave(addrs(&["::1", "::2", "::3", "1.1.1.1", "1.1.1.2"])),
            addrs(&["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"])
        );
        assert_eq!(
            interleave(addrs(&["1.1.1.1", "1.1.1.1", "::1", "1.1.1.2"])),
            addrs(&["1.1.1.1", "::1", "1.1.1.2"])
        );
        assert_eq!(interleave(Vec::new()), Vec::new());
    }
}
