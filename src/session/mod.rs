//! The MQTT protocol engine, without I/O.
