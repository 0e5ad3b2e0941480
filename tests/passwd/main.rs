//! midge_passwd as its users run it.
