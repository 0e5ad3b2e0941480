//! The report as text, 80 columns wide.

use std::fmt::{self, Write};

use super::chart;
use crate::{
    cli::stdio::single_line,
    load::{Outcome, Phase, Report, Totals},
};

/// The report, ready for standard output.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(report, &mut text);
    text
}

fn write_report(report: &Report, out: &mut String) -> fmt::Result {
    write_head(report, out)?;
    write_verdict(report, out)?;
    write_course(report, out)?;
    write_phases(report, out)?;
    write_errors(report, out)?;
    write_timeline(report, out)?;
    write_host(report, out)
}

fn write_head(report: &Report, out: &mut String) -> fmt::Result {
    let Report { run, target, plan, rate, .. } = report;
    writeln!(
        out,
        "midge_conn {}  seed {}  {}  MQTT {}",
        run.version,
        run.seed,
        single_line(&target.url),
        target.mqtt_version
    )?;
    let shard = &run.shard;
    if shard.count > 1 {
        let source = shard.source.as_ref().map_or(String::new(), |from| format!(" ({from})"));
        writeln!(
            out,
            "shard       {shard}{source}: {} of the clients",
            count(report.totals.planned.into())
        )?;
    }
    if !run.parts.is_empty() {
        writeln!(
            out,
            "merged      {} reports from {}, started within {}",
            run.parts.len(),
            report.host.name,
            duration((report.start_skew_s() * 1e6) as u64)
        )?;
    }
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
    for words in [&plan.clients_say, &plan.life, &plan.traffic] {
        if !words.is_empty() {
            writeln!(out, "            {}", single_line(words))?;
        }
    }
    Ok(())
}

fn write_verdict(report: &Report, out: &mut String) -> fmt::Result {
    let met = report.slo.iter().filter(|row| row.ok).count();
    let of = match report.slo.len() {
        0 => String::new(),
        all => format!(", {met} of {all} objectives met"),
    };
    writeln!(out, "VERDICT     {}{of}", report.verdict.state)?;
    for (index, limit) in report.verdict.limited_by.iter().enumerate() {
        let title = if index == 0 { "limited by" } else { "" };
        writeln!(out, "{title:<12}{}: {}", limit.what, limit.detail)?;
    }
    for row in &report.slo {
        let ok = if row.ok { "met" } else { "MISSED" };
        let note = row.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        writeln!(out, "objective   {ok:<7} {}: {}{note}", row.expr, row.text)?;
    }
    writeln!(out, "outcome     {}", outcome(report.outcome))
}

fn write_course(report: &Report, out: &mut String) -> fmt::Result {
    let Report { totals, rate, .. } = report;
    let percent = f64::from(totals.connected) / f64::from(totals.planned.max(1)) * 100.0;
    writeln!(
        out,
        "connected   {} of {} ({percent:.2}%), failed {}, pending {}, not started {}",
        count(totals.connected.into()),
        count(totals.planned.into()),
        count(totals.failed.into()),
        count(totals.pending.into()),
        count(totals.not_started.into())
    )?;
    write!(out, "rate        {:.1}/s achieved", rate.achieved)?;
    if let Some(intended) = rate.intended {
        write!(out, " of {intended:.1}/s")?;
    }
    write!(out, ", ramp {:.3}s", rate.ramp_s)?;
    match report.phase(Phase::GeneratorLag) {
        Some(lag) if rate.intended.is_some() => writeln!(
            out,
            ", late starts {} (at most {})",
            count(totals.late_starts),
            duration(lag.max_us)
        )?,
        _ => writeln!(out)?,
    }
    writeln!(
        out,
        "held        {:.1}s, peak {}, dropped {}, open at the end {}",
        rate.held_s,
        count(totals.peak_open.into()),
        count(totals.dropped.into()),
        count(totals.open.into())
    )?;
    write_life(report, out)
}

fn write_timeline(report: &Report, out: &mut String) -> fmt::Result {
    let series = &report.series_1s;
    if series.len() < 2 {
        return Ok(());
    }
    let span = series.last().map_or(0.0, |second| second.t);
    writeln!(out, "\ntimeline    0s to {span:.0}s")?;
    let connected = chart::per_second(series, |second| second.connected.into());
    let failed =
        chart::per_second(series, |second| f64::from(second.failed) + f64::from(second.dropped));
    let open: Vec<_> = series.iter().map(|second| f64::from(second.open)).collect();
    let p99: Vec<_> = series.iter().filter_map(|second| second.p99_us).collect();
    let rows = [
        ("connects/s", connected, false),
        ("open", open, false),
        ("errors/s", failed, true),
        ("p99", series.iter().map(|s| s.p99_us.map_or(0.0, |p99| p99 as f64)).collect(), true),
    ];
    for (name, values, only_if_any) in rows {
        let top = values.iter().copied().fold(0.0, f64::max);
        if only_if_any && top == 0.0 {
            continue;
        }
        let top_text = match name {
            "p99" => duration(p99.iter().copied().max().unwrap_or(0)),
            _ => count(top.round() as u64),
        };
        writeln!(out, "  {name:<10}{}  at most {top_text}", chart::sparkline(&values, top))?;
    }
    Ok(())
}

