//! The taxonomy of failures: what went wrong, in classes that can be counted, each with a remedy.

use std::{borrow::Cow, io};

use rustix::io::Errno;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::{
    codec::ReasonCode,
    net::{ConnectError, Stage},
    session::End,
};

/// The kinds of failure a connection can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureClass {
    /// This process or this machine has no more file descriptors.
    LocalDescriptors,
    /// This machine has no free local port towards the target.
    LocalPorts,
    /// This machine's kernel has no memory for another socket.
    LocalMemory,
    /// A local rule forbids the connection.
    LocalForbidden,
    /// This machine's kernel watches as many sockets for this user as it may.
    LocalWatches,
    /// The target refused the TCP connection.
    TcpRefused,
    /// The TCP connection was not established in time.
    TcpTimeout,
    /// The TCP connection was reset while it was being established.
    TcpReset,
    /// There is no route to the target.
    TcpUnreachable,
    /// The TCP connection failed in some other way.
    TcpOther(io::ErrorKind),
    /// The accept queue of the Unix socket is full.
    SocketQueueFull,
    /// The name of the target, or of the proxy, has no address.
    Lookup,
    /// The proxy did not connect to the target.
    Proxy,
    /// The proxy did not answer in time.
    ProxyTimeout,
    /// TLS did not come about: the target is not to be trusted, or speaks no TLS.
    Tls,
    /// The TLS handshake did not end in time.
    TlsTimeout,
    /// The target did not open a WebSocket.
    WebSocket,
    /// The target did not answer the upgrade to WebSocket in time.
    WebSocketTimeout,
    /// The server did not answer CONNECT in time.
    ConnAckTimeout,
    /// The server closed the connection instead of answering CONNECT.
    ConnAckClosed,
    /// The server refused the client.
    ConnAckRefused(ReasonCode),
    /// The server sent bytes that are not MQTT.
    Malformed,
    /// The server sent a packet it was not allowed to send.
    ProtocolError,
    /// The server began a packet and did not finish it.
    Stalled,
    /// The server closed an accepted connection.
    SessionClosed,
    /// An accepted connection broke.
    SessionReset,
    /// The server ended an accepted connection with a DISCONNECT.
    SessionDisconnect(ReasonCode),
    /// The server did not answer a ping in time.
    PingMissing,
    /// The server answered a ping only after more than a second.
    PingLate,
    /// The server refused a subscription.
    SubAckRefused(ReasonCode),
    /// A subscription was not answered in time, or could not be asked for.
    SubAckTimeout,
    /// A message could not be published, or the server refused it.
    PublishRefused,
}

