//! A report as a page: one file that needs no other, no script and no network.

mod charts;
mod svg;

use std::fmt::{self, Write};

use self::svg::escape;
use super::screen::{count, duration, messages, outcome, reconnects};
use crate::load::{Latencies, Phase, Report, State};

/// The page.
pub(super) fn render(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(report, &mut page);
    page
}

fn write_page(report: &Report, out: &mut String) -> fmt::Result {
    let url = escape(&report.target.url);
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} clients to {url}: {}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>",
        count(report.totals.planned.into()),
        report.verdict.state,
        include_str!("page.css")
    )?;
    write_head(report, out)?;
    write_objectives(report, out)?;
    write_figures(report, out)?;
    section("Connects per second", "", out, |out| charts::write_connects(report, out))?;
    section("Open connections", "", out, |out| charts::write_open(report, out))?;
    if charts::has_latencies(report) {
        let note = "From the intended start of a client to its CONNACK, of the clients that were \
                    accepted in each second.";
        section("Latency over time", note, out, |out| charts::write_latencies(report, out))?;
    }
    if !report.phases.is_empty() {
        let note = "How slow the slowest clients were, phase by phase. Each mark to the right has \
                    a tenth of the clients beyond it.";
        section("Percentile spectrum", note, out, |out| charts::write_spectrum(report, out))?;
        write_phases(report, out)?;
    }
    write_errors(report, out)?;
    write_facts(report, out)?;
    out.write_str("</main>\n</body>\n</html>\n")
}

fn section(
    title: &str,
    note: &str,
    out: &mut String,
    chart: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    writeln!(out, "<section>\n<h2>{title}</h2>")?;
    if !note.is_empty() {
        writeln!(out, "<p class=\"note\">{note}</p>")?;
    }
    chart(out)?;
    out.write_str("\n</section>\n")
}

fn write_head(report: &Report, out: &mut String) -> fmt::Result {
    let (class, sign) = match report.verdict.state {
        State::Pass => ("pass", "✓"),
        State::Fail => ("fail", "✗"),
        _ => ("invalid", "!"),
    };
    writeln!(
        out,
        "<header>\n<h1>{} MQTT {} clients to <code>{}</code></h1>\n\
         <p class=\"verdict {class}\"><span aria-hidden=\"true\">{sign}</span> {}</p>",
        count(report.totals.planned.into()),
        report.target.mqtt_version,
        escape(&report.target.url),
        report.verdict.state
    )?;
    if !report.verdict.limited_by.is_empty() {
        out.write_str("<ul class=\"limits\">\n")?;
        for limit in &report.verdict.limited_by {
            let what = limit.what.replace('_', " ");
            writeln!(out, "<li><b>{}</b>: {}</li>", escape(&what), escape(&limit.detail))?;
        }
        out.write_str("</ul>\n")?;
    }
    writeln!(
        out,
        "<p class=\"note\">{}, started {}, {}</p>\n</header>",
        escape(&format!("midge_conn {}", report.run.version)),
        escape(&report.run.started),
        outcome(report.outcome)
    )
}

fn write_objectives(report: &Report, out: &mut String) -> fmt::Result {
    if report.slo.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section>\n<h2>Objectives</h2>\n<table>\n<tr><th></th><th>objective</th>\
         <th class=\"n\">measured</th><th>note</th></tr>\n",
    )?;
    for row in &report.slo {
        let (class, text) = if row.ok { ("pass", "✓ met") } else { ("fail", "✗ missed") };
        writeln!(
            out,
            "<tr><td class=\"{class}\">{text}</td><td><code>{}</code></td>\
             <td class=\"n\">{}</td><td>{}</td></tr>",
            escape(&row.expr),
            escape(&row.text),
            escape(row.note.as_deref().unwrap_or(""))
        )?;
    }
    out.write_str("</table>\n</section>\n")
}

/// The figures that are read first.
fn write_figures(report: &Report, out: &mut String) -> fmt::Result {
    let totals = &report.totals;
    let of_total = |of: fn(&Latencies) -> u64, quantile: f64| match report.phase(Phase::Total) {
        Some(total) if total.is_enough_for(quantile) => duration(of(total)),
        _ => "–".to_owned(),
    };
    let intended = match report.rate.intended {
        Some(rate) => format!("of {rate:.1}/s intended"),
        None => "as fast as possible".to_owned(),
    };
    let figures = [
        (count(totals.connected.into()), format!("connected of {}", count(totals.planned.into()))),
        (
            count(u64::from(totals.failed) + u64::from(totals.dropped)),
            format!(
                "{} failed, {} dropped",
                count(totals.failed.into()),
                count(totals.dropped.into())
            ),
        ),
        (format!("{:.1}/s", report.rate.achieved), intended),
        (count(totals.peak_open.into()), format!("open at most, held {:.1} s", report.rate.held_s)),
        (of_total(|total| total.p50, 0.5), "median total".to_owned()),
        (of_total(|total| total.p99, 0.99), "p99 total".to_owned()),
    ];
    out.write_str("<div class=\"figures\">\n")?;
    for (value, name) in figures {
        writeln!(out, "<div><b>{value}</b><span>{name}</span></div>")?;
    }
    out.write_str("</div>\n")
}

