//! A gap between two periods, so that players go on over it. Pure.

use super::moved;
use manifest::presentation::{AdaptationSet, Period};
use std::time::Duration;

/// Of a count of segments.
const ROUNDING: f64 = 0.01;
/// Less between two periods is no gap that a player could stand before.
const GAP_MIN: Duration = Duration::from_millis(300);
/// So much before the end of what it has, at the most, a player stands still. dash.js goes on to the next period where it stands at the
/// end of one; short of that it seeks to the end, where there is nothing, and waits there for as long as the gap is.
const UNDERRUN: Duration = Duration::from_millis(200);

/// How long a period is that has so much media, as far as that is known, and whether there is a gap behind it, where the next one begins
/// after so much time.
pub(super) fn end(media: Option<Duration>, next: Duration) -> (Duration, bool) {
    // The source's clock and ours differ a little: a period ends no later than the next one begins.
    let length = media.map_or(next, |media| media.min(next));
    (length, next - length >= GAP_MIN)
}

/// The period before a gap: its last segments are a period of their own, that lists them. Shaka takes a period to last until the
/// next begins, whatever is said of its duration, and would ask for ever for segments in the gap.
pub(super) fn before_gap(period: Period, segment: Duration) -> Vec<Period> {
    let (length, segment_s) = (period.duration.unwrap_or_default(), segment.as_secs_f64());
    let count = (length.as_secs_f64() / segment_s - ROUNDING).ceil().max(1.0);
    let rest = length.saturating_sub(segment.mul_f64(count - 1.0));
    let listed = if rest > 2 * UNDERRUN { 1.0 } else { 2.0 };
    let before = count - listed;
    if before < 1.0 {
        return vec![Period { duration: Some(length.saturating_sub(UNDERRUN)), ..period }];
    }
    let since = segment.mul_f64(before);
    let last = |set: &AdaptationSet| {
        let rest = (rest.as_secs_f64() * set.timescale as f64).round() as u64;
        let whole = std::iter::repeat_n(set.segment_ticks, listed as usize - 1);
        AdaptationSet {
            only: whole.chain([rest]).collect(),
            reference_unix_ms: set.reference_unix_ms.map(|unix_ms| unix_ms + since.as_millis() as i64),
            ..moved(set, before as u64)
        }
    };
    let first_number = period.sets.first().map_or(0, |set| set.first_number) + before as u64;
    let tail = Period {
        id: format!("{}-{first_number}", period.id),
        start: period.start + since,
        duration: Some((length - since).saturating_sub(UNDERRUN)),
        events: Vec::new(),
        sets: period.sets.iter().map(last).collect(),
    };
    vec![Period { duration: Some(since), ..period }, tail]
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::presentation::Kind;

    const START: Duration = Duration::from_secs(1000);

    fn period(length_s: f64) -> Period {
        let set = AdaptationSet {
            kind: Kind::Video,
            timescale: 30_000,
            segment_ticks: 60_000,
            offset_ticks: 0,
            only: Vec::new(),
            first_number: 100,
            early: None,
            reference_unix_ms: None,
            protection: None,
            captions: Vec::new(),
            language: None,
            folder: "1".into(),
            init: "init.mp4".into(),
            representations: Vec::new(),
        };
        let duration = Some(Duration::from_secs_f64(length_s));
        Period { id: "1".into(), start: START, duration, events: Vec::new(), sets: vec![set] }
    }

    #[test]
    fn what_comes_before_a_gap_is_listed() {
        for (length_s, before, listed) in
            [(9.5, 4, vec![1.5]), (8.0, 3, vec![2.0]), (8.2, 3, vec![2.0, 0.2]), (1.5, 0, vec![]), (2.1, 0, vec![])]
        {
            let told = before_gap(period(length_s), Duration::from_secs(2));
            let last = told.last().unwrap();
            let set = &last.sets[0];
            assert_eq!(last.id, if before > 0 { format!("1-{}", 100 + before) } else { "1".to_owned() });
            assert_eq!((set.first_number, set.offset_ticks), (100 + before, before * 60_000), "{length_s}");
            let only: Vec<u64> = listed.iter().map(|s: &f64| (s * 30_000.0).round() as u64).collect();
            assert_eq!(set.only, only, "{length_s}");
            assert_eq!(last.start + last.duration.unwrap(), START + Duration::from_secs_f64(length_s) - UNDERRUN);
            assert!(told.windows(2).all(|pair| pair[0].start + pair[0].duration.unwrap() == pair[1].start));
        }
    }

    #[test]
    fn a_little_is_no_gap_and_no_period_overlaps_the_next() {
        let ms = Duration::from_millis;
        for (media, next, told) in [
            (Some(9_500), 15_000, (9_500, true)),
            (Some(9_500), 9_799, (9_500, false)),
            (Some(10_300), 10_100, (10_100, false)),
            (None, 10_000, (10_000, false)),
        ] {
            assert_eq!(end(media.map(ms), ms(next)), (ms(told.0), told.1));
        }
    }
}
