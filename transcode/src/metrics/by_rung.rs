//! Figures of each rung, by its name: series of rungs that somebody encodes now, and of no others.

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Names come with live edits, one after the other, so those that are gone are dropped.
#[derive(Clone, Debug)]
pub(crate) struct ByRung {
    series: HistogramVec,
    used: Arc<Mutex<HashMap<String, usize>>>,
}

/// The series of a rung, for as long as a worker encodes it.
#[derive(Debug)]
pub(crate) struct RungHistogram {
    histogram: Histogram,
    name: String,
    all: ByRung,
}

/// More names than any configuration has; others share one series.
const NAMES_MAX: usize = 64;
const OTHER: &str = "other";

impl ByRung {
    pub(super) fn new(opts: HistogramOpts) -> Result<Self> {
        Ok(Self { series: HistogramVec::new(opts, &["rung"])?, used: Arc::default() })
    }

    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.series.clone())
    }

    pub(super) fn of(&self, name: &str) -> RungHistogram {
        let mut used = self.used.lock();
        let name = if used.len() >= NAMES_MAX && !used.contains_key(name) { OTHER } else { name };
        *used.entry(name.to_owned()).or_default() += 1;
        RungHistogram { histogram: self.series.with_label_values(&[name]), name: name.to_owned(), all: self.clone() }
    }
}

impl RungHistogram {
    pub(crate) fn observe(&self, value: f64) {
        self.histogram.observe(value);
    }
}

impl Drop for RungHistogram {
    fn drop(&mut self) {
        let mut used = self.all.used.lock();
        let Some(count) = used.get_mut(&self.name) else { return };
        *count -= 1;
        if *count == 0 {
            used.remove(&self.name);
            // It is there: it was made with the count.
            let _ = self.all.series.remove_label_values(&[&self.name]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lags() -> ByRung {
        ByRung::new(HistogramOpts::new("lag", "of tests")).unwrap()
    }

    fn names(lags: &ByRung) -> Vec<String> {
        let mut names: Vec<_> = lags.series.collect()[0]
            .get_metric()
            .iter()
            .map(|metric| metric.get_label()[0].value().to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_rung_has_a_series_while_somebody_encodes_it() {
        let lags = lags();
        let (one, two, low) = (lags.of("720p"), lags.of("720p"), lags.of("360p"));
        drop((one, low));
        assert_eq!(names(&lags), ["720p"]);
        two.observe(0.02);
        drop(two);
        assert_eq!(names(&lags), [""; 0]);
    }

    #[test]
    fn names_are_bounded() {
        let lags = lags();
        let held: Vec<_> = (0..2 * NAMES_MAX).map(|name| lags.of(&name.to_string())).collect();
        assert_eq!(names(&lags).len(), NAMES_MAX + 1);
        assert!(names(&lags).contains(&OTHER.to_owned()));
        drop(held);
        assert_eq!(names(&lags), [""; 0]);
    }
}
