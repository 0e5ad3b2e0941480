//! What lies between the tool and the broker: a proxy, and the HTTP of WebSocket.

use clap::Args;

use super::{
    feature::{self, Proxy, WebSocketHeader},
    value,
};

/// Options about the way to the broker.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct TransportOptions {
    /// Connect through this SOCKS5 proxy, socks5h://USER:PASSWORD@HOST:PORT; credentials and port (1080)
    /// may be left out. It looks up the name of the broker.
    #[arg(long, value_name = "URL", value_parser = value::hidden(feature::proxy))]
    pub proxy: Option<Proxy>,

    /// Path, and query, to open the WebSocket at [default: /mqtt].
    #[arg(long, value_name = "PATH", value_parser = feature::websocket_path)]
    pub ws_path: Option<String>,

    /// Header to add to the HTTP request that opens the WebSocket, 'NAME: VALUE'; may be repeated.
    #[arg(long = "ws-header", value_name = "HEADER")]
    #[arg(value_parser = value::hidden(feature::websocket_header))]
    pub ws_headers: Vec<WebSocketHeader>,
}
