//! What all charts of a load share: its seconds as rates, and small charts of text.

use crate::load::Second;

/// The most cells of a chart of text.
const WIDTH: usize = 48;

/// By how much a counter grew in each second, per second.
pub(super) fn per_second(series: &[Second], counter: impl Fn(&Second) -> f64) -> Vec<f64> {
    let mut before = (0.0, 0.0);
    series
        .iter()
        .map(|second| {
            let now = (second.t, counter(second));
            let (seconds, more) = (now.0 - before.0, now.1 - before.1);
            before = now;
            // The last second of a load is shorter than others, at times by nearly all of it.
            // What came of it says little about a whole one then.
            const SHORTEST: f64 = 0.5;
            if seconds >= SHORTEST { (more / seconds).max(0.0) } else { more.max(0.0) }
        })
        .collect()
}

/// A chart of one line, in which `top` is a full cell. What is more than nothing shows.
pub(super) fn sparkline(values: &[f64], top: f64) -> String {
    const CELLS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let width = values.len().clamp(1, WIDTH);
    (0..width)
        .map(|cell| {
            let (from, to) = (cell * values.len() / width, (cell + 1) * values.len() / width);
            let most = values.get(from..to).unwrap_or_default().iter().copied().fold(0.0, f64::max);
            let level = if top > 0.0 { (most / top * 8.0).ceil() as usize } else { 0 };
            CELLS.get(level.min(8)).copied().unwrap_or(' ')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_time() {
        let second = |t, connected| Second { t, connected, ..Second::default() };
        let series = [second(1.0, 100), second(2.0, 300), second(2.5, 350), second(2.9, 390)];
        let rates = per_second(&series, |second| second.connected.into());
        assert_eq!(rates, [100.0, 200.0, 100.0, 40.0]);
    }

    #[test]
    fn lines_show_the_most_of_each_cell() {
        assert_eq!(sparkline(&[0.0, 1.0, 50.0, 100.0], 100.0), " ▁▄█");
        let many: Vec<_> = (0..4_800).map(f64::from).collect();
        let line = sparkline(&many, 4_799.0);
        assert_eq!(line.chars().count(), WIDTH);
        assert!(line.starts_with('▁') && line.ends_with('█'), "{line}");
        assert_eq!(sparkline(&[], 0.0), " ");
    }
}