impl FailureClass {
    /// The class of an error of `connect`.
    pub(crate) fn of_dial(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::LocalDescriptors,
            Some(Errno::ADDRNOTAVAIL | Errno::ADDRINUSE) => Self::LocalPorts,
            // TCP tells of its accept queue by not answering.
            Some(Errno::AGAIN) => Self::SocketQueueFull,
            Some(Errno::NOBUFS | Errno::NOMEM) => Self::LocalMemory,
            Some(Errno::ACCESS | Errno::PERM) => Self::LocalForbidden,
            Some(Errno::CONNREFUSED) => Self::TcpRefused,
            Some(Errno::TIMEDOUT) => Self::TcpTimeout,
            Some(Errno::CONNRESET) => Self::TcpReset,
            Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::NETDOWN) => Self::TcpUnreachable,
            _ => Self::TcpOther(error.kind()),
        }
    }

    /// The class of an error of having a socket watched.
    pub(crate) fn of_watch(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC) => Self::LocalWatches,
            _ => Self::LocalMemory,
        }
    }

    /// The class of an error of a connection in stages.
    pub(crate) fn of_connect(error: &ConnectError) -> Self {
        match (error, error.stage()) {
            (ConnectError::Dial { source, .. } | ConnectError::DialUnix { source, .. }, _)
            | (ConnectError::Bind { source, .. }, _) => Self::of_dial(source),
            (ConnectError::Timeout { .. }, Stage::Proxy) => Self::ProxyTimeout,
            (ConnectError::Timeout { .. }, Stage::Tls) => Self::TlsTimeout,
            (ConnectError::Timeout { .. }, Stage::WebSocket) => Self::WebSocketTimeout,
            (ConnectError::Timeout { .. }, _) => Self::TcpTimeout,
            (_, Stage::Resolve) => Self::Lookup,
            (_, Stage::Dial) => Self::TcpOther(io::ErrorKind::Unsupported),
            (_, Stage::Proxy) => Self::Proxy,
            (_, Stage::Tls) => Self::Tls,
            (_, Stage::WebSocket) => Self::WebSocket,
        }
    }

    /// The class of the end of a link; `accepted` says whether the server had accepted the client.
    ///
    /// `end` is what the session said, if it was the session that wanted the end, and `error` what
    /// the socket said.
    pub(crate) fn of_end(end: Option<&End>, error: Option<&io::Error>, accepted: bool) -> Self {
        match (end, error) {
            (Some(End::Refused { reason, .. }), _) => Self::ConnAckRefused(*reason),
            (Some(End::ServerDisconnect { reason, .. }), _) => Self::SessionDisconnect(*reason),
            (Some(End::Protocol(error)), _) if error.reason == ReasonCode::MALFORMED_PACKET => {
                Self::Malformed
            }
            (Some(End::Protocol(_)), _) => Self::ProtocolError,
            (Some(End::ConnAckTimeout), _) => Self::ConnAckTimeout,
            (Some(End::PingTimeout), _) => Self::PingMissing,
            (Some(End::PacketTimeout), _) => Self::Stalled,
            (_, Some(_)) if accepted => Self::SessionReset,
            (_, Some(error)) => match Self::of_dial(error) {
                // The server took the connection and then closed it with bytes unread.
                Self::TcpReset | Self::TcpOther(_) => Self::ConnAckClosed,
                class => class,
            },
            (_, None) if accepted => Self::SessionClosed,
            (_, None) => Self::ConnAckClosed,
        }
    }

    /// Whether the failure says that nobody listens at the target, or that it cannot be reached.
    pub(crate) fn is_unreachable(self) -> bool {
        matches!(
            self,
            Self::TcpRefused
                | Self::TcpTimeout
                | Self::TcpReset
                | Self::TcpUnreachable
                | Self::TcpOther(_)
                | Self::LocalForbidden
                | Self::Lookup
        )
    }

    /// The reason code the server gave, if it gave one.
    pub fn reason(self) -> Option<ReasonCode> {
        match self {
            Self::ConnAckRefused(reason)
            | Self::SessionDisconnect(reason)
            | Self::SubAckRefused(reason) => Some(reason),
            _ => None,
        }
    }

    /// The name of the class: `STAGE.KIND` in lower case.
    ///
    /// ```
    /// use midge::{codec::ReasonCode, load::FailureClass};
    ///
    /// assert_eq!(FailureClass::TcpRefused.name(), "tcp.refused");
    /// let refused = FailureClass::ConnAckRefused(ReasonCode::NOT_AUTHORIZED);
    /// assert_eq!(refused.name(), "connack.not_authorized");
    /// ```
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::LocalDescriptors => "local.emfile",
            Self::LocalPorts => "local.eaddrnotavail",
            Self::LocalMemory => "local.enobufs",
            Self::LocalForbidden => "local.forbidden",
            Self::LocalWatches => "local.enospc",
            Self::TcpRefused => "tcp.refused",
            Self::TcpTimeout => "tcp.timeout",
            Self::TcpReset => "tcp.reset",
            Self::TcpUnreachable => "tcp.unreachable",
            Self::TcpOther(kind) => return Cow::Owned(format!("tcp.{}", slug(&kind.to_string()))),
            Self::SocketQueueFull => "unix.queue_full",
            Self::Lookup => "dns.failed",
            Self::Proxy => "proxy.failed",
            Self::ProxyTimeout => "proxy.timeout",
            Self::Tls => "tls.failed",
            Self::TlsTimeout => "tls.timeout",
            Self::WebSocket => "ws.failed",
            Self::WebSocketTimeout => "ws.timeout",
            Self::ConnAckTimeout => "connack.timeout",
            Self::ConnAckClosed => "connack.closed",
            Self::ConnAckRefused(reason) => return Cow::Owned(of_reason("connack", reason)),
            Self::Malformed => "protocol.malformed",
            Self::ProtocolError => "protocol.unexpected",
            Self::Stalled => "protocol.stalled",
            Self::SessionClosed => "session.eof",
            Self::SessionReset => "session.reset",
            Self::SessionDisconnect(reason) => return Cow::Owned(of_reason("session", reason)),
            Self::PingMissing => "ping.missing",
            Self::PingLate => "ping.late",
            Self::SubAckRefused(reason) => return Cow::Owned(of_reason("suback", reason)),
            Self::SubAckTimeout => "suback.timeout",
            Self::PublishRefused => "publish.refused",
        })
    }

    /// The class of that name, as far as the name tells all of it: an uncommon error of the socket
    /// is [`TcpOther`](Self::TcpOther) of no particular kind.
    pub fn from_name(name: &str) -> Option<Self> {
        let (stage, kind) = name.split_once('.')?;
        if let Some(class) = PLAIN.into_iter().find(|class| class.name() == name) {
            return Some(class);
        }
        let with_reason = match stage {
            "tcp" => return Some(Self::TcpOther(io::ErrorKind::Other)),
            "connack" => Self::ConnAckRefused,
            "session" => Self::SessionDisconnect,
            "suback" => Self::SubAckRefused,
            _ => return None,
        };
        let mut reasons = (0..=u8::MAX).map(ReasonCode::new);
        reasons
            .find(|reason| of_reason(stage, *reason) == name)
            .map(with_reason)
            .filter(|_| !kind.is_empty())
    }

    /// What it is about a connection that goes on.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::PingLate => "a PINGRESP took more than a second",
            Self::SubAckRefused(_) => "the server refused the subscription",
            Self::SubAckTimeout => "the subscription was not answered",
            Self::PublishRefused => "a message was not published",
            _ => "",
        }
    }

    /// What the user can do about it, in one line.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::LocalDescriptors => {
                "raise the limit of open files (ulimit -n; fs.file-max for the whole machine)"
            }
            Self::LocalPorts => {
                "name more addresses of this machine with --bind, or spread the clients over several \
                 hosts"
            }
            Self::LocalMemory => "give this machine more memory, or raise net.ipv4.tcp_mem",
            Self::LocalForbidden => "look at the firewall rules of this machine",
            Self::LocalWatches => "raise fs.epoll.max_user_watches (sysctl -w)",
            Self::TcpRefused => "check that the broker listens on this address and port",
            Self::TcpTimeout => {
                "check the firewall and the broker's accept queue (net.core.somaxconn), or lower \
                 --in-progress"
            }
            Self::TcpReset => "look at the broker's log: its connection limit may be reached",
            Self::TcpUnreachable => "check the address and the route to it (ip route get ADDRESS)",
            Self::TcpOther(_) => "see the error text of the example",
            Self::SocketQueueFull => "lower --in-progress, or start clients more slowly (-i)",
            Self::Lookup => "check the name and the DNS settings of this machine",
            Self::Proxy | Self::Tls | Self::WebSocket => "see the error text of the example",
            Self::ProxyTimeout => "check that the proxy speaks SOCKS5, and what it can reach",
            Self::TlsTimeout | Self::WebSocketTimeout => {
                "the broker is overloaded, or the port is for another transport: start clients \
                 more slowly (-i), or raise --connect-timeout"
            }
            Self::ConnAckTimeout => {
                "the broker is overloaded or not an MQTT broker: start clients more slowly (-i), \
                 or raise --connect-timeout"
            }
            Self::ConnAckClosed => {
                "look at the broker's log: connection limit, file limit, or another protocol than \
                 MQTT on this port"
            }
            Self::ConnAckRefused(reason) => refusal_remedy(reason),
            Self::Malformed | Self::ProtocolError => {
                "check that the port speaks MQTT over this transport, in the version given with -V"
            }
            Self::Stalled => "look for a proxy or a broker that hangs in the middle of a packet",
            Self::SessionClosed | Self::SessionReset => {
                "look at the broker's log: it ended connections that it had accepted"
            }
            Self::SessionDisconnect(ReasonCode::SESSION_TAKEN_OVER) => {
                "another client uses the same client identifiers: use another --seed"
            }
            Self::SessionDisconnect(ReasonCode::KEEP_ALIVE_TIMEOUT) => {
                "pings reached the broker too late: this machine or the network is overloaded"
            }
            Self::SessionDisconnect(_) => {
                "look at the broker's log for why it disconnected clients"
            }
            Self::PingMissing => "the broker or the network stopped answering accepted connections",
            Self::PingLate => {
                "the broker or the network is overloaded: look at its load while held"
            }
            Self::SubAckRefused(_) => "allow the clients to subscribe in the broker's access rules",
            Self::SubAckTimeout => "check --subscribe, and whether the broker is overloaded",
            Self::PublishRefused => {
                "allow the clients to publish in the broker's access rules, or publish more slowly \
                 (--every)"
            }
        }
    }
}

