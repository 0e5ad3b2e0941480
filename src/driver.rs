//! One session on one stream: the only place where a clock, a socket and a session meet.
