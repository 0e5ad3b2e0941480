//! One mosquitto that listens on every transport, and how the library gets to each.

use std::path::{Path, PathBuf};

use midge::{
    Client, ClientBuilder,
    net::{Proxy, TlsOptions},
};

use crate::support::{
    Broker,
    broker::free_port,
    microsocks::Microsocks,
    pki::{Ca, Identity},
};

/// A way to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Tcp,
    Tls,
    MutualTls,
    WebSocket,
    SecureWebSocket,
    Unix,
    Socks5,
}

impl Way {
    pub const ALL: [Self; 7] = [
        Self::Tcp,
        Self::Tls,
        Self::MutualTls,
        Self::WebSocket,
        Self::SecureWebSocket,
        Self::Unix,
        Self::Socks5,
    ];
}

/// The broker, its certificates, and a proxy in front of it.
pub struct Listeners {
    pub broker: Broker,
    pub ca: Ca,
    client: Identity,
    tls: u16,
    mutual_tls: u16,
    websocket: u16,
    secure_websocket: u16,
    proxy: Microsocks,
}

impl Listeners {
    /// Starts the broker and the proxy, or says what is missing and returns `None`.
    pub fn start() -> Option<Self> {
        let proxy = Microsocks::start(None)?;
        let ca = Ca::new("ca");
        let (server, client) = (ca.server(), ca.client("me"));
        let ports: [u16; 4] = std::array::from_fn(|_| free_port());
        let [tls, mutual_tls, websocket, secure_websocket] = ports;
        let pem = "cafile @DIR@/ca.pem\ncertfile @DIR@/server.pem\nkeyfile @DIR@/server.key\n";
        let config = format!(
            "allow_anonymous true\nset_tcp_nodelay true\n\
             listener {tls} 127.0.0.1\n{pem}\
             listener {mutual_tls} 127.0.0.1\n{pem}require_certificate true\n\
             listener {websocket} 127.0.0.1\nprotocol websockets\n\
             listener {secure_websocket} 127.0.0.1\nprotocol websockets\n{pem}\
             listener 0 @DIR@/mqtt.sock\n"
        );
        let broker = Broker::with_files(
            &config,
            &[
                ("ca.pem", &ca.pem()),
                ("server.pem", &server.pem),
                ("server.key", &server.key.serialize_pem()),
                ("client.pem", &client.pem),
                ("client.key", &client.key.serialize_pem()),
            ],
        )?;
        Some(Self { broker, ca, client, tls, mutual_tls, websocket, secure_websocket, proxy })
    }

    /// A client of the library that goes this way.
    pub fn client(&self, way: Way) -> ClientBuilder {
        let plain = format!("mqtt://localhost:{}", self.broker.port());
        let url = match way {
            Way::Tcp | Way::Socks5 => plain,
            Way::Tls => format!("mqtts://localhost:{}", self.tls),
            Way::MutualTls => format!("tls+mqtt-tcp://localhost:{}", self.mutual_tls),
            Way::WebSocket => format!("ws://localhost:{}", self.websocket),
            Way::SecureWebSocket => format!("wss://localhost:{}/mqtt", self.secure_websocket),
            Way::Unix => format!("unix://{}", self.socket().display()),
        };
        let mut tls = TlsOptions::default();
        tls.ca = vec![self.ca.source()];
        if way == Way::MutualTls {
            tls.client_cert = Some(self.client.cert());
            tls.client_key = Some(self.client.key());
        }
        let builder = Client::builder(&url).unwrap().tls(tls.build().unwrap());
        match way {
            Way::Socks5 => builder.proxy(Proxy::parse(&self.proxy.url()).unwrap()),
            _ => builder,
        }
    }

    /// The options of the tools that go this way: those that mosquitto's tools have too.
    pub fn options(&self, way: Way) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        let (port, mut more) = match way {
            Way::Tcp => (self.broker.port(), vec![]),
            Way::Socks5 => (self.broker.port(), vec!["--proxy".to_owned(), self.proxy.url()]),
            Way::Tls => (self.tls, vec!["--cafile".to_owned(), file("ca.pem")]),
            Way::MutualTls => {
                let mut more = vec!["--cafile".to_owned(), file("ca.pem")];
                more.extend(["--cert".to_owned(), file("client.pem")]);
                more.extend(["--key".to_owned(), file("client.key")]);
                (self.mutual_tls, more)
            }
            Way::WebSocket => (self.websocket, vec!["--ws".to_owned()]),
            Way::SecureWebSocket => {
                let more = ["--ws".to_owned(), "--cafile".to_owned(), file("ca.pem")];
                (self.secure_websocket, more.to_vec())
            }
            Way::Unix => return vec!["--unix".to_owned(), file("mqtt.sock")],
        };
        more.extend(["-h".to_owned(), "localhost".to_owned(), "-p".to_owned(), port.to_string()]);
        more
    }

    /// The port that speaks TLS.
    pub fn tls_port(&self) -> u16 {
        self.tls
    }

    /// A file of the broker's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.broker.dir().join(name)
    }

    fn socket(&self) -> PathBuf {
        Path::new(self.broker.dir()).join("mqtt.sock")
    }
}
