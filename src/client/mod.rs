//! The client handle: connect, publish, subscribe, reconnect.
