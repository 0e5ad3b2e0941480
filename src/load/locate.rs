//! Where the targets are: name lookups, and which of several addresses take connections.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Plan, StartError,
    route::{Route, needs_lookup},
};
use crate::{
    driver,
    net::{self, ConnectOptions, Endpoint},
};

/// Where the targets were found, and the way to them.
pub(super) struct Located {
    pub(super) route: Route,
    pub(super) found: Vec<SocketAddr>,
    /// How long the name lookups took together; `None` when there was none.
    pub(super) lookup: Option<Duration>,
}

impl Located {
    /// One address, over plain TCP.
    pub(super) fn at(address: SocketAddr) -> Self {
        let mut route = Route::new(address.ip().is_loopback());
        let endpoint = Endpoint::tcp(address.ip().to_string(), address.port());
        route.add(endpoint, vec![address], &ConnectOptions::default());
        Self { route, found: vec![address], lookup: None }
    }
}

/// Looks all endpoints up.
pub(super) async fn all(endpoints: &[Endpoint], plan: &Plan) -> Result<Located, StartError> {
    let connect = driver::connect_options(
        plan.session.version,
        ConnectOptions { connect_timeout: plan.connect_timeout, ..plan.connect.clone() },
    );
    let mut lookup: Option<Duration> = None;
    let (mut found, mut ways) = (Vec::new(), Vec::new());
    for endpoint in endpoints {
        let (addresses, took) = locate(endpoint, &connect).await?;
        if let Some(took) = took {
            *lookup.get_or_insert_default() += took;
        }
        found.extend_from_slice(&addresses);
        ways.push((endpoint.clone(), addresses));
    }
    let local = !found.is_empty() && found.iter().all(|address| address.ip().is_loopback());
    let mut route = Route::new(local);
    for (endpoint, addresses) in ways {
        route.add(endpoint, addresses, &connect);
    }
    #[cfg(feature = "tls")]
    route.set_tls(plan.tls.clone());
    Ok(Located { route, found, lookup })
}

/// The addresses of the target that take connections, and how long a name lookup took.
///
/// A name with several addresses, such as `localhost` with an IPv6 and an IPv4 one, often has a
/// listener on some of them only. One connection to each tells, so that the others do not fail half
/// of the clients.
async fn locate(
    endpoint: &net::Endpoint,
    options: &ConnectOptions,
) -> Result<(Vec<SocketAddr>, Option<Duration>), StartError> {
    if !needs_lookup(endpoint, options) {
        return Ok((Vec::new(), None));
    }
    let began = Instant::now();
    let addresses = net::resolve(endpoint, options).await.map_err(StartError::Resolve)?;
    let is_literal = endpoint.host().parse::<std::net::IpAddr>().is_ok();
    let lookup = (!is_literal).then(|| began.elapsed());
    if addresses.len() < 2 {
        return Ok((addresses, lookup));
    }
    let count = addresses.len();
    let dials: Vec<_> =
        addresses.into_iter().map(|address| (address, net::dial(address, None, options))).collect();
    let give_up = tokio::time::Instant::now() + options.connect_timeout;
    let mut taking = Vec::new();
    let mut refusal = io::Error::from(io::ErrorKind::TimedOut);
    for (address, dialing) in dials {
        let outcome = match dialing {
            Ok(dialing) => match tokio::time::timeout_at(give_up, dialing).await {
                Ok(outcome) => outcome.map(drop),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => taking.push(address),
            Err(error) => refusal = error,
        }
    }
    if taking.is_empty() {
        let host = endpoint.host().to_owned();
        return Err(StartError::Unreachable { host, count, source: refusal });
    }
    Ok((taking, lookup))
}