fn refusal_remedy(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::BAD_USER_NAME_OR_PASSWORD | ReasonCode::NOT_AUTHORIZED => {
            "give the user name and password that the broker expects (-u, -p)"
        }
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => "choose another protocol version with -V",
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => {
            "allow client identifiers of the form midge-SSSSSSSS-GGGGGGGG in the broker"
        }
        ReasonCode::QUOTA_EXCEEDED | ReasonCode::CONNECTION_RATE_EXCEEDED => {
            "raise the broker's limits, or start clients more slowly (-i)"
        }
        _ => "look at the broker's log for why it refused the client",
    }
}

/// The classes whose names tell all of them.
const PLAIN: [FailureClass; 28] = [
    FailureClass::LocalDescriptors,
    FailureClass::LocalPorts,
    FailureClass::LocalMemory,
    FailureClass::LocalForbidden,
    FailureClass::LocalWatches,
    FailureClass::TcpRefused,
    FailureClass::TcpTimeout,
    FailureClass::TcpReset,
    FailureClass::TcpUnreachable,
    FailureClass::SocketQueueFull,
    FailureClass::Lookup,
    FailureClass::Proxy,
    FailureClass::ProxyTimeout,
    FailureClass::Tls,
    FailureClass::TlsTimeout,
    FailureClass::WebSocket,
    FailureClass::WebSocketTimeout,
    FailureClass::ConnAckTimeout,
    FailureClass::ConnAckClosed,
    FailureClass::Malformed,
    FailureClass::ProtocolError,
    FailureClass::Stalled,
    FailureClass::SessionClosed,
    FailureClass::SessionReset,
    FailureClass::PingMissing,
    FailureClass::PingLate,
    FailureClass::SubAckTimeout,
    FailureClass::PublishRefused,
];

