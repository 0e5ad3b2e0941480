//! The session engine in virtual time.

mod advisories;
mod authenticating;
mod bounds;
mod configuration;
mod connecting;
mod crashes;
mod cuts;
mod disconnecting;
mod harness;
mod hostile;
mod keeping_alive;
mod model;
mod publishing;
mod random;
mod receiving;
mod resuming;
mod subscribing;
mod support;
