//! The charts of a report: connects per second, open connections, latency over time, the percentile
//! spectrum, and the strip of errors.
//!
//! Lines differ in colour and in their dashes, and carry their names at their ends, so that colour is
//! never the only thing that tells them apart. Details are in the titles that a pointer brings up.

use std::fmt::{self, Write};

use super::svg::{Frame, Scale, escape, round_steps};
use crate::{
    cli::load::{
        chart::per_second,
        screen::{count, duration},
    },
    load::{Phase, Report, Second},
};

/// The most columns of a chart over time.
const COLUMNS: usize = 480;

/// The phases of the spectrum in the order of their colours.
const SPECTRUM: [Phase; 9] = [
    Phase::Total,
    Phase::ConnAck,
    Phase::Tcp,
    Phase::Tls,
    Phase::WebSocket,
    Phase::PingResp,
    Phase::TotalAll,
    Phase::SubAck,
    Phase::PubAck,
];

/// One column of a chart over time: from when to when, and the largest value in it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    from: f64,
    to: f64,
    value: f64,
}

/// The values of all seconds, joined into columns where there are too many.
fn columns(series: &[Second], values: &[f64]) -> Vec<Column> {
    let per_column = series.len().div_ceil(COLUMNS).max(1);
    let mut from = 0.0;
    series
        .chunks(per_column)
        .zip(values.chunks(per_column))
        .filter_map(|(seconds, values)| {
            let to = seconds.last()?.t;
            let value = values.iter().copied().fold(0.0, f64::max);
            let column = Column { from, to, value };
            from = to;
            Some(column)
        })
        .collect()
}

fn time_axis(frame: &Frame, span: f64, out: &mut String) -> fmt::Result {
    let ticks: Vec<_> = round_steps(span, 10).into_iter().map(|t| (t, format!("{t}"))).collect();
    frame.x_axis(&ticks, "seconds since the start of the load", out)
}

fn span(series: &[Second]) -> f64 {
    series.last().map_or(1.0, |second| second.t).max(0.001)
}

/// A chart of one counted value over time.
struct Area<'a> {
    title: &'a str,
    /// What the vertical axis measures.
    unit: &'a str,
    class: &'a str,
    values: Vec<f64>,
    /// A value to compare with, and its label.
    reference: Option<(f64, String)>,
    /// Whether a value is that of a whole second rather than that of its end.
    steps: bool,
}

fn write_area(series: &[Second], area: &Area<'_>, out: &mut String) -> fmt::Result {
    let columns = columns(series, &area.values);
    let reference = area.reference.as_ref().map_or(0.0, |(value, _)| *value);
    let most = columns.iter().map(|column| column.value).fold(0.0, f64::max);
    let top = most.max(reference).max(1.0) * 1.05;
    let span = span(series);
    let frame = Frame { height: 240.0, x: Scale::Linear(0.0, span), y: Scale::Linear(0.0, top) };
    frame.open(area.title, &format!("at most {}", count(most.round() as u64)), out)?;
    let ticks: Vec<_> =
        round_steps(top, 5).into_iter().map(|value| (value, count(value as u64))).collect();
    frame.y_axis(&ticks, area.unit, out)?;
    let mut path = format!("M{:.1} {:.1}", frame.x(0.0), frame.y(0.0));
    for column in &columns {
        let (x, y) = (frame.x(column.to), frame.y(column.value));
        if area.steps {
            write!(path, "V{y:.1}H{x:.1}")?;
        } else {
            write!(path, "L{x:.1} {y:.1}")?;
        }
    }
    let line = path.clone();
    write!(path, "V{:.1}Z", frame.y(0.0))?;
    write!(
        out,
        "<path class=\"area {0}\" d=\"{path}\"/><path class=\"line {0}\" d=\"{line}\"/>",
        area.class
    )?;
    if let Some((value, label)) = &area.reference {
        frame.reference(*value, label, out)?;
    }
    for column in &columns {
        let text =
            format!("{}, {} {}", times(column), count(column.value.round() as u64), area.unit);
        write_target(&frame, column, &text, out)?;
    }
    time_axis(&frame, span, out)?;
    out.push_str("</svg>");
    Ok(())
}

