//! An async MQTT client library for 3.1, 3.1.1 and 5.0, and the tools built on it.
//!
//! The floors, from the ground up: [`codec`] turns bytes into packets and back, [`session`] is the
//! protocol engine without I/O, [`net`] moves bytes, [`driver`] joins one session to one stream,
//! [`client`] is the handle an application holds, `load` opens very many connections, `passwd`
//! edits password files and `cli` holds the command-line tools.
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::unwrap_used
    )
)]

pub mod client;
pub mod codec;
pub mod driver;
#[cfg(feature = "load")]
pub mod load;
pub mod net;
#[cfg(feature = "passwd")]
pub mod passwd;
pub mod session;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
