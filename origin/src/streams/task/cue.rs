//! What a publisher says of moments: cue points as markers of its stream, text as subtitles.

use super::Task;
use crate::epoch::TIME_MAX_MS;
use crate::ingest::{Cue, Said};
use crate::streams::markers::{Bounds, DURATION_MAX_S};
use crate::streams::phase::Phase;
use manifest::DateRange;
use manifest::date_range::Scte35;
use std::time::Duration;

impl Task {
    /// A cue point has a place in an epoch alone: before the first there is no time that players know.
    pub(super) fn cue(&mut self, cue: &Cue) {
        let Phase::Live(live) = &self.phase else { return };
        let now_unix_ms = live.unix_ms(cue.at_ms);
        let Some((range, starts)) = marker_of_cue(cue, now_unix_ms) else {
            return self.refuse_cue(&"its start_unix_ms is no time");
        };
        let marked = self.stream.mark(range, (starts, now_unix_ms, Bounds::of(&self.context().config.markers)));
        self.context().metrics.marked("cue_point", &marked);
        if let Err(error) = marked {
            self.refuse_cue(&error);
        }
    }

    /// A publisher may send as many as frames: the log has the first, the second, the fourth and so on.
    fn refuse_cue(&mut self, reason: &dyn std::fmt::Display) {
        self.cues_refused += 1;
        if self.cues_refused.is_power_of_two() {
            let refused = self.cues_refused;
            tracing::warn!(stream = %self.stream.name, refused, "a cue point is not used: {reason}");
        }
    }

    /// A text has a place in an epoch alone, as cue points have.
    pub(super) fn text(&mut self, said: &Said) {
        let result = match &mut self.phase {
            Phase::Live(live) => live.text(said),
            _ => "early",
        };
        self.context().metrics.texts.with_label_values(&[result]).inc();
    }
}

/// `id`, `class`, `start_unix_ms`, `duration`, `planned_duration`, `end_on_next`, `scte35_out`, `scte35_in` and `scte35_cmd`
/// mean what they do over HTTP; every other parameter becomes an `X-` attribute. With it comes whether it starts then, or
/// whenever the marker of this name does. `None` where it starts at no time that can be.
pub(crate) fn marker_of_cue(cue: &Cue, start_unix_ms: i64) -> Option<(DateRange, bool)> {
    let mut range = DateRange { start_unix_ms, class: Some(cue.name.clone()), ..DateRange::default() };
    range.id = format!("{}-{start_unix_ms}", cue.name);
    let usual = |seconds: &f64| *seconds <= DURATION_MAX_S;
    let seconds =
        |text: &str| text.parse().ok().filter(usual).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let (mut scte35, mut starts) = (Scte35::default(), !cue.parameters.iter().any(|(name, _)| name == "id"));
    for (name, value) in &cue.parameters {
        let hex = || Some(value.trim_start_matches("0x").to_ascii_lowercase());
        match name.as_str() {
            "id" => range.id.clone_from(value),
            "class" => range.class = Some(value.clone()),
            "start_unix_ms" => {
                range.start_unix_ms = value.parse().ok().filter(|at| (0..=TIME_MAX_MS).contains(at))?;
                starts = true;
            }
            "end_on_next" => range.end_on_next = matches!(value.as_str(), "true" | "1"),
            "duration" => range.duration = seconds(value),
            "planned_duration" => range.planned_duration = seconds(value),
            "scte35_out" => scte35.out = hex(),
            "scte35_in" => scte35.back = hex(),
            "scte35_cmd" => scte35.command = hex(),
            other => {
                let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '-' };
                range.more.push((format!("X-{}", other.chars().map(plain).collect::<String>()), value.clone()));
            }
        }
    }
    range.scte35 = scte35;
    Some((range, starts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_attributes() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = vec![pair("duration", "30"), pair("scte35_out", "0xFC30"), pair("spot no.", "7")];
        let cue = Cue { at_ms: 0, name: "ad".into(), parameters };
        assert_eq!(
            marker_of_cue(&cue, 1_795_226_400_500).unwrap().0.render(),
            "#EXT-X-DATERANGE:ID=\"ad-1795226400500\",CLASS=\"ad\",START-DATE=\"2026-11-21T02:00:00.500Z\",\
             DURATION=30.000,SCTE35-OUT=0xFC30,X-SPOT-NO-=\"7\"\n"
        );
        let closing = Cue { parameters: vec![pair("id", "ad-1"), pair("scte35_in", "fc31")], ..cue.clone() };
        let (range, starts) = marker_of_cue(&closing, 0).unwrap();
        assert!(range.id == "ad-1" && !starts);
        // As over HTTP. Numbers come as AMF0 has them.
        let parameters = vec![pair("id", "x"), pair("start_unix_ms", "1795226400500"), pair("end_on_next", "true")];
        let (range, starts) = marker_of_cue(&Cue { parameters, ..cue.clone() }, 0).unwrap();
        assert!(starts && range.end_on_next && range.more.is_empty());
        assert_eq!(range.start_unix_ms, 1_795_226_400_500);
        for duration in ["1e18", "31536001", "-1", "NaN"] {
            let parameters = vec![pair("duration", duration)];
            assert_eq!(marker_of_cue(&Cue { parameters, ..cue.clone() }, 0).unwrap().0.duration, None, "{duration}");
        }
        for never in ["-1", "1e300", "soon"] {
            let parameters = vec![pair("start_unix_ms", never)];
            assert_eq!(marker_of_cue(&Cue { parameters, ..cue.clone() }, 0), None);
        }
    }
}
