//! From options to the address of the broker and the way to it: host or socket, port, TLS,
//! WebSocket, proxy.
//!
//! Whatever the options say about a transport that is not used is an error and not ignored: who asks
//! for a check that nobody makes believes to be safe.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Result, bail};

#[cfg(not(feature = "srv"))]
use super::opts::feature;
#[cfg(feature = "tls")]
use super::tls::TlsPlan;
use super::{
    opts::{ConnectionOptions, TlsOptions, TransportOptions},
    order::Order,
};
#[cfg(feature = "tls")]
use crate::load::ClientTls;
#[cfg(feature = "srv")]
use crate::net::SrvLookup;
use crate::net::{ConnectOptions, Endpoint, Scheme};

/// The port that stands for TLS.
const TLS_PORT: u16 = 8883;

/// Where the broker is, and how to get there.
#[derive(Clone, Debug)]
pub struct TransportPlan {
    /// The address. User name, password and topic of a URL are not part of it.
    pub endpoint: Endpoint,
    options: ConnectOptions,
    #[cfg(feature = "tls")]
    tls: Option<TlsPlan>,
}

/// What can be connected to.
enum Place {
    Host(String, Option<u16>),
    Socket(PathBuf),
}

impl TransportPlan {
    /// Checks the options of the tools that name the broker by `-h`, `-p`, `--unix` and `-L`.
    ///
    /// # Errors
    /// Options that contradict each other, and those without effect.
    pub fn new(
        connection: &ConnectionOptions,
        transport: &TransportOptions,
        tls: &TlsOptions,
        order: Order<'_>,
    ) -> Result<Self> {
        let url_scheme = connection.url.as_ref().map(Endpoint::scheme);
        let over_websocket = connection.ws || url_scheme.is_some_and(Scheme::is_websocket);
        let endpoint = match Place::of(connection, order)? {
            Place::Socket(path) => {
                if let Some(option) = first_foreign_to_sockets(connection, transport) {
                    bail!("a Unix socket is connected to directly: leave out {option}");
                }
                if is_secured(tls, url_scheme, None)? {
                    let cause = tls.switch().or(url_scheme.map(Scheme::as_str)).unwrap_or("TLS");
                    bail!("there is no TLS over a Unix socket: leave out {cause}, or add --no-tls");
                }
                Endpoint::unix(path)
            }
            Place::Host(host, port) => {
                let is_secured = is_secured(tls, url_scheme, port)?;
                let scheme = scheme(is_secured, over_websocket);
                // mosquitto's tools leave 1883 to TLS that is turned on in another way.
                let names_trust = tls.cafile.is_some() || tls.capath.is_some() || tls.psk.is_some();
                let default = if is_secured && names_trust { TLS_PORT } else { 1883 };
                Endpoint::new(scheme, host, port.unwrap_or(default))
            }
        };
        let mut plan = Self::to(endpoint, transport, tls)?;
        plan.options.bind.clone_from(&connection.bind);
        if connection.srv {
            plan.look_up_brokers(transport)?;
        }
        Ok(plan)
    }

    /// Has the DNS asked for the brokers of the domain.
    fn look_up_brokers(&mut self, transport: &TransportOptions) -> Result<()> {
        if self.endpoint.scheme().is_websocket() {
            bail!("-S finds brokers for MQTT over TCP and TLS: leave out WebSocket");
        }
        if transport.proxy.is_some() {
            bail!("-S does not go through a proxy: leave out --proxy");
        }
        if self.endpoint.host().parse::<IpAddr>().is_ok() {
            bail!("-S looks up the brokers of a domain: -h must not be an address");
        }
        #[cfg(feature = "srv")]
        {
            self.options.srv = Some(SrvLookup::system());
            Ok(())
        }
        #[cfg(not(feature = "srv"))]
        bail!("-S: {}", feature::needs("srv"))
    }

