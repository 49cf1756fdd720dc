//! How late each rung is, by its name: series of rungs that somebody encodes now, and of no others.

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, Result, histogram_opts};
use std::collections::HashMap;
use std::sync::Arc;

/// Names come with live edits, one after the other, so those that are gone are dropped.
#[derive(Clone, Debug)]
pub(crate) struct RungLags {
    series: HistogramVec,
    used: Arc<Mutex<HashMap<String, usize>>>,
}

/// The series of a rung, for as long as a worker encodes it.
#[derive(Debug)]
pub(crate) struct RungLag {
    histogram: Histogram,
    name: String,
    all: RungLags,
}

/// More names than any configuration has; others share one series.
const NAMES_MAX: usize = 64;
const OTHER: &str = "other";

impl RungLags {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { series: HistogramVec::new(opts(), &["rung"])?, used: Arc::default() })
    }

    pub(super) fn collector(&self) -> Box<dyn Collector> {
        Box::new(self.series.clone())
    }

    pub(super) fn of(&self, name: &str) -> RungLag {
        let mut used = self.used.lock();
        let name = if used.len() >= NAMES_MAX && !used.contains_key(name) { OTHER } else { name };
        *used.entry(name.to_owned()).or_default() += 1;
        RungLag { histogram: self.series.with_label_values(&[name]), name: name.to_owned(), all: self.clone() }
    }
}

impl RungLag {
    pub(crate) fn observe(&self, seconds: f64) {
        self.histogram.observe(seconds);
    }
}

impl Drop for RungLag {
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

fn opts() -> HistogramOpts {
    // As for all pictures, and up to where less is encoded: a third of a second.
    let buckets = vec![0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0];
    histogram_opts!(
        "vivid_transcode_rung_lag_seconds",
        "the worst delay of a rung in each half second, while it is encoded: from a source picture's arrival in the worker to its coded picture",
        buckets
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(lags: &RungLags) -> Vec<String> {
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
        let lags = RungLags::new().unwrap();
        let (one, two, low) = (lags.of("720p"), lags.of("720p"), lags.of("360p"));
        drop((one, low));
        assert_eq!(names(&lags), ["720p"]);
        two.observe(0.02);
        drop(two);
        assert_eq!(names(&lags), [""; 0]);
    }

    #[test]
    fn names_are_bounded() {
        let lags = RungLags::new().unwrap();
        let held: Vec<_> = (0..2 * NAMES_MAX).map(|name| lags.of(&name.to_string())).collect();
        assert_eq!(names(&lags).len(), NAMES_MAX + 1);
        assert!(names(&lags).contains(&OTHER.to_owned()));
        drop(held);
        assert_eq!(names(&lags), [""; 0]);
    }
}
