//! A coordinate system in SVG: a frame with axes, and positions in it.

use std::fmt::{self, Write};

/// The size of a chart, in units of its view box.
pub(super) const WIDTH: f64 = 960.0;
const LEFT: f64 = 72.0;
/// Room for the labels at the ends of lines.
const RIGHT: f64 = 132.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// How values become positions on an axis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// Evenly, from the first to the second value.
    Linear(f64, f64),
    /// By their logarithms, from the first to the second value.
    Log(f64, f64),
}

impl Scale {
    /// The place of `value`: 0 at the beginning of the axis, 1 at its end.
    fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(from, to) => (value - from) / (to - from).max(f64::MIN_POSITIVE),
            Self::Log(from, to) => (value.max(from) / from).ln() / (to / from).ln().max(1e-9),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A chart's frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) height: f64,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

impl Frame {
    /// The horizontal position of a value.
    pub(super) fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    /// The vertical position of a value.
    pub(super) fn y(&self, value: f64) -> f64 {
        self.bottom() - self.y.place(value) * (self.bottom() - TOP)
    }

    /// Where the plot ends to the right.
    pub(super) fn right(&self) -> f64 {
        WIDTH - RIGHT
    }

    /// Where the plot ends below.
    pub(super) fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }

    /// Where the plot begins above.
    pub(super) fn top(&self) -> f64 {
        TOP
    }

    /// Opens the picture. `description` tells those who do not see it what it shows.
    pub(super) fn open(&self, title: &str, description: &str, out: &mut String) -> fmt::Result {
        write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}: {}\">",
            self.height,
            escape(title),
            escape(description)
        )
    }

    /// Draws the horizontal axis with these ticks, and what it measures.
    pub(super) fn x_axis(
        &self,
        ticks: &[(f64, String)],
        title: &str,
        out: &mut String,
    ) -> fmt::Result {
        let (bottom, right) = (self.bottom(), self.right());
        write!(out, "<path class=\"axis\" d=\"M{LEFT} {bottom}H{right}\"/>")?;
        for (value, label) in ticks {
            let x = self.x(*value);
            write!(
                out,
                "<path class=\"axis\" d=\"M{x:.1} {bottom}v5\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 18.0
            )?;
        }
        write!(
            out,
            "<text class=\"unit\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{title}</text>",
            bottom + 36.0
        )
    }

    /// Draws the vertical axis with these ticks and a grid, and what it measures.
    pub(super) fn y_axis(
        &self,
        ticks: &[(f64, String)],
        title: &str,
        out: &mut String,
    ) -> fmt::Result {
        let right = self.right();
        for (value, label) in ticks {
            let y = self.y(*value);
            write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            )?;
        }
        let middle = (TOP + self.bottom()) / 2.0;
        write!(
            out,
            "<text class=\"unit\" transform=\"translate(14 {middle:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{title}</text>"
        )
    }

    /// Draws a horizontal line that the values are to be compared with, with its label.
    pub(super) fn reference(&self, value: f64, label: &str, out: &mut String) -> fmt::Result {
        let (y, right) = (self.y(value), self.right());
        write!(
            out,
            "<path class=\"reference\" d=\"M{LEFT} {y:.1}H{right}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            right + 8.0,
            y + 4.0
        )
    }
}

/// Round values from 0 to about `top`, at most `most` of them.
pub(super) fn round_steps(top: f64, most: usize) -> Vec<f64> {
    if top <= 0.0 || !top.is_finite() {
        return vec![0.0];
    }
    let rough = top / most.max(1) as f64;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= rough)
        .unwrap_or(magnitude);
    let count = (top / step + 1e-9).floor() as usize;
    (0..=count).map(|n| n as f64 * step).collect()
}

/// Text as part of a page.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // No page may hold these, whatever a broker has sent.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!(round_steps(100.0, 5), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(round_steps(7.3, 4), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(round_steps(0.0, 4), [0.0]);
        assert_eq!(round_steps(f64::NAN, 4), [0.0]);
    }

    #[test]
    fn places_stay_on_their_axis() {
        let linear = Scale::Linear(0.0, 10.0);
        assert_eq!((linear.place(5.0), linear.place(20.0), linear.place(-1.0)), (0.5, 1.0, 0.0));
        let log = Scale::Log(1.0, 100.0);
        assert!((log.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(log.place(0.0), 0.0);
        assert_eq!(Scale::Linear(1.0, 1.0).place(1.0), 0.0);
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<a href=\"x\">&\u{1b}"), "&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}");
    }
}
