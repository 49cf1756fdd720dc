//! Which EXT-X-DATERANGE tags a Delta Update leaves out too, and which have left (RFC 8216bis, 6.2.5.1, `_HLS_skip=v2`). Pure.

use crate::rewrite::attributes::attributes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// What one playlist lists, and since when. Every version that a client may have a copy of has to be seen.
#[derive(Debug, Default)]
pub struct DateRanges {
    /// When the first version was seen.
    began: Option<Instant>,
    /// By line: a range that is said otherwise is one that was added then.
    listed: HashMap<u64, (String, Instant)>,
    /// IDs that are not listed any more, in the order in which they left.
    removed: VecDeque<(String, Instant)>,
}

/// What holds of one version, as long as `until` has not come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Lines that were added within the Skip Boundary.
    lines: HashSet<u64>,
    /// RECENTLY-REMOVED-DATERANGES.
    removed: String,
    pub until: Option<Instant>,
}

/// IDs that may have left within a Skip Boundary, in bytes: of more, clients get the whole playlist for a while.
const REMOVED_BYTES_MAX: usize = 64 << 10;
/// What EXT-X-SKIP needs that stands for date ranges (8).
const VERSION: u64 = 10;
const TAG: &str = "#EXT-X-DATERANGE:";

impl DateRanges {
    /// Takes in the date ranges in `text`: a whole playlist, an update that leaves out none, or those lines alone.
    ///
    /// `None` where clients may have copies that were not seen here. 6.3.7: they ask for updates of what is younger than half
    /// the Skip Boundary.
    pub fn see(&mut self, text: &str, skip_until_s: f64, now: Instant) -> Option<Recent> {
        let boundary = Duration::try_from_secs_f64(skip_until_s).ok()?;
        let before = std::mem::take(&mut self.listed);
        for line in text.lines().filter(|line| line.starts_with(TAG)) {
            let Some(id) = id(line) else { continue };
            let hash = hash(line);
            let since = before.get(&hash).map_or(now, |(_, since)| *since);
            self.listed.insert(hash, (id.to_owned(), since));
        }
        let ids: HashSet<&str> = self.listed.values().map(|(id, _)| id.as_str()).collect();
        self.removed.retain(|(id, left)| !ids.contains(id.as_str()) && now.duration_since(*left) < boundary);
        let mut gone: Vec<String> = before.into_values().map(|(id, _)| id).collect();
        gone.retain(|id| !ids.contains(id.as_str()));
        gone.sort_unstable();
        gone.dedup();
        self.removed.extend(gone.into_iter().map(|id| (id, now)));
        if self.removed.iter().map(|(id, _)| id.len() + 1).sum::<usize>() > REMOVED_BYTES_MAX {
            (self.began, self.removed) = (None, VecDeque::new());
        }
        let began = *self.began.get_or_insert(now);
        (now.duration_since(began) >= boundary / 2).then(|| self.recent(boundary, now))
    }

    fn recent(&self, boundary: Duration, now: Instant) -> Recent {
        let young = self.listed.iter().filter(|(_, (_, since))| now.duration_since(*since) <= boundary);
        let (mut lines, mut first) = (HashSet::new(), None);
        for (hash, (_, since)) in young {
            lines.insert(*hash);
            first = first.into_iter().chain([*since]).min();
        }
        let left: Vec<&str> = self.removed.iter().map(|(id, _)| id.as_str()).collect();
        let first = first.into_iter().chain(self.removed.front().map(|(_, left)| *left)).min();
        Recent { lines, removed: left.join("\t"), until: first.and_then(|first| first.checked_add(boundary)) }
    }
}

impl Recent {
    /// The Delta Update `delta`, which leaves out no date range, as `_HLS_skip=v2` wants it.
    pub fn update(&self, delta: &str) -> String {
        let mut out = String::with_capacity(delta.len() + self.removed.len() + 64);
        let mut skips = false;
        for line in delta.split_inclusive('\n') {
            let text = line.trim_end_matches(['\r', '\n']);
            let end = &line[text.len()..];
            let older = |version: &str| version.trim().parse().is_ok_and(|version: u64| version < VERSION);
            if !skips && text.starts_with("#EXT-X-SKIP:") {
                skips = true;
                let removed = &self.removed;
                out.push_str(&format!("{text},RECENTLY-REMOVED-DATERANGES=\"{removed}\"{end}"));
            } else if text.strip_prefix("#EXT-X-VERSION:").is_some_and(older) {
                out.push_str(&format!("#EXT-X-VERSION:{VERSION}{end}"));
            } else if !text.starts_with(TAG) || id(text).is_none() || self.lines.contains(&hash(text)) {
                out.push_str(line);
            }
        }
        out
    }
}

/// `None` of what no list of IDs can name.
fn id(line: &str) -> Option<&str> {
    let list = attributes(line.strip_prefix(TAG)?);
    list.into_iter().find(|attribute| attribute.name == "ID").map(|id| id.value).filter(|id| !id.contains('\t'))
}

