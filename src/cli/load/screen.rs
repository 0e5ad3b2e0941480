//! The report as text, 80 columns wide.

use std::fmt::{self, Write};

use crate::{
    cli::stdio::single_line,
    load::{Latencies, Outcome, Phase, Report, Totals},
};

/// The report, ready for standard output.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(report, &mut text);
    text
}

fn write_report(report: &Report, out: &mut String) -> fmt::Result {
    let Report { run, target, plan, totals, rate, host, .. } = report;
    writeln!(
        out,
        "midge_conn {}  seed {}  {}  MQTT {}",
        run.version,
        run.seed,
        single_line(&target.url),
        target.mqtt_version
    )?;
    if let Some(micros) = target.dns_us {
        let addresses = target.resolved.join(", ");
        writeln!(out, "target      {addresses}, looked up in {}", duration(micros))?;
    }
    let intended = match rate.intended {
        Some(rate) => format!("{rate:.1}/s"),
        None => "as fast as possible".to_owned(),
    };
    writeln!(
        out,
        "plan        {} clients, {intended}, keep alive {}s, at most {} in progress",
        count(plan.clients.into()),
        plan.keepalive_s,
        count(plan.in_progress_max.into())
    )?;
    writeln!(out, "outcome     {}", outcome(report.outcome))?;
    let percent = f64::from(totals.connected) / f64::from(plan.clients.max(1)) * 100.0;
    writeln!(
        out,
        "connected   {} of {} ({percent:.2}%), failed {}, pending {}, not started {}",
        count(totals.connected.into()),
        count(plan.clients.into()),
        count(totals.failed.into()),
        count(totals.pending.into()),
        count(totals.not_started.into())
    )?;
    writeln!(
        out,
        "held        {:.1}s, peak {}, dropped {}, open at the end {}",
        rate.held_s,
        count(totals.peak_open.into()),
        count(totals.dropped.into()),
        count(totals.open.into())
    )?;
    writeln!(out, "rate        {:.1}/s achieved, ramp {:.3}s", rate.achieved, rate.ramp_s)?;
    write_life(report, out)?;
    if let Some(rss) = host.rss_bytes {
        let mebibytes = rss as f64 / f64::from(1 << 20);
        write!(out, "memory      {mebibytes:.1} MiB")?;
        if let Some(bytes) = host.rss_bytes_per_client {
            write!(out, ", {} bytes for each client", count(bytes))?;
            if target.url == "embedded" {
                write!(out, " and its peer in the null broker")?;
            }
        }
        writeln!(out)?;
    }
    write_phases(report, out)?;
    write_errors(report, out)
}

/// What the connections went through, and what they carried, as far as there was anything.
fn write_life(report: &Report, out: &mut String) -> fmt::Result {
    let Totals { left, returned, return_failed, published, received, .. } = report.totals;
    if left + returned + return_failed > 0 {
        let [left, returned, failed] = [left, returned, return_failed].map(|n| count(n.into()));
        writeln!(
            out,
            "reconnects  {left} ended by the plan, {returned} made again, {failed} attempts failed"
        )?;
    }
    if published + received > 0 {
        writeln!(out, "messages    {} published, {} received", count(published), count(received))?;
    }
    if let Some(ceiling) = &report.ceiling {
        let used = report.rate.achieved / ceiling.connects_per_s * 100.0;
        let per_second = ceiling.connects_per_s;
        writeln!(out, "ceiling     {per_second:.0}/s on this machine, {used:.0}% of it used")?;
    }
    Ok(())
}

fn write_phases(report: &Report, out: &mut String) -> fmt::Result {
    let row = |out: &mut String, cells: [&str; 7]| {
        let [name, n, p50, p90, p99, p999, max] = cells;
        writeln!(out, "{name:<14}{n:>12}{p50:>10}{p90:>10}{p99:>10}{p999:>10}{max:>10}")
    };
    writeln!(out)?;
    row(out, ["phase", "n", "p50", "p90", "p99", "p99.9", "max"])?;
    for phase in Phase::ALL {
        let Some(latencies) = report.phase(phase) else { continue };
        let quantile = |value, out_of| match is_meaningful(latencies, out_of) {
            true => duration(value),
            false => "-".to_owned(),
        };
        row(
            out,
            [
                title(phase),
                &count(latencies.n),
                &quantile(latencies.p50, 2),
                &quantile(latencies.p90, 10),
                &quantile(latencies.p99, 100),
                &quantile(latencies.p999, 1000),
                &duration(latencies.max_us),
            ],
        )?;
    }
    writeln!(out, "Schedule lag and total count from the intended start of a client.")?;
    let slowest = report.phase(Phase::Tcp).map_or(0, |tcp| tcp.max_us);
    if slowest >= SYN_RETRANSMISSION_MICROS {
        writeln!(
            out,
            "TCP connects of 1s and more are retransmitted SYNs as a rule: the broker's accept \
             queue\noverflowed (net.core.somaxconn there), or packets were lost."
        )?;
    }
    Ok(())
}

fn write_errors(report: &Report, out: &mut String) -> fmt::Result {
    if report.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nerrors")?;
    for row in &report.errors {
        let times = if row.count == 1 {
            format!("at {:.1}s", row.first_s)
        } else {
            format!("from {:.1}s to {:.1}s", row.first_s, row.last_s)
        };
        writeln!(out, "  {} {} {times}, first {}", row.class, count(row.count), row.sample_client)?;
        writeln!(out, "    {}", single_line(&row.sample_error))?;
        writeln!(out, "    remedy: {}", row.remedy)?;
    }
    Ok(())
}

/// From here on a connect has waited for a retransmission (RFC 6298 §2: one second at first).
const SYN_RETRANSMISSION_MICROS: u64 = 1_000_000;

/// Whether there are enough measurements for the value that one in `out_of` exceeds: ten of them.
fn is_meaningful(latencies: &Latencies, out_of: u64) -> bool {
    latencies.n >= 10 * out_of
}

fn title(phase: Phase) -> &'static str {
    match phase {
        Phase::ScheduleLag => "  schedule lag",
        Phase::GeneratorLag => "  own lag",
        Phase::Dns => "  dns",
        Phase::Tcp => "  tcp",
        Phase::Proxy => "  proxy",
        Phase::Tls => "  tls",
        Phase::WebSocket => "  ws",
        Phase::ConnAck => "  connack",
        Phase::Total => "  total",
        Phase::TotalAll => "  with failed",
        Phase::SubAck => "  suback",
        Phase::PubAck => "  puback",
        Phase::PingResp => "  pingresp",
        Phase::Return => "  return",
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Failures => "some clients failed or lost their connections",
        Outcome::Unreachable => "given up: the target takes no connections",
        Outcome::Aborted => "given up: an objective was missed for too long",
        Outcome::Interrupted => "interrupted",
    }
}

/// `150us`, `1.5ms`, `12.3ms`, `1.03s`.
fn duration(micros: u64) -> String {
    let micros_f = micros as f64;
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => format!("{:.1}ms", micros_f / 1e3),
        _ => format!("{:.2}s", micros_f / 1e6),
    }
}

/// `1,234,567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn durations_keep_three_digits_or_so() {
        for (micros, text) in [
            (0, "0us"),
            (999, "999us"),
            (1_000, "1.0ms"),
            (12_340, "12.3ms"),
            (999_900, "999.9ms"),
            (1_030_000, "1.03s"),
        ] {
            assert_eq!(duration(micros), text);
        }
    }
}
