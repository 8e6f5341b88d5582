//! Latency histograms: three significant digits from a nanosecond to ever so long.

use hdrhistogram::Histogram;

/// How long something took, many times.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// How long something took, in microseconds, to three significant digits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatencySummary {
    /// How many were measured.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// Nine of ten took no longer.
    pub p90_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// 999 of 1000 took no longer.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, HOUR_NS, 3).expect("the bounds are constants and in order"))
    }

    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// None if nothing was measured.
    pub(crate) fn summary(&self) -> Option<LatencySummary> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        (!self.0.is_empty()).then(|| LatencySummary {
            count: self.0.len(),
            mean_us: self.0.mean() / 1000.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1000.0,
        })
    }
}

const HOUR_NS: u64 = 3600 * crate::clock::SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_thousandth() {
        let (mut even, mut odd) = (Latency::new(), Latency::new());
        for us in 1..=1000 {
            if us % 2 == 0 { &mut even } else { &mut odd }.record(us * 1000);
        }
        even.add(&odd);
        let summary = even.summary().unwrap();
        assert_eq!(summary.count, 1000);
        for (value, expected) in [
            (summary.p50_us, 500.0),
            (summary.p90_us, 900.0),
            (summary.p99_us, 990.0),
            (summary.p999_us, 999.0),
            (summary.max_us, 1000.0),
            (summary.mean_us, 500.5),
        ] {
            assert!((value - expected).abs() <= expected / 1000.0, "{value} for {expected}");
        }
    }

    #[test]
    fn nothing_measured_has_no_summary() {
        assert_eq!(Latency::new().summary(), None);
    }
}
