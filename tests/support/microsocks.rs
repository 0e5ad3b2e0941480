//! A SOCKS5 proxy of its own for a test, killed when dropped.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use super::broker::{free_port, program};

/// A running microsocks.
pub struct Microsocks {
    child: Child,
    address: SocketAddr,
}

impl Microsocks {
    /// Starts one, which asks for these credentials; `None` where it is not installed.
    pub fn start(credentials: Option<(&str, &str)>) -> Option<Self> {
        let path = program("microsocks")?;
        let port = free_port();
        let mut command = Command::new(path);
        command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        if let Some((username, password)) = credentials {
            command.args(["-u", username, "-P", password]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut proxy = Self { child, address: (Ipv4Addr::LOCALHOST, port).into() };
        // It says nothing when it is ready.
        while TcpStream::connect(proxy.address).is_err() {
            assert!(proxy.child.try_wait().unwrap().is_none(), "microsocks ended");
            thread::yield_now();
        }
        Some(proxy)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `socks5h://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("socks5h://{}", self.address)
    }
}

impl Drop for Microsocks {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