/// A column that brings up a text when it is pointed at.
fn write_target(frame: &Frame, column: &Column, text: &str, out: &mut String) -> fmt::Result {
    let (from, to) = (frame.x(column.from), frame.x(column.to));
    write!(
        out,
        "<rect class=\"target\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
         <title>{text}</title></rect>",
        frame.top(),
        (to - from).max(0.5),
        frame.bottom() - frame.top()
    )
}

fn times(column: &Column) -> String {
    format!("{:.0} s to {:.0} s", column.from, column.to)
}

/// Connects per second, beside the intended rate.
pub(super) fn write_connects(report: &Report, out: &mut String) -> fmt::Result {
    let reference = report.rate.intended.map(|rate| (rate, format!("intended {rate:.0}/s")));
    let area = Area {
        title: "Connects per second",
        unit: "connects per second",
        class: "c0",
        values: per_second(&report.series_1s, |second| second.connected.into()),
        reference,
        steps: true,
    };
    write_area(&report.series_1s, &area, out)
}

/// Open connections, beside how many were planned.
pub(super) fn write_open(report: &Report, out: &mut String) -> fmt::Result {
    let planned = report.totals.planned;
    let area = Area {
        title: "Open connections",
        unit: "connections",
        class: "c2",
        values: report.series_1s.iter().map(|second| second.open.into()).collect(),
        reference: Some((planned.into(), format!("planned {}", count(planned.into())))),
        steps: false,
    };
    write_area(&report.series_1s, &area, out)
}

/// Whether there is a latency of at least two seconds to draw.
pub(super) fn has_latencies(report: &Report) -> bool {
    report.series_1s.iter().filter(|second| second.p50_us.is_some()).count() >= 2
}

/// The median and the 99th percentile of the total over time.
pub(super) fn write_latencies(report: &Report, out: &mut String) -> fmt::Result {
    let series = &report.series_1s;
    let measured: Vec<_> = series
        .iter()
        .filter_map(|second| Some((second.t, second.p50_us?.max(1), second.p99_us?.max(1))))
        .collect();
    let least = measured.iter().map(|(_, p50, _)| *p50).min().unwrap_or(1);
    let most = measured.iter().map(|(_, _, p99)| *p99).max().unwrap_or(1);
    let (from, to) = decades(least, most);
    let span = span(series);
    let frame = Frame { height: 240.0, x: Scale::Linear(0.0, span), y: Scale::Log(from, to) };
    let description = format!("from {} to {}", duration(least), duration(most));
    frame.open("Latency over time", &description, out)?;
    frame.y_axis(&decade_ticks(from, to), "total, log scale", out)?;
    for (class, name, of) in [
        ("c0", "median", (|m: &(f64, u64, u64)| m.1) as fn(&(f64, u64, u64)) -> u64),
        ("c1", "p99", |m| m.2),
    ] {
        let points: Vec<_> =
            measured.iter().map(|m| (frame.x(m.0), frame.y(of(m) as f64))).collect();
        write_line(class, &points, out)?;
        if let Some((_, y)) = points.last() {
            write_label(&frame, class, name, *y, out)?;
        }
    }
    for (t, p50, p99) in &measured {
        let column = Column { from: (t - 1.0).max(0.0), to: *t, value: 0.0 };
        let text = format!("{}: median {}, p99 {}", times(&column), duration(*p50), duration(*p99));
        write_target(&frame, &column, &text, out)?;
    }
    time_axis(&frame, span, out)?;
    out.push_str("</svg>");
    Ok(())
}

fn write_line(class: &str, points: &[(f64, f64)], out: &mut String) -> fmt::Result {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        write!(path, "{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' })?;
    }
    write!(out, "<path class=\"line {class}\" d=\"{path}\"/>")
}

fn write_label(frame: &Frame, class: &str, name: &str, y: f64, out: &mut String) -> fmt::Result {
    write!(
        out,
        "<text class=\"name {class}\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
        frame.right() + 8.0,
        y + 4.0
    )
}

/// The powers of ten, in microseconds, between which all values lie.
fn decades(least: u64, most: u64) -> (f64, f64) {
    let from = 10f64.powf((least.max(1) as f64).log10().floor());
    let to = 10f64.powf((most.max(1) as f64).log10().ceil());
    (from, to.max(from * 10.0))
}