fn write_phases(report: &Report, out: &mut String) -> fmt::Result {
    out.write_str("<div class=\"wide\">\n<table>\n<tr><th>phase</th>")?;
    for name in ["n", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        write!(out, "<th class=\"n\">{name}</th>")?;
    }
    out.write_str("</tr>\n")?;
    for (phase, latencies) in &report.phases {
        let l = latencies;
        write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td>",
            charts::title(*phase).replace('_', " "),
            count(l.n)
        )?;
        let quantiles =
            [(l.p50, 0.5), (l.p90, 0.9), (l.p99, 0.99), (l.p999, 0.999), (l.p9999, 0.9999)];
        write!(out, "<td class=\"n\">{}</td>", duration(l.min_us))?;
        for (value, quantile) in quantiles {
            let text = if l.is_enough_for(quantile) { duration(value) } else { "–".to_owned() };
            write!(out, "<td class=\"n\">{text}</td>")?;
        }
        writeln!(out, "<td class=\"n\">{}</td></tr>", duration(l.max_us))?;
    }
    out.write_str("</table>\n</div>\n")
}

fn write_errors(report: &Report, out: &mut String) -> fmt::Result {
    if report.errors.is_empty() {
        return out.write_str("<section>\n<h2>Errors</h2>\n<p>None.</p>\n</section>\n");
    }
    let note = "The upper row shows how many clients failed or lost their connections in each \
                second; each row below spans from the first to the last of one class.";
    section("Errors", note, out, |out| charts::write_errors(report, out))?;
    out.write_str(
        "<div class=\"wide\">\n<table>\n<tr><th>class</th><th class=\"n\">count</th>\
         <th>when</th><th>example</th><th>remedy</th></tr>\n",
    )?;
    for row in &report.errors {
        writeln!(
            out,
            "<tr><td><code>{}</code></td><td class=\"n\">{}</td><td>{:.1} s to {:.1} s</td>\
             <td><code>{}</code><br>{}</td><td>{}</td></tr>",
            escape(&row.class),
            count(row.count),
            row.first_s,
            row.last_s,
            escape(&row.sample_client),
            escape(&row.sample_error),
            escape(&row.remedy)
        )?;
    }
    out.write_str("</table>\n</div>\n")
}

fn write_facts(report: &Report, out: &mut String) -> fmt::Result {
    let (run, plan, host) = (&report.run, &report.plan, &report.host);
    let cpu =
        |cpu: Option<f64>| cpu.map_or("unknown".to_owned(), |cpu| format!("{:.0} %", cpu * 100.0));
    let hold = plan.hold_s.map_or("until interrupted".to_owned(), |hold| format!("{hold} s"));
    let rss = host.rss_bytes.map_or("unknown".to_owned(), |bytes| {
        let per_client = host
            .rss_bytes_per_client
            .map_or(String::new(), |bytes| format!(", {} bytes for each client", count(bytes)));
        format!("{:.1} MiB{per_client}", bytes as f64 / f64::from(1 << 20))
    });
    let shard = match run.parts.as_slice() {
        [] => run.shard.to_string(),
        parts => format!("{} merged, started within {:.3} s", parts.len(), report.start_skew_s()),
    };
    let facts = [
        ("addresses", report.target.resolved.join(", ")),
        ("seed, shard", format!("{}, {shard}", run.seed)),
        ("run, plan", format!("{}, {}", run.id, run.plan_hash)),
        ("keep alive", format!("{} s", plan.keepalive_s)),
        ("hold", hold),
        ("in progress", format!("at most {}", plan.in_progress_max)),
        ("connect timeout", format!("{} s", plan.connect_timeout_s)),
        ("late starts", count(report.totals.late_starts)),
        ("host", format!("{}, {}, {} processors", host.name, host.kernel, host.cpus)),
        ("cpu", format!("{} on average, {} at most", cpu(host.cpu_mean), cpu(host.cpu_peak))),
        ("memory", rss),
        ("longest stall", duration(host.loop_stall_max_us)),
        ("TCP retransmissions", host.retransmits.map_or("unknown".to_owned(), count)),
    ];
    let words = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let more = [
        ("starts", words(&plan.profile)),
        ("clients say", words(&plan.clients_say)),
        ("life", words(&plan.life)),
        ("reconnects", reconnects(&report.totals)),
        ("traffic", words(&plan.traffic)),
        ("messages", messages(&report.totals)),
    ];
    let more = more.into_iter().filter_map(|(name, value)| Some((name, value?)));
    out.write_str("<section>\n<h2>The run</h2>\n<dl>\n")?;
    for (name, value) in facts.into_iter().chain(more) {
        writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value))?;
    }
    out.write_str("</dl>\n</section>\n")
}