fn write_host(report: &Report, out: &mut String) -> fmt::Result {
    let host = &report.host;
    let mut parts = Vec::new();
    if let Some(mean) = host.cpu_mean {
        let peak = host.cpu_peak.map_or(String::new(), |p| format!(" (peak {:.0}%)", p * 100.0));
        parts.push(format!("cpu {:.0}%{peak} of {} cores", mean * 100.0, host.cpus));
    }
    parts.push(format!("longest stall {}", duration(host.loop_stall_max_us)));
    if let Some(retransmits) = host.retransmits {
        parts.push(format!("{} TCP retransmissions", count(retransmits)));
    }
    writeln!(out, "\nhost        {}", parts.join(", "))?;
    if let Some(rss) = host.rss_bytes {
        let mebibytes = rss as f64 / f64::from(1 << 20);
        write!(out, "memory      {mebibytes:.1} MiB")?;
        if let Some(bytes) = host.rss_bytes_per_client {
            write!(out, ", {} bytes for each client", count(bytes))?;
            if report.target.url == "embedded" {
                write!(out, " and its peer in the null broker")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What the connections went through, and what they carried, as far as there was anything.
fn write_life(report: &Report, out: &mut String) -> fmt::Result {
    if let Some(reconnects) = reconnects(&report.totals) {
        writeln!(out, "reconnects  {reconnects}")?;
    }
    if let Some(messages) = messages(&report.totals) {
        writeln!(out, "messages    {messages}")?;
    }
    if let Some(lost @ 1..) = report.host.syn_retransmits {
        let lost = count(lost);
        writeln!(out, "retransmits {lost} of a SYN on this machine, each of a second or more")?;
    }
    if let Some(ceiling) = &report.ceiling {
        let used = report.rate.achieved / ceiling.connects_per_s * 100.0;
        let per_second = ceiling.connects_per_s;
        writeln!(out, "ceiling     {per_second:.0}/s on this machine, {used:.0}% of it used")?;
    }
    Ok(())
}

/// How connections ended and came back; `None` where none did.
pub(super) fn reconnects(totals: &Totals) -> Option<String> {
    let Totals { left, returned, return_failed, .. } = *totals;
    let counts = [left, returned, return_failed];
    let [left, returned, failed] = counts.map(|n| count(n.into()));
    let text = format!("{left} ended by the plan, {returned} made again, {failed} attempts failed");
    counts.iter().any(|count| *count > 0).then_some(text)
}

/// What the connections have carried; `None` for nothing.
pub(super) fn messages(totals: &Totals) -> Option<String> {
    let Totals { published, received, .. } = *totals;
    let text = format!("{} published, {} received", count(published), count(received));
    (published > 0 || received > 0).then_some(text)
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
        // One lookup is said above; and without failures, the two totals are the same.
        let is_same = phase == Phase::TotalAll && !has_failures(report);
        if phase == Phase::Dns || is_same {
            continue;
        }
        let quantile = |value, quantile| match latencies.is_enough_for(quantile) {
            true => duration(value),
            false => "-".to_owned(),
        };
        row(
            out,
            [
                title(phase),
                &count(latencies.n),
                &quantile(latencies.p50, 0.5),
                &quantile(latencies.p90, 0.9),
                &quantile(latencies.p99, 0.99),
                &quantile(latencies.p999, 0.999),
                &duration(latencies.max_us),
            ],
        )?;
    }
    writeln!(
        out,
        "Lags and totals count from the intended start of a client; own lag is this machine's doing."
    )?;
    if has_failures(report) {
        let timeout = report.plan.connect_timeout_s;
        writeln!(out, "With failed: each attempt that failed counts as {timeout}s or more.")?;
    }
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

fn has_failures(report: &Report) -> bool {
    report.totals.failed > 0 || report.totals.return_failed > 0
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

pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::Failures => "some clients failed or lost their connections",
        Outcome::Unreachable => "given up: the target takes no connections",
        Outcome::Aborted => "given up: an objective was missed for too long",
        Outcome::Interrupted => "interrupted",
    }
}

/// `150us`, `1.5ms`, `12.3ms`, `1.03s`.
pub(super) fn duration(micros: u64) -> String {
    let micros_f = micros as f64;
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => format!("{:.1}ms", micros_f / 1e3),
        _ => format!("{:.2}s", micros_f / 1e6),
    }
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
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