fn decade_ticks(from: f64, to: f64) -> Vec<(f64, String)> {
    let mut ticks = Vec::new();
    let mut value = from;
    while value <= to * 1.001 {
        let label = match value {
            v if v < 1e3 => format!("{v:.0} µs"),
            v if v < 1e6 => format!("{:.0} ms", v / 1e3),
            v => format!("{:.0} s", v / 1e6),
        };
        ticks.push((value, label));
        value *= 10.0;
    }
    ticks
}

/// Every phase's durations by percentile. The axis is logarithmic in what lies beyond: each mark has a
/// tenth of the clients of the one before it beyond itself.
pub(super) fn write_spectrum(report: &Report, out: &mut String) -> fmt::Result {
    let shown: Vec<_> = SPECTRUM
        .into_iter()
        .enumerate()
        .filter(|(_, phase)| *phase != Phase::TotalAll || report.totals.failed > 0)
        .filter_map(|(color, phase)| {
            let latencies = report.phase(phase)?;
            Some((color, phase, latencies, latencies.distribution().ok()?))
        })
        .collect();
    let most_measured = shown.iter().map(|(_, _, latencies, _)| latencies.n).max().unwrap_or(1);
    let nines = (most_measured.max(10) as f64).log10();
    let least = shown.iter().map(|(_, _, latencies, _)| latencies.min_us).min().unwrap_or(1);
    let most = shown.iter().map(|(_, _, latencies, _)| latencies.max_us).max().unwrap_or(1);
    let (from, to) = decades(least, most);
    let frame = Frame { height: 380.0, x: Scale::Linear(0.0, nines), y: Scale::Log(from, to) };
    let description = "durations of each phase by percentile";
    frame.open("Percentile spectrum", description, out)?;
    frame.y_axis(&decade_ticks(from, to), "duration, log scale", out)?;
    let mut labels: Vec<(f64, usize, Phase)> = Vec::new();
    for (color, phase, latencies, distribution) in &shown {
        let points: Vec<_> = spectrum(latencies.n)
            .map(|place| {
                let micros = distribution.value_at_quantile(1.0 - 10f64.powf(-place));
                (frame.x(place), frame.y(micros.min(latencies.max_us).max(1) as f64))
            })
            .collect();
        write_line(&format!("c{color}"), &points, out)?;
        labels.extend(points.last().map(|(_, y)| (*y, *color, *phase)));
    }
    // Names do not lie on each other: each keeps below the one above it.
    const LINE: f64 = 15.0;
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = f64::MIN;
    let overflow = labels.len() as f64 * LINE;
    for (y, color, phase) in &labels {
        let y = y.max(lowest).min(frame.bottom().max(overflow));
        lowest = y + LINE;
        write_label(&frame, &format!("c{color}"), &title(*phase).replace('_', " "), y, out)?;
    }
    let marks = [
        (0.0, "0 %"),
        (std::f64::consts::LOG10_2, "50 %"),
        (1.0, "90 %"),
        (2.0, "99 %"),
        (3.0, "99.9 %"),
        (4.0, "99.99 %"),
        (5.0, "99.999 %"),
        (6.0, "99.9999 %"),
    ];
    let ticks: Vec<_> = marks
        .iter()
        .filter(|(place, _)| *place <= nines)
        .map(|(place, label)| (*place, (*label).to_owned()))
        .collect();
    for (index, (place, label)) in ticks.iter().enumerate() {
        let next = ticks.get(index + 1).map_or(nines, |(next, _)| *next);
        let mut text = format!("{label} of the clients were not slower than");
        for (_, phase, latencies, distribution) in &shown {
            let q = 1.0 - 10f64.powf(-place);
            let value = distribution.value_at_quantile(q).min(latencies.max_us);
            write!(text, "\n{}: {}", title(*phase), duration(value))?;
        }
        let column = Column { from: *place, to: next, value: 0.0 };
        write_target(&frame, &column, &text, out)?;
    }
    frame.x_axis(&ticks, "percentile, log scale", out)?;
    out.push_str("</svg>");
    Ok(())
}

/// The places at which a spectrum of `n` durations is drawn: from the fastest to the slowest.
fn spectrum(n: u64) -> impl Iterator<Item = f64> {
    const PER_DECADE: f64 = 24.0;
    let nines = (n.max(1) as f64).log10();
    let steps = (nines * PER_DECADE).ceil().max(1.0) as u32;
    (0..=steps).map(move |step| nines * f64::from(step) / f64::from(steps))
}