    /// Checks the options of a tool that names the broker by a URL, whose path is that of the
    /// WebSocket. `secure` turns TLS on as well.
    ///
    /// # Errors
    /// As [`TransportPlan::new`].
    pub fn to_url(
        url: &Endpoint,
        secure: bool,
        transport: &TransportOptions,
        tls: &TlsOptions,
    ) -> Result<Self> {
        let given = url.scheme();
        let is_secured = match (secure, tls.no_tls) {
            (true, true) => bail!("--secure contradicts --no-tls: leave out one of them"),
            (true, false) => true,
            (false, _) => is_secured(tls, Some(given), Some(url.port()))?,
        };
        if given == Scheme::Unix {
            if is_secured {
                bail!("there is no TLS over a Unix socket: leave out the options of TLS");
            }
            if transport.proxy.is_some() {
                bail!("a Unix socket is connected to directly: leave out --proxy");
            }
            return Self::to(url.clone(), transport, tls);
        }
        let path = url.path().filter(|path| !path.is_empty());
        if let (Some(path), false) = (path, given.is_websocket()) {
            bail!("the path {path:?} of the URL means nothing over {given}://: leave it out");
        }
        let scheme = scheme(is_secured, given.is_websocket());
        let endpoint = Endpoint::new(scheme, url.host(), url.port());
        let mut transport = transport.clone();
        if transport.ws_path.is_none() {
            transport.ws_path = path.map(str::to_owned);
        }
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "nothing to set"))]
        let mut plan = Self::to(endpoint, &transport, tls)?;
        // The clients of a load are many devices, which know nothing of each other's sessions.
        #[cfg(feature = "tls")]
        {
            plan.tls = plan.tls.map(TlsPlan::without_resumption);
        }
        Ok(plan)
    }

    /// Checks the options about the way to an endpoint that is given.
    ///
    /// # Errors
    /// As [`TransportPlan::new`].
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "net refuses TLS"))]
    fn to(endpoint: Endpoint, transport: &TransportOptions, tls: &TlsOptions) -> Result<Self> {
        let scheme = endpoint.scheme();
        #[cfg_attr(
            not(any(feature = "socks5", feature = "websocket")),
            expect(unused_mut, reason = "nothing to set")
        )]
        let mut options = ConnectOptions::default();
        if !scheme.is_websocket() {
            let unused = [
                ("--ws-path", transport.ws_path.is_some()),
                ("--ws-header", !transport.ws_headers.is_empty()),
            ];
            if let Some((option, _)) = unused.iter().find(|(_, given)| *given) {
                bail!("{option} has no effect without WebSocket: add --ws, or use ws:// or wss://");
            }
        }
        #[cfg(feature = "websocket")]
        {
            if let Some(path) = &transport.ws_path {
                options.websocket.set_path(path)?;
            }
            for header in &transport.ws_headers {
                options.websocket.add_header(&header.name, &header.value)?;
            }
        }
        #[cfg(feature = "socks5")]
        options.proxy.clone_from(&transport.proxy);
        Ok(Self {
            #[cfg(feature = "tls")]
            tls: if scheme.is_tls() { Some(TlsPlan::new(tls)?) } else { None },
            endpoint,
            options,
        })
    }

    /// TLS with a certificate for each client, read when it connects.
    ///
    /// # Errors
    /// Without TLS, and when the first certificate cannot be used.
    #[cfg(feature = "tls")]
    pub fn client_tls(&self, certificates: Vec<Option<(PathBuf, PathBuf)>>) -> Result<ClientTls> {
        match &self.tls {
            Some(tls) => tls.for_clients(certificates),
            None => bail!("certificates have no effect without TLS: use tls+mqtt-tcp:// or -s"),
        }
    }

    /// The way to the broker. Reads certificates and keys, and asks for a passphrase if one is needed:
    /// to be called once, before the first connection.
    ///
    /// # Errors
    /// Files that cannot be used, and a passphrase that is not given.
    pub fn connect_options(&self) -> Result<ConnectOptions> {
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "nothing to set"))]
        let mut options = self.options.clone();
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            options.tls = Some(tls.config()?);
        }
        Ok(options)
    }
}

impl Place {
    /// What is named last, as a host and as a port.
    fn of(connection: &ConnectionOptions, order: Order<'_>) -> Result<Self> {
        let url = connection.url.as_ref();
        let socket = match order.last(&["host", "url", "unix"]) {
            Some("unix") => connection.unix.clone(),
            Some("url") => url.and_then(Endpoint::socket_path).map(Into::into),
            _ => None,
        };
        let port = match order.last(&["port", "url", "unix"]) {
            Some("unix") => Some(0),
            Some("url") => url.map(Endpoint::port),
            _ => connection.port,
        };
        let host = match order.last(&["host", "url"]) {
            Some("url") => url.map_or("", Endpoint::host),
            _ => &connection.host,
        };
        match (socket, port) {
            (Some(path), None | Some(0)) => Ok(Self::Socket(path)),
            (Some(path), Some(port)) => {
                bail!("the Unix socket {path:?} has no port: leave out -p {port}")
            }
            (None, Some(0)) if order.last(&["host", "url"]).is_none() => {
                bail!("-p 0 is for a Unix socket: add -h PATH, or use --unix PATH")
            }
            (None, Some(0)) => Ok(Self::Socket(host.into())),
            (None, port) => {
                check_host(host)?;
                Ok(Self::Host(host.to_owned(), port))
            }
        }
    }
}