impl Serialize for FailureClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for FailureClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Self::from_name(&name)
            .ok_or_else(|| D::Error::custom(format_args!("{name:?} is no class of failures")))
    }
}

/// `stage.not_authorized`, or `stage.0xc8` for a code without a name.
fn of_reason(stage: &str, reason: ReasonCode) -> String {
    if reason.name() == ReasonCode::new(0xff).name() {
        return format!("{stage}.0x{:02x}", reason.code());
    }
    format!("{stage}.{}", slug(reason.name()))
}

fn slug(words: &str) -> String {
    words.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: Errno) -> io::Error {
        io::Error::from(errno)
    }

    #[test]
    fn errors_of_connect_are_told_apart() {
        for (errno, name) in [
            (Errno::MFILE, "local.emfile"),
            (Errno::ADDRNOTAVAIL, "local.eaddrnotavail"),
            (Errno::CONNREFUSED, "tcp.refused"),
            (Errno::TIMEDOUT, "tcp.timeout"),
            (Errno::HOSTUNREACH, "tcp.unreachable"),
            (Errno::NETUNREACH, "tcp.unreachable"),
        ] {
            assert_eq!(FailureClass::of_dial(&os(errno)).name(), name);
        }
        let odd = FailureClass::of_dial(&io::Error::other("odd"));
        assert_eq!(odd.name(), "tcp.other_error");
    }

    #[test]
    fn the_stage_decides_what_a_closed_connection_means() {
        let class = FailureClass::of_end;
        assert_eq!(class(None, None, false).name(), "connack.closed");
        assert_eq!(class(None, None, true).name(), "session.eof");
        let reset = os(Errno::CONNRESET);
        assert_eq!(class(None, Some(&reset), false).name(), "connack.closed");
        assert_eq!(class(None, Some(&reset), true).name(), "session.reset");
    }

    #[test]
    fn what_the_session_says_comes_before_what_the_socket_says() {
        let reset = os(Errno::CONNRESET);
        let end = End::PingTimeout;
        assert_eq!(FailureClass::of_end(Some(&end), Some(&reset), true).name(), "ping.missing");
        let end = End::Refused {
            reason: ReasonCode::QUOTA_EXCEEDED,
            properties: crate::codec::Properties::default(),
        };
        let class = FailureClass::of_end(Some(&end), None, false);
        assert_eq!(class.name(), "connack.quota_exceeded");
        assert_eq!(class.reason(), Some(ReasonCode::QUOTA_EXCEEDED));
    }

    #[test]
    fn a_socket_that_cannot_be_watched_is_not_the_brokers_fault() {
        assert_eq!(FailureClass::of_watch(&os(Errno::NOSPC)).name(), "local.enospc");
        assert_eq!(FailureClass::of_watch(&os(Errno::NOMEM)).name(), "local.enobufs");
    }

    #[test]
    fn classes_are_known_by_their_names() {
        let reasons = || (0x80..=u8::MAX).map(ReasonCode::new);
        let refused = reasons().map(FailureClass::ConnAckRefused);
        let ended = reasons().map(FailureClass::SessionDisconnect);
        let denied = reasons().map(FailureClass::SubAckRefused);
        for class in PLAIN.into_iter().chain(refused).chain(ended).chain(denied) {
            let known = FailureClass::from_name(&class.name());
            assert_eq!(known, Some(class), "{}", class.name());
        }
        let odd = FailureClass::from_name("tcp.interrupted").unwrap();
        assert_eq!(odd, FailureClass::TcpOther(io::ErrorKind::Other));
        for name in ["", "tcp", "connack.", "connack.0x", "session.no_such_reason", "x.y"] {
            assert_eq!(FailureClass::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn codes_without_a_name_stay_apart() {
        let name = |code| FailureClass::ConnAckRefused(ReasonCode::new(code)).name();
        assert_eq!(name(0xc8), "connack.0xc8");
        assert_ne!(name(0xc8), name(0xc9));
    }
}
