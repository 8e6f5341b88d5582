//! The text format of Prometheus, version 0.0.4.

use std::fmt::{self, Write as _};

/// Metrics as text. A String takes everything, so no write to it fails.
#[derive(Default)]
pub(super) struct Text(String);

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only rises.
    Counter,
    /// Comes and goes.
    Gauge,
    /// How often a value lay in which range.
    Histogram,
}

/// One metric whose samples are being written.
pub(super) struct Family<'a> {
    name: &'a str,
    text: &'a mut String,
}

impl Text {
    /// Begins a metric.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, help: &str, kind: Kind) -> Family<'a> {
        let _ = writeln!(self.0, "# HELP {name} {}", Escaped { text: help, quotes: false });
        let _ = writeln!(self.0, "# TYPE {name} {}", kind.name());
        Family { name, text: &mut self.0 }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Its only value.
    pub(super) fn value(&mut self, value: f64) {
        self.sample("", &[], value);
    }

    /// Its value for these labels.
    pub(super) fn labelled(&mut self, labels: &[(&str, &str)], value: f64) {
        self.sample("", labels, value);
    }

    /// A histogram: `ranges` has the upper end of each range and how often a value lay in it, the last without an end.
    pub(super) fn histogram(&mut self, ranges: impl Iterator<Item = (f64, u64)>, sum: f64) {
        let mut count = 0;
        let mut ranges = ranges.peekable();
        while let Some((end, times)) = ranges.next() {
            count += times;
            if ranges.peek().is_some() {
                self.sample("_bucket", &[("le", &end.to_string())], count as f64);
            }
        }
        self.sample("_bucket", &[("le", "+Inf")], count as f64);
        self.sample("_sum", &[], sum);
        self.sample("_count", &[], count as f64);
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { "{" } else { "," };
            let _ = write!(self.text, "{before}{label}=\"{}\"", Escaped { text, quotes: true });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '"' if self.quotes => f.write_str("\\\""),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_behind_help_and_type() {
        let mut text = Text::default();
        text.family("a_total", "What \"it\" is\\", Kind::Counter).value(3.0);
        let mut family = text.family("b", "B.", Kind::Gauge);
        family.labelled(&[("x", "1"), ("y", "\"\\\n")], 0.25);
        family.labelled(&[("x", "é")], 1e12);
        let expected = "# HELP a_total What \"it\" is\\\\\n# TYPE a_total counter\na_total 3\n\
                        # HELP b B.\n# TYPE b gauge\nb{x=\"1\",y=\"\\\"\\\\\\n\"} 0.25\nb{x=\"é\"} 1000000000000\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_histogram_counts_all_up_to_each_end() {
        let mut text = Text::default();
        let ranges = [(0.5, 2), (1.0, 0), (2.0, 3)];
        text.family("h", "H.", Kind::Histogram).histogram(ranges.into_iter(), 7.5);
        let expected = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 2\nh_bucket{le=\"1\"} 2\n\
                        h_bucket{le=\"+Inf\"} 5\nh_sum 7.5\nh_count 5\n";
        assert_eq!(text.finish(), expected);
    }
}