/// Refuses what is more than a host. An IPv6 address has more than one colon.
fn check_host(host: &str) -> Result<()> {
    if host.contains("://") {
        bail!("-h takes a host and no URL: use -L SCHEME://HOST/TOPIC");
    }
    match host.split_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => {
            bail!("-h takes no port: write -h {name} -p {port}")
        }
        _ => Ok(()),
    }
}

fn scheme(is_secured: bool, over_websocket: bool) -> Scheme {
    match (is_secured, over_websocket) {
        (false, false) => Scheme::Mqtt,
        (true, false) => Scheme::Mqtts,
        (false, true) => Scheme::Ws,
        (true, true) => Scheme::Wss,
    }
}

/// The first option given that asks for something which a Unix socket does not have.
fn first_foreign_to_sockets(
    connection: &ConnectionOptions,
    transport: &TransportOptions,
) -> Option<&'static str> {
    if connection.ws {
        Some("--ws")
    } else if connection.bind.is_some() {
        Some("-A")
    } else if connection.srv {
        Some("-S")
    } else {
        transport.proxy.as_ref().map(|_| "--proxy")
    }
}

/// Whether the connection is to be secured.
fn is_secured(tls: &TlsOptions, url: Option<Scheme>, port: Option<u16>) -> Result<bool> {
    let by_url = url.filter(|scheme| scheme.is_tls());
    if tls.no_tls {
        return match by_url {
            Some(scheme) => bail!("--no-tls contradicts {scheme}://: leave out one of them"),
            None => Ok(false),
        };
    }
    let is_secured = tls.switch().is_some() || by_url.is_some() || port == Some(TLS_PORT);
    match tls.detail() {
        Some(option @ "--psk-identity") if !is_secured => {
            bail!("{option} has no effect without TLS: add --psk HEX")
        }
        Some(option) if !is_secured => bail!(
            "{option} has no effect without TLS: add --cafile FILE, --capath DIR or \
             --tls-use-os-certs"
        ),
        _ => Ok(is_secured),
    }
}

#[cfg(all(test, feature = "tls", feature = "websocket", feature = "socks5"))]
mod tests {
    use std::ffi::OsString;

    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;
    use crate::cli::{argv, opts::ClientOptions};

    #[derive(Parser)]
    #[command(disable_help_flag = true, args_override_self = true)]
    struct Options {
        #[command(flatten)]
        client: ClientOptions,
    }

    fn plan(line: &str) -> Result<TransportPlan> {
        let words = format!("tool {line}");
        let words = words.split(' ').map(OsString::from).filter(|word| !word.is_empty());
        let command = Options::command();
        let matches = command.clone().get_matches_from(argv::join(&command, words));
        let ClientOptions { connection, transport, tls, .. } =
            Options::from_arg_matches(&matches).unwrap().client;
        TransportPlan::new(&connection, &transport, &tls, Order(&matches))
    }