fn hash(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.trim_end().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::super::delta_update;
    use super::*;

    const BOUNDARY_S: f64 = 12.0;

    fn range(id: &str, more: &str) -> String {
        format!("#EXT-X-DATERANGE:X-ID=\"a,ID=b\",ID=\"{id}\",START-DATE=\"2026-11-21T02:00:00Z\"{more}\n")
    }

    /// Eight segments, so that two are skipped, and these date ranges.
    fn playlist(ranges: &[String]) -> String {
        let head = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n";
        let segments: String = (1..=8).map(|msn| format!("#EXTINF:2.0,\n{msn}.m4s\n")).collect();
        format!("{head}{}{segments}", ranges.concat())
    }

    fn at(began: Instant, s: f64) -> Instant {
        began + Duration::from_secs_f64(s)
    }

    /// The date ranges of a client that brings its own up to date, by ID.
    fn applied<'a>(before: &HashMap<&'a str, &'a str>, update: &'a str) -> HashMap<&'a str, &'a str> {
        let skip = update.lines().find(|line| line.starts_with("#EXT-X-SKIP:")).unwrap();
        let removed = skip.split("RECENTLY-REMOVED-DATERANGES=\"").nth(1).unwrap().strip_suffix('"').unwrap();
        let mut after = before.clone();
        after.retain(|id, _| removed.split('\t').all(|gone| gone != *id));
        after.extend(listed(update));
        after
    }

    fn listed(text: &str) -> HashMap<&str, &str> {
        text.lines().filter_map(|line| Some((id(line)?, line))).collect()
    }

    #[test]
    fn an_update_has_what_is_new_and_names_what_is_gone() {
        let began = Instant::now();
        let mut seen = DateRanges::default();
        let mut see = |ranges: &[String], s| seen.see(&playlist(ranges), BOUNDARY_S, at(began, s));
        let (a, b, c) = (range("a", ""), range("b", ""), range("c", ",DURATION=3"));
        assert_eq!(see(&[a.clone(), b.clone()], 0.0), None, "a copy may be older");
        assert_eq!(see(&[a.clone(), b.clone()], 5.9), None);
        let update = |recent: Option<Recent>, ranges: &[String]| {
            let delta = delta_update(&playlist(ranges), BOUNDARY_S).unwrap();
            recent.unwrap().update(&delta)
        };
        let now = [b.clone(), c.clone()];
        let text = update(see(&now, 12.5), &now);
        let expected = format!(
            "#EXTM3U\n#EXT-X-VERSION:10\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n{c}\
             #EXT-X-SKIP:SKIPPED-SEGMENTS=2,RECENTLY-REMOVED-DATERANGES=\"a\"\n#EXTINF:2.0,\n3.m4s\n"
        );
        assert!(text.starts_with(&expected), "{text}");
        // What is said otherwise is new, what comes back is not removed.
        let now = [a.clone(), range("b", ",DURATION=3")];
        assert_eq!(listed(&update(see(&now, 20.0), &now)).len(), 2);
        let recent = see(&now, 24.6).unwrap();
        assert_eq!((recent.removed.as_str(), recent.until), ("c", Some(at(began, 32.0))));
        let recent = see(&now, 32.1).unwrap();
        assert_eq!(recent, Recent::default());
        assert!(recent.update(&delta_update(&playlist(&now), 12.0).unwrap()).contains("-DATERANGES=\"\"\n"));
    }

    #[test]
    fn whoever_applies_updates_has_what_the_whole_playlist_says() {
        let began = Instant::now();
        let mut seen = DateRanges::default();
        let texts: Vec<String> = (0..200)
            .map(|step: usize| {
                let first = step / 5;
                let of = |n: usize| range(&n.to_string(), if step % 23 > n % 23 { ",DURATION=1" } else { "" });
                playlist(&(first..first + n_of(step)).map(of).collect::<Vec<_>>())
            })
            .collect();
        let mut checked = 0;
        for (step, text) in texts.iter().enumerate() {
            let Some(recent) = seen.see(text, BOUNDARY_S, at(began, step as f64 * 0.5)) else { continue };
            let update = recent.update(&delta_update(text, BOUNDARY_S).unwrap());
            // Whatever copy a client may have.
            for copy in &texts[step.saturating_sub(11)..=step] {
                assert_eq!(applied(&listed(copy), &update), listed(text), "step {step}");
                checked += 1;
            }
        }
        assert!(checked > 2000);
    }

    fn n_of(step: usize) -> usize {
        [3, 3, 4, 0, 7][step / 7 % 5]
    }

    #[test]
    fn what_leaves_is_bounded() {
        let began = Instant::now();
        let mut seen = DateRanges::default();
        let mut see = |step: usize| {
            let ranges = (0..300).map(|n| range(&format!("{step}-{n}-{}", "x".repeat(200)), ""));
            seen.see(&playlist(&ranges.collect::<Vec<_>>()), BOUNDARY_S, at(began, 7.0 * step as f64))
        };
        let removed: Vec<_> = (0..4).map(|step| see(step).map(|recent| recent.removed.split('\t').count())).collect();
        assert_eq!(removed, [None, Some(300), None, Some(300)]);
        for s in [f64::NAN, -1.0, f64::INFINITY] {
            assert_eq!(DateRanges::default().see("", s, began), None);
        }
    }

    #[test]
    fn what_has_no_id_is_never_left_out() {
        let began = Instant::now();
        let mut seen = DateRanges::default();
        let ranges = ["#EXT-X-DATERANGE:CLASS=\"x\"\n".to_owned(), range("a\tb", "")];
        seen.see(&playlist(&ranges), BOUNDARY_S, began);
        let recent = seen.see(&playlist(&ranges), BOUNDARY_S, at(began, 60.0)).unwrap();
        let update = recent.update(&delta_update(&playlist(&ranges), BOUNDARY_S).unwrap());
        assert_eq!(update.matches(TAG).count(), 2);
    }
}
