//! Password hashes and password files.