    /// The address as a URL.
    fn address(line: &str) -> String {
        let plan = plan(line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
        assert_eq!(plan.tls.is_some(), plan.endpoint.scheme().is_tls(), "{line}");
        plan.endpoint.to_string()
    }

    fn refusal(line: &str) -> String {
        plan(line).err().unwrap_or_else(|| panic!("{line}")).to_string()
    }

    #[test]
    fn ports_and_tls_as_mosquitto_has_them() {
        for (line, expected) in [
            ("", "mqtt://localhost:1883"),
            ("-h b", "mqtt://b:1883"),
            ("-h ::1", "mqtt://[::1]:1883"),
            ("--cafile f", "mqtts://localhost:8883"),
            ("--capath d", "mqtts://localhost:8883"),
            ("--cafile f -p 1883", "mqtts://localhost:1883"),
            ("--tls-use-os-certs", "mqtts://localhost:1883"),
            ("-p 8883", "mqtts://localhost:8883"),
            ("-p 8883 --no-tls", "mqtt://localhost:8883"),
            ("--cafile f --cert c --insecure --no-tls", "mqtt://localhost:1883"),
            ("-L mqtt://b/t", "mqtt://b:1883"),
            ("-L mqtt://b:8883/t", "mqtts://b:8883"),
            ("-L mqtts://b/t", "mqtts://b:8883"),
            ("-L mqtts://b/t -p 9", "mqtts://b:9"),
            ("-L mqtt://b/t --cafile f", "mqtts://b:1883"),
            ("-L ws://b/t", "ws://b:1883"),
            ("-L wss://b/t", "wss://b:8883"),
            ("-L tls+mqtt-tcp://b/t", "mqtts://b:8883"),
            ("--ws", "ws://localhost:1883"),
            ("--ws -p 8883", "wss://localhost:8883"),
            ("-L mqtts://b/t --ws", "wss://b:8883"),
        ] {
            assert_eq!(address(line), expected, "{line}");
        }
    }

    #[test]
    fn of_socket_and_host_the_later_counts() {
        for (line, expected) in [
            ("--unix /s", "unix:///s"),
            ("-h /s -p 0", "unix:///s"),
            ("-h h -p 9 --unix /s", "unix:///s"),
            ("--unix /s -h h -p 9", "mqtt://h:9"),
            ("--unix /s -L mqtt://b:9/t", "mqtt://b:9"),
            ("-L mqtt://b:9/t --unix /s", "unix:///s"),
            ("-L unix:///s", "unix:///s"),
            ("-L unix:///s -L mqtt://b:9/t", "mqtt://b:9"),
        ] {
            assert_eq!(address(line), expected, "{line}");
        }
        assert!(refusal("--unix /s -p 9").contains("leave out -p 9"));
        assert!(refusal("-p 0").contains("--unix PATH"));
        for (line, option) in [
            ("--unix /s --ws", "--ws"),
            ("--unix /s -A 127.0.0.1", "-A"),
            ("--unix /s -S", "-S"),
            ("--unix /s --proxy socks5h://p", "--proxy"),
            ("--unix /s --cafile f", "--cafile"),
            ("-L mqtts://b/t --unix /s", "mqtts"),
        ] {
            let text = refusal(line);
            assert!(text.contains("Unix socket") && text.contains(option), "{line}: {text}");
        }
        assert_eq!(address("--unix /s --cafile f --no-tls"), "unix:///s");
    }

    #[test]
    fn options_without_effect_and_contradictions_are_refused() {
        for (line, option) in [
            ("--insecure", "--insecure"),
            ("--cert c --key k", "--cert"),
            ("--crlfile f", "--crlfile"),
            ("--insecure-accept-any-certificate", "--insecure-accept-any-certificate"),
            ("--tls-version tlsv1.3", "--tls-version"),
            ("-p 8883 --cert c", "--key"),
            ("-p 8883 --key k", "--cert"),
            ("-p 8883 --keypass p", "--cert"),
            ("-p 8883 --keyform pem", "--key"),
            ("-p 8883 --psk-identity i", "--psk"),
            ("-L mqtts://b/t --no-tls", "--no-tls"),
            ("--ws-path /a", "--ws"),
            ("--ws-header A:b", "--ws"),
            ("-S --ws -h h", "-S"),
            ("-S -h h --proxy socks5h://p", "--proxy"),
            ("-S -h 127.0.0.1", "-h"),
        ] {
            let text = refusal(line);
            assert!(text.contains(option), "{line}: {text}");
        }
        #[cfg(not(feature = "srv"))]
        assert!(refusal("-S -h example.com").contains("\"srv\""));
        #[cfg(feature = "srv")]
        assert!(plan("-S -h example.com").unwrap().options.srv.is_some());
    }

    #[test]
    fn the_way_is_in_the_options() {
        let plan = plan("--ws --ws-path /x --ws-header A:b --proxy socks5h://u:s3cret@p -A ::1");
        let plan = plan.unwrap();
        let options = plan.connect_options().unwrap();
        assert_eq!(options.proxy.as_ref().map(ToString::to_string).unwrap(), "socks5h://p:1080");
        assert_eq!(options.bind.map(|bind| bind.to_string()).unwrap(), "::1");
        let shown = format!("{plan:?} {:?}", options.websocket);
        assert!(shown.contains("\"/x\"") && shown.contains("\"A\""), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn files_are_read_before_the_first_connection() {
        let error = plan("--cafile /no/such/file").unwrap().connect_options().unwrap_err();
        assert!(format!("{error:#}").contains("/no/such/file"), "{error:#}");
        let error = plan("-p 8883 --ciphers HIGH").unwrap().connect_options().unwrap_err();
        assert!(format!("{error:#}").starts_with("--ciphers: unknown cipher suite"), "{error:#}");
    }
}
