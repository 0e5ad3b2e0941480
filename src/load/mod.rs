//! The connection load engine.
