//! Percentiles of one run, and median and spread over runs.

use serde::Serialize;

/// The smallest value that at least `percent` of all values do not exceed (nearest rank). 0 of nothing.
pub(crate) fn percentile(sorted: &[u64], percent: f64) -> u64 {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0)
}

/// One figure over several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` where there was no run.
    pub(crate) fn over(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, min, max })
    }

    /// `12.3 (11.0–14.9)`; one number where every run gave the same.
    pub(crate) fn text(&self) -> String {
        let (median, min, max) = (number(self.median), number(self.min), number(self.max));
        if min == max { median } else { format!("{median} ({min}–{max})") }
    }
}

/// Three significant digits, and thousands in full.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        whole if whole == 0.0 || whole >= 100.0 => 0,
        tens if tens >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&sorted, 50.0), 100);
        assert_eq!(percentile(&sorted, 99.0), 198);
        assert_eq!(percentile(&sorted, 100.0), 200);
        assert_eq!(percentile(&sorted, 0.0), 1);
        assert_eq!(percentile(&[7], 99.0), 7);
        assert_eq!(percentile(&[], 99.0), 0);
    }

    #[test]
    fn medians_do_not_depend_on_the_order_of_runs() {
        let expected = Spread { median: 2.0, min: 1.0, max: 9.0 };
        assert_eq!(Spread::over([9.0, 1.0, 2.0]), Some(expected));
        assert_eq!(Spread::over([1.0, 3.0]).map(|spread| spread.median), Some(2.0));
        assert_eq!(Spread::over([]), None);
    }

    #[test]
    fn spreads_are_shown_only_where_there_is_one() {
        assert_eq!(Spread { median: 12.34, min: 11.0, max: 145.6 }.text(), "12.3 (11–146)");
        assert_eq!(Spread { median: 1.0, min: 1.0, max: 1.0 }.text(), "1");
        assert_eq!(Spread { median: 43_210.4, min: 100.0, max: 50_000.0 }.text(), "43210 (100–50000)");
        assert_eq!(number(0.456), "0.46");
    }
}
