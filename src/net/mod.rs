//! Bytes in, bytes out: addresses, transports and streams.