/// What a phase is called in a chart.
pub(super) fn title(phase: Phase) -> &'static str {
    match phase {
        Phase::TotalAll => "with failed",
        other => other.name(),
    }
}

/// When clients failed or lost their connections, and in which way.
pub(super) fn write_errors(report: &Report, out: &mut String) -> fmt::Result {
    const ROW: f64 = 26.0;
    let series = &report.series_1s;
    let span = span(series);
    let values = per_second(series, |second| f64::from(second.failed) + f64::from(second.dropped));
    let columns = columns(series, &values);
    let most = columns.iter().map(|column| column.value).fold(0.0, f64::max);
    let rows = report.errors.len() as f64 + 1.0;
    let frame = Frame {
        height: rows * ROW + 60.0,
        x: Scale::Linear(0.0, span),
        y: Scale::Linear(0.0, 1.0),
    };
    let description = format!("{} classes, at most {most:.0} in a second", report.errors.len());
    frame.open("Errors over time", &description, out)?;
    let top = frame.top();
    for column in columns.iter().filter(|column| column.value > 0.0) {
        let (from, to) = (frame.x(column.from), frame.x(column.to));
        let opacity = 0.25 + 0.75 * column.value / most.max(1.0);
        let text = format!("{}: {} errors in a second", times(column), column.value.round());
        write!(
            out,
            "<rect class=\"fill c1\" x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\" \
             opacity=\"{opacity:.2}\"><title>{text}</title></rect>",
            (to - from).max(1.5),
            ROW - 8.0
        )?;
    }
    let right = frame.right() + 8.0;
    write!(out, "<text x=\"{right}\" y=\"{:.1}\">all</text>", top + 13.0)?;
    for (index, row) in report.errors.iter().enumerate() {
        let y = top + ROW * (index as f64 + 1.0) + 9.0;
        let (from, to) = (frame.x(row.first_s), frame.x(row.last_s));
        let text = format!(
            "{} {}, from {:.1} s to {:.1} s, first {}\n{}",
            count(row.count),
            row.class,
            row.first_s,
            row.last_s,
            row.sample_client,
            row.sample_error
        );
        write!(
            out,
            "<g><title>{}</title><path class=\"span c1\" d=\"M{from:.1} {y:.1}H{:.1}\"/>\
             <circle class=\"fill c1\" cx=\"{from:.1}\" cy=\"{y:.1}\" r=\"4\"/>\
             <circle class=\"fill c1\" cx=\"{to:.1}\" cy=\"{y:.1}\" r=\"4\"/></g>\
             <text x=\"{right}\" y=\"{:.1}\">{}</text>",
            escape(&text),
            to.max(from + 0.1),
            y + 4.0,
            escape(&short(&row.class))
        )?;
    }
    time_axis(&frame, span, out)?;
    out.push_str("</svg>");
    Ok(())
}

/// A class as it fits beside the strip; the table has it in full.
fn short(class: &str) -> String {
    const LONGEST: usize = 17;
    if class.chars().count() <= LONGEST {
        return class.to_owned();
    }
    let kept: String = class.chars().take(LONGEST - 1).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_loads_are_joined_into_columns() {
        let series: Vec<_> =
            (1..=1_000).map(|t| Second { t: f64::from(t), ..Second::default() }).collect();
        let values: Vec<_> = (1..=1_000).map(f64::from).collect();
        let columns = columns(&series, &values);
        assert!(columns.len() <= COLUMNS);
        assert_eq!(columns[0], Column { from: 0.0, to: 3.0, value: 3.0 });
        assert_eq!(columns.last().unwrap().to, 1_000.0);
        assert!(columns.windows(2).all(|pair| pair[0].to == pair[1].from));
    }

    #[test]
    fn a_spectrum_ends_at_its_slowest() {
        let places: Vec<_> = spectrum(1_000).collect();
        assert_eq!((places[0], *places.last().unwrap()), (0.0, 3.0));
        assert_eq!(spectrum(1).collect::<Vec<_>>(), [0.0, 0.0]);
    }

    #[test]
    fn decades_hold_all_values() {
        assert_eq!(decades(15, 900), (10.0, 1_000.0));
        assert_eq!(decades(0, 0), (1.0, 10.0));
        let labels: Vec<_> = decade_ticks(10.0, 1e7).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(short("tcp.refused"), "tcp.refused");
        assert_eq!(short("connack.not_authorized"), "connack.not_auth…");
    }
}
