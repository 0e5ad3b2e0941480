//! The seconds of a load as comma-separated values, written while it runs.

use std::io::{self, Write};

use crate::load::Second;

const HEADER: &str =
    "t_s,attempted,connected,failed,dropped,open,p50_us,p99_us,cpu,rss_bytes,retransmits\n";

/// Writes the header.
///
/// # Errors
/// What writing meets.
pub(super) fn write_header(out: &mut impl Write) -> io::Result<()> {
    out.write_all(HEADER.as_bytes())
}

/// Writes the row of one second. What is not known is empty.
///
/// # Errors
/// What writing meets.
pub(super) fn write_row(second: &Second, out: &mut impl Write) -> io::Result<()> {
    let Second { t, attempted, connected, failed, dropped, open, .. } = second;
    let row = format!(
        "{t:.3},{attempted},{connected},{failed},{dropped},{open},{},{},{},{},{}\n",
        known(second.p50_us),
        known(second.p99_us),
        known(second.cpu.map(|cpu| format!("{cpu:.3}"))),
        known(second.rss_bytes),
        known(second.retransmits),
    );
    out.write_all(row.as_bytes())
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}
