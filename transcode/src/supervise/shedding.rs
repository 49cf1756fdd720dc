//! What workers leave out to keep up, as logs and metrics show it.

use crate::{Metrics, Shed};
use prometheus::IntGauge;
use std::time::Duration;

/// Of one worker.
pub(super) struct Shedding {
    metrics: Metrics,
    shed: Shed,
}

impl Shedding {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), shed: Shed::default() }
    }

    /// It leaves out so much from now on, since its pictures left so late, or are in time again.
    pub(super) fn change(&mut self, shed: Shed, lag: Duration) {
        let Shed { faster, thinned, away } = shed;
        let down = self.depth() < depth(shed);
        self.step().inspect(|before| before.dec());
        self.shed = shed;
        self.step().inspect(|now| now.inc());
        let direction = if down { "down" } else { "up" };
        self.metrics.steps.with_label_values(&[direction]).inc();
        if down {
            tracing::warn!(
                ?lag,
                faster,
                thinned,
                away,
                "encoders are behind; less is encoded from the next segment on"
            );
        } else {
            tracing::info!(?lag, faster, thinned, away, "encoders keep up; more is encoded from the next segment on");
        }
    }

    /// The worker has ended.
    pub(super) fn end(&mut self) {
        self.step().inspect(|before| before.dec());
        self.shed = Shed::default();
    }

    fn depth(&self) -> u32 {
        depth(self.shed)
    }

    /// The gauge of the furthest step that it has taken.
    fn step(&self) -> Option<IntGauge> {
        let step = match self.shed {
            Shed { away: 1.., .. } => "rungs",
            Shed { thinned: true, .. } => "frames",
            Shed { faster: 1.., .. } => "presets",
            Shed { .. } => return None,
        };
        Some(self.metrics.shedding.with_label_values(&[step]))
    }
}

/// Every step includes those before it.
fn depth(Shed { faster, thinned, away }: Shed) -> u32 {
    u32::from(faster) + u32::from(thinned) + u32::from(away)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;

    #[test]
    fn a_worker_is_in_the_gauge_of_its_furthest_step_until_it_ends() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let mut shedding = Shedding::new(&metrics);
        let gauges = || ["presets", "frames", "rungs"].map(|step| metrics.shedding.with_label_values(&[step]).get());
        shedding.change(Shed { faster: 1, ..Shed::default() }, Duration::ZERO);
        assert_eq!(gauges(), [1, 0, 0]);
        shedding.change(Shed { faster: 2, thinned: true, away: 1 }, Duration::ZERO);
        assert_eq!(gauges(), [0, 0, 1]);
        shedding.change(Shed { faster: 2, thinned: true, away: 0 }, Duration::ZERO);
        assert_eq!(gauges(), [0, 1, 0]);
        let steps = ["down", "up"].map(|direction| metrics.steps.with_label_values(&[direction]).get());
        assert_eq!(steps, [2, 1]);
        shedding.end();
        assert_eq!(gauges(), [0, 0, 0]);
    }
}
