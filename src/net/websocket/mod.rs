//! MQTT over WebSocket (RFC 6455; MQTT 5.0 §6, MQTT 3.1.1 §6), seen from above as a byte stream.
//!
//! The frames are taken apart in the reader's own buffer and payload goes nowhere else, so that an
//! idle connection holds no buffer and the length that a frame declares allocates nothing. Extensions
//! are neither offered nor accepted.

mod error;
mod frame;
mod options;
mod random;
mod stream;
mod upgrade;

pub use error::WebSocketProblem;
pub use options::{SubProtocol, WebSocketOptions, WebSocketOptionsError};
pub(super) use stream::WebSocket;
pub(super) use upgrade::upgrade;
