//! The window through its life: golden playlists, and the rules that every one of them keeps.

mod keys;
mod over;
mod paused;

use super::*;
use crate::testing::golden;
use manifest::delta::delta_update;
use manifest::media::{MediaPlaylist, RenditionReport};

const SHAPE: Shape =
    Shape { medium: Medium::Fragments, length_s: 12.0, memory_s: 12.0, target_duration_s: 2, part_target_s: 0.334 };
const PARTS: u32 = 6;

fn key_of(msn: u64) -> KeyName {
    KeyName { id: [(msn / 3) as u8; 16], iv: [7; 16] }
}

fn memory(bytes_max: usize) -> Memory {
    Memory::new(bytes_max, prometheus::IntCounter::new("shortened", "in tests").unwrap())
}

struct Life {
    window: Window,
    now: Instant,
    /// Its segments are encrypted, with a key for every three.
    told: Option<Arc<Told>>,
}

impl Life {
    fn new() -> Self {
        Self::of(SHAPE)
    }

    fn of(shape: Shape) -> Self {
        Self { window: Window::new(shape, memory(usize::MAX)), now: Instant::now(), told: None }
    }

    fn begin(&mut self, id: u64, first_msn: u64) {
        self.begin_with((id, first_msn), Bytes::from(format!("init {id}")));
    }

    fn begin_with(&mut self, (id, first_msn): (u64, u64), init: Bytes) {
        let zero_unix_ms = 1_795_226_400_500 + 2000 * (first_msn as i64 - 100);
        let start = EpochStart {
            id: EpochId(id),
            discontinuities: id - 1,
            first_msn,
            joined_msn: first_msn,
            zero_unix_ms,
            segment_s: 2.0,
            init,
            tiles: None,
            told: self.told.clone(),
        };
        self.window.begin(start, self.now);
    }

    fn parts(&mut self, count: u32) {
        for _ in 0..count {
            self.now += Duration::from_millis(333);
            let at = self.window.head().next;
            let part = Part {
                at,
                bytes: Bytes::from(format!("<{at}>")),
                duration_s: 1.0 / 3.0,
                first_picture_end: Some(3),
                independent: at.part == 0,
                ends_segment: at.part + 1 == PARTS,
                key: self.told.as_ref().map(|_| key_of(at.msn)),
            };
            assert!(self.window.push(part, self.now));
            self.check();
        }
    }

    fn said(&self) -> MediaPlaylist {
        self.window.playlist(0, self.reports())
    }

    fn reports(&self) -> Vec<RenditionReport> {
        report("audio", Medium::Fragments, self.window.head()).into_iter().collect()
    }

    /// What holds of every version of every playlist.
    fn check(&self) {
        let said = self.said();
        self.check_pieces(&said.render());
        let head = self.window.head();
        for (index, segment) in said.segments.iter().enumerate() {
            let msn = said.first_msn + index as u64;
            let (epoch, name) = named(&segment.uri);
            assert_eq!(name, Name::Segment(msn));
            let whole = match self.window.lookup(epoch, name) {
                Lookup::Found(whole) => whole,
                Lookup::OnDisk { .. } => continue,
                other => {
                    assert!(segment.gap, "{} is listed: {other:?}", segment.uri);
                    continue;
                }
            };
            assert!((segment.duration_s.round() as u64) <= said.target_duration_s);
            if segment.parts.is_empty() {
                continue;
            }
            let sum: f64 = segment.parts.iter().map(|part| part.duration_s).sum();
            assert!((sum - segment.duration_s).abs() < 1e-9);
            let parts: Vec<Bytes> = segment.parts.iter().flat_map(|part| self.found(&part.uri)).collect();
            assert_eq!(parts.concat(), whole.concat(), "the parts are the segment");
        }
        let open = said.open.as_ref().unwrap();
        for part in open.parts.iter().filter(|part| !part.gap) {
            self.found(&part.uri);
            assert!(part.duration_s <= SHAPE.part_target_s);
            assert!(part.independent || part.duration_s >= 0.85 * SHAPE.part_target_s);
        }
        if let Some(hint) = &open.hint {
            let (epoch, name) = named(hint);
            assert_eq!(name, Name::Part(head.next));
            assert_eq!(self.window.lookup(epoch, name), Lookup::Hinted);
        }
        let mut after_s: f64 = open.parts.iter().map(|part| part.duration_s).sum();
        for segment in said.segments.iter().rev() {
            let far = after_s > 3.0 * said.target_duration_s as f64 - 1e-6;
            assert!(segment.gap || far == segment.parts.is_empty(), "{} {after_s}", segment.uri);
            after_s += segment.duration_s;
        }
    }

    /// What is put together of pieces is what would be rendered anew, and what an edge would leave out of it.
    fn check_pieces(&self, full: &str) {
        assert_eq!(self.window.full(self.reports(), "").identity(), full);
        if full.contains("#EXT-X-KEY:") {
            // What an edge says of keys once too often, this does not.
            return;
        }
        let text = |delta: Text| String::from_utf8(delta.identity().to_vec()).unwrap();
        let expected = delta_update(full, 6.0 * SHAPE.target_duration_s as f64).map(|delta| {
            // The init section of what is left out is of no use where another one follows at once.
            let (before, after) = delta.split_once("#EXT-X-DISCONTINUITY\n").unwrap_or((&delta, ""));
            let Some(before) = before.strip_suffix("init.mp4\"\n") else { return delta };
            format!("{}#EXT-X-DISCONTINUITY\n{after}", &before[..before.rfind("#EXT-X-MAP").unwrap()])
        });
        assert_eq!(self.window.delta(self.reports(), "").map(text), expected);
    }

    fn found(&self, uri: &str) -> Vec<Bytes> {
        let (epoch, name) = named(uri);
        match self.window.lookup(epoch, name) {
            Lookup::Found(bytes) => bytes,
            other => panic!("{uri}: {other:?}"),
        }
    }
}

fn named(uri: &str) -> (EpochId, Name) {
    let (epoch, file) = uri.split_once('/').unwrap();
    (epoch.parse().unwrap(), Name::from_file(file, Medium::Fragments).unwrap())
}

#[test]
fn playlists_through_a_life() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(1);
    golden("window_1_first_part.m3u8", &life.said().render());
    life.parts(PARTS + 3);
    golden("window_2_second_segment.m3u8", &life.said().render());
    life.parts(5 * PARTS);
    golden("window_3_sliding.m3u8", &life.said().render());

    life.window.break_off(life.now);
    golden("window_4_publisher_gone.m3u8", &life.said().render());
    let next = life.window.head().next.msn;
    life.begin(2, next + 1);
    golden("window_5_publisher_back.m3u8", &life.said().render());
    life.parts(2 * PARTS + 1);
    golden("window_6_after_a_discontinuity.m3u8", &life.said().render());
    life.parts(6 * PARTS);
    assert_eq!(life.said().discontinuity_sequence, 1);
    life.window.end(life.now);
    golden("window_7_ended.m3u8", &life.said().render());
}

#[test]
fn a_long_window_is_put_together_of_what_was_rendered_before() {
    let mut life = Life::of(Shape { length_s: 400.0, ..SHAPE });
    let mut deltas = 0;
    for epoch in 1..=6 {
        let next = life.window.head().next.msn;
        life.begin(epoch, next.max(100) + epoch % 3);
        for _ in 0..50 {
            life.parts(PARTS);
            let delta = life.window.delta(life.reports(), "");
            deltas += usize::from(delta.is_some_and(|delta| delta.identity().len() < 4000));
        }
    }
    assert!(deltas > 280, "{deltas}");
    let iframes = life.window.iframes("").unwrap().identity();
    let iframes = std::str::from_utf8(&iframes).unwrap();
    assert_eq!(iframes.matches("#EXTINF").count(), life.said().segments.len());
    assert_eq!(life.said().segments.len(), 200);
}

#[test]
fn what_is_on_disk_leaves_the_memory_behind_the_head_and_no_line_changes() {
    let mut life = Life::of(Shape { length_s: 40.0, ..SHAPE });
    life.begin(1, 100);
    let mut on_disk = 0;
    for _ in 0..40 {
        life.parts(PARTS);
        for news in life.window.take_news() {
            match news {
                News::Whole { epoch, msn, pieces, .. } => {
                    assert_eq!(life.window.lookup(epoch, Name::Segment(msn)), Lookup::Found(pieces));
                    // One is never written, as on a disk that was full for a moment.
                    if msn != 110 {
                        life.window.stored(epoch, msn);
                    }
                }
                News::Gone { msn, .. } => assert_ne!(msn, 110),
            }
        }
        let head = life.window.head().next.msn;
        for msn in life.window.first_msn()..head {
            let far = head - msn > 6 && msn != 110;
            match life.window.lookup(EpochId(1), Name::Segment(msn)) {
                Lookup::OnDisk { range, parts, .. } if far => {
                    let part = |part| match life.window.lookup(EpochId(1), Name::Part(Position { msn, part })) {
                        Lookup::OnDisk { range, .. } => range,
                        other => panic!("{other:?}"),
                    };
                    let ends: Vec<_> = (0..parts as u32).map(part).collect();
                    assert_eq!((ends[0].start, ends[parts - 1].end), (range.start, range.end));
                    assert!(ends.windows(2).all(|pair| pair[0].end == pair[1].start));
                    on_disk += 1;
                }
                Lookup::Found(_) if !far => {}
                other => panic!("{msn} of {head}: {other:?}"),
            }
        }
    }
    assert!(on_disk > 200, "{on_disk}");
    let held: usize = life.window.segments.iter().map(Segment::weight).sum();
    assert_eq!(life.window.bytes(), held + life.window.open.as_ref().unwrap().weight());
}

#[test]
fn what_a_lost_disk_had_alone_leaves_the_playlist() {
    for ended in [false, true] {
        let mut life = Life::of(Shape { length_s: 60.0, ..SHAPE });
        life.begin(1, 100);
        life.parts(PARTS * 30);
        (100..130).for_each(|msn| life.window.stored(EpochId(1), msn));
        if ended {
            life.window.end(life.now);
        }
        life.window.lose_disk(life.now);
        let text = life.said().render();
        let listed = life.window.first_msn()..life.window.head().next.msn;
        assert_eq!((listed.end, listed.clone().count()), (130, if ended { 1 } else { 6 }), "{text}");
        for msn in listed {
            let there = matches!(life.window.lookup(EpochId(1), Name::Segment(msn)), Lookup::Found(_));
            assert!(there || text.contains(&format!("#EXT-X-GAP\n#EXTINF:2.00000,\n1/{msn}.m4s")), "{text}");
        }
        let held: usize = life.window.segments.iter().map(Segment::weight).sum();
        assert_eq!(life.window.bytes(), held + life.window.open.as_ref().map_or(0, Segment::weight));
    }
}

#[test]
fn a_window_from_disk_says_what_it_said_before() {
    let mut life = Life::of(Shape { length_s: 60.0, ..SHAPE });
    let mut again = Life::of(Shape { length_s: 60.0, ..SHAPE });
    for epoch in 1..=3 {
        let next = life.window.head().next.msn.max(100);
        life.begin(epoch, next + epoch);
        again.begin(epoch, next + epoch);
        life.parts(PARTS * 9 + 2);
        life.window.break_off(life.now);
        for news in life.window.take_news() {
            let News::Whole { epoch, msn, pieces, duration_s, picture_end, key } = news else { continue };
            let mut end = 0;
            let ends = pieces.iter().map(|piece| {
                end += piece.len() as u32;
                end
            });
            let disk = OnDisk { ends: ends.collect(), duration_s, picture_end };
            assert!(again.window.restore((epoch, msn), (disk, key), life.now));
        }
        again.window.break_off(life.now);
    }
    let without_parts = |life: &Life| {
        let text = life.said().render();
        text.lines().filter(|line| !line.starts_with("#EXT-X-PART:")).collect::<Vec<_>>().join("\n")
    };
    // Reports tell of parts, which the disk knows as well.
    assert_eq!(without_parts(&life), without_parts(&again));
    assert_eq!(life.window.iframes("").unwrap().identity(), again.window.iframes("").unwrap().identity());
    let first = life.window.head().next.msn;
    let unix_ms = again.window.end_unix_ms().unwrap();
    let gaps = Gaps { first, last: first + 2, unix_ms, each_s: 2.0, is_unsure: false };
    again.window.gap_through(&gaps, life.now);
    assert_eq!(
        again.said().render().matches("#EXT-X-GAP").count(),
        life.said().render().matches("#EXT-X-GAP").count() + 3
    );
}

#[test]
fn where_the_memory_is_full_the_oldest_segments_go_and_never_the_last_six() {
    let shortened = prometheus::IntCounter::new("shortened", "in tests").unwrap();
    let mut life = Life::of(Shape { length_s: 400.0, ..SHAPE });
    life.window = Window::new(Shape { length_s: 400.0, ..SHAPE }, Memory::new(1000, shortened.clone()));
    life.begin(1, 100);
    life.parts(PARTS * 60);
    assert!(life.window.bytes() <= 1000 + 60 && shortened.get() > 20, "{}", life.window.bytes());
    assert!(life.window.depth_s() < 60.0, "{}", life.window.depth_s());
    let mut life = Life::of(SHAPE);
    life.window = Window::new(SHAPE, Memory::new(0, shortened));
    life.begin(1, 100);
    life.parts(PARTS * 20);
    assert_eq!(life.said().segments.len(), 6);
}

#[test]
fn the_next_part_is_the_one_that_was_hinted() {
    let mut life = Life::new();
    life.begin(1, 100);
    for _ in 0..20 {
        let hint = life.said().open.unwrap().hint.unwrap();
        life.parts(1);
        let said = life.said();
        let parts = said.segments.iter().flat_map(|segment| &segment.parts).chain(&said.open.as_ref().unwrap().parts);
        assert_eq!(parts.last().unwrap().uri, hint);
    }
}

#[test]
fn published_lines_never_change() {
    let mut life = Life::new();
    life.begin(1, 100);
    let mut published = std::collections::HashMap::new();
    for round in 0..80 {
        if round == 40 {
            life.window.break_off(life.now);
            let next = life.window.head().next.msn;
            life.begin(2, next);
        }
        life.parts(1);
        let text = life.said().render();
        let lines: Vec<_> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].starts_with("#EXTINF")) {
            let before = published.entry(pair[1].to_owned()).or_insert_with(|| pair[0].to_owned());
            assert_eq!(before, pair[0], "{}", pair[1]);
        }
        for line in lines.iter().filter(|line| line.starts_with("#EXT-X-PART:")) {
            let uri = line.split('"').nth(1).unwrap().to_owned();
            let before = published.entry(uri).or_insert_with(|| (*line).to_owned());
            assert_eq!(before, line);
        }
    }
}

#[test]
fn what_left_the_playlist_is_answered_for_its_own_length_and_that_of_the_playlist() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(7 * PARTS);
    let left = [Name::Segment(100), Name::Part(Position { msn: 100, part: 5 })];
    let is_found = |life: &Life| left.map(|name| matches!(life.window.lookup(EpochId(1), name), Lookup::Found(_)));
    assert_eq!(life.said().first_msn, 101);
    // 2 s of its own, and the 14 s of seven segments, the last of them as parts.
    life.parts(8 * PARTS);
    assert_eq!(is_found(&life), [true, true]);
    life.parts(PARTS);
    assert_eq!(is_found(&life), [false, false]);
    assert!(matches!(life.window.lookup(EpochId(1), Name::Init(None)), Lookup::Found(_)));
    assert_eq!(life.window.leaving.len(), 9, "what is over goes");
}

#[test]
fn names_of_other_epochs_and_far_parts_are_unknown() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(8);
    for (epoch, name) in [
        (2, Name::Init(None)),
        (2, Name::Segment(100)),
        (1, Name::Segment(103)),
        (1, Name::Part(Position { msn: 101, part: 3 })),
        (1, Name::Part(Position { msn: 100, part: 6 })),
        (1, Name::Part(Position { msn: 102, part: 0 })),
    ] {
        assert_eq!(life.window.lookup(EpochId(epoch), name), Lookup::Unknown, "{epoch} {name:?}");
    }
}

#[test]
fn a_segment_grows_from_before_its_first_part_to_its_last() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(8);
    let pieces = |life: &Life, msn| match life.window.lookup(EpochId(1), Name::Segment(msn)) {
        Lookup::Growing(pieces) => Some(pieces.len()),
        _ => None,
    };
    assert_eq!([100, 101, 102, 103].map(|msn| pieces(&life, msn)), [None, Some(2), Some(0), None]);
    life.parts(4);
    assert_eq!([101, 102, 103].map(|msn| pieces(&life, msn)), [None, Some(0), Some(0)]);
    life.window.break_off(life.now);
    assert_eq!([102, 103].map(|msn| pieces(&life, msn)), [None, None], "nothing grows between two epochs");
}

#[test]
fn a_hint_that_is_cancelled_is_unknown_in_the_next_epoch() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(2);
    let hinted = Name::Part(Position { msn: 100, part: 2 });
    assert_eq!(life.window.lookup(EpochId(1), hinted), Lookup::Hinted);
    life.window.break_off(life.now);
    assert_eq!(life.window.lookup(EpochId(1), hinted), Lookup::Unknown);
    assert_eq!(life.window.head().next, Position { msn: 101, part: 0 });
}

#[test]
fn gaps_begin_where_what_was_cut_short_before_them_ended() {
    let mut life = Life::of(Shape { length_s: 60.0, ..SHAPE });
    life.begin(1, 100);
    life.parts(PARTS + 4);
    life.window.break_off(life.now);
    // Others had parts of 102 and 103.
    life.begin(2, 104);
    life.parts(PARTS);
    let said = life.said();
    let told: Vec<_> = said.segments.iter().map(|one| (one.gap, one.start.discontinuity)).collect();
    assert_eq!(told, [(false, false), (false, false), (true, false), (true, false), (false, true)]);
    for pair in said.segments[..4].windows(2) {
        let goes_on_ms = pair[0].start.program_date_time_ms + (pair[0].duration_s * 1000.0).round() as i64;
        assert_eq!(pair[1].start.program_date_time_ms, goes_on_ms, "{}", pair[1].uri);
    }
}

#[test]
fn a_rendition_that_had_no_part_in_an_epoch_counts_its_discontinuity() {
    let (mut ahead, mut behind) = (Life::new(), Life::new());
    for life in [&mut ahead, &mut behind] {
        life.begin(1, 100);
        life.parts(PARTS);
        life.window.break_off(life.now);
        life.begin(2, 101);
    }
    ahead.parts(PARTS + 1);
    for life in [&mut ahead, &mut behind] {
        life.window.break_off(life.now);
        life.begin(3, 103);
        life.parts(1);
    }
    let count = |life: &Life| life.said().render().matches("#EXT-X-DISCONTINUITY\n").count();
    assert_eq!((count(&ahead), count(&behind)), (2, 2));
    assert_eq!(behind.said().render().matches("#EXT-X-GAP").count(), 2);
    assert_eq!(ahead.window.head().next, behind.window.head().next);
}

#[test]
fn a_part_out_of_turn_is_not_taken() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(1);
    let at = Position { msn: 100, part: 2 };
    let part = Part {
        at,
        bytes: Bytes::new(),
        duration_s: 0.3,
        first_picture_end: None,
        independent: false,
        ends_segment: false,
        key: None,
    };
    assert!(!life.window.push(part, life.now));
    assert_eq!(life.window.head().next, Position { msn: 100, part: 1 });
}

#[test]
fn file_names_have_one_spelling() {
    for (file, name) in [
        ("init.mp4", Some(Name::Init(None))),
        ("12.m4s", Some(Name::Segment(12))),
        ("12.0.m4s", Some(Name::Part(Position { msn: 12, part: 0 }))),
        ("012.m4s", None),
        ("12.00.m4s", None),
        ("+12.m4s", None),
        ("12", None),
        (".m4s", None),
        ("12..m4s", None),
        ("1.2.3.m4s", None),
        ("18446744073709551616.m4s", None),
    ] {
        assert_eq!(Name::from_file(file, Medium::Fragments), name, "{file}");
    }
}

#[test]
fn no_path_is_read_in_two_ways() {
    let alphabet = b"0123456789.m4sinp-+ az";
    let mut rng = crate::testing::Rng::new(11);
    for _ in 0..50_000 {
        let text: String = (0..rng.below(12)).map(|_| alphabet[rng.below(22) as usize] as char).collect();
        let again = match Name::from_file(&text, Medium::Fragments) {
            Some(Name::Init(None)) => "init.mp4".to_owned(),
            Some(Name::Init(Some(id))) => format!("init.{}.mp4", crate::keys::hex(&id)),
            Some(Name::Segment(msn)) => format!("{msn}.m4s"),
            Some(Name::Part(at)) => format!("{at}.m4s"),
            None => text.clone(),
        };
        assert_eq!(again, text);
        if let Ok(id) = text.parse::<EpochId>() {
            assert_eq!(id.to_string(), text);
        }
    }
}

#[test]
fn key_frames_of_whole_segments_are_told_with_the_gaps_between() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(8);
    life.window.break_off(life.now);
    life.begin(2, 103);
    life.parts(7);
    golden("iframes.m3u8", std::str::from_utf8(&life.window.iframes("").unwrap().identity()).unwrap());
    let mut sound = Window::new(SHAPE, memory(usize::MAX));
    let start = EpochStart {
        init: Bytes::new(),
        tiles: None,
        id: EpochId(1),
        discontinuities: 0,
        first_msn: 1,
        joined_msn: 1,
        zero_unix_ms: 0,
        segment_s: 2.0,
        told: None,
    };
    sound.begin(start, life.now);
    let part = Part {
        at: Position { msn: 1, part: 0 },
        bytes: Bytes::new(),
        duration_s: 2.0,
        first_picture_end: None,
        independent: true,
        ends_segment: true,
        key: None,
    };
    assert!(sound.push(part, life.now));
    assert!(sound.iframes("").is_none());
}

#[test]
fn what_another_origin_made_of_epochs_is_gaps_with_its_discontinuities() {
    let mut life = Life::new();
    life.begin(1, 100);
    life.parts(PARTS + 2);
    // The epoch went on elsewhere, and two others came and went, before this origin joins the last in its third segment.
    let init = Bytes::from_static(b"init 3");
    let (first_msn, zero_unix_ms) = (106, 1_795_226_412_500);
    let start = EpochStart {
        id: EpochId(3),
        discontinuities: 2,
        first_msn,
        joined_msn: 108,
        zero_unix_ms,
        segment_s: 2.0,
        init,
        tiles: None,
        told: None,
    };
    life.window.begin(start.clone(), life.now);
    life.parts(PARTS);
    let said = life.said();
    let gaps: Vec<u64> = (said.first_msn..).zip(&said.segments).filter(|(_, s)| s.gap).map(|(msn, _)| msn).collect();
    assert_eq!(gaps, [103, 104, 105, 106, 107]);
    let cut_short = life.window.lookup(EpochId(1), Name::Segment(101));
    assert_eq!(cut_short, Lookup::Unknown, "under its name there are other bytes elsewhere");
    let broken = said.segments.iter().filter(|segment| segment.start.discontinuity).count();
    assert_eq!(said.discontinuity_sequence + broken as u64, 2, "as many as where they were made");
    assert!(!said.segments.last().unwrap().gap);
    assert_eq!(said.segments.last().unwrap().start.program_date_time_ms, zero_unix_ms + 4000);
    // It loses its publisher in the next segment, and comes back to the same epoch: nothing breaks.
    life.parts(1);
    life.window.begin(EpochStart { joined_msn: 110, ..start }, life.now);
    life.parts(PARTS);
    let said = life.said();
    assert_eq!(said.segments.iter().filter(|segment| segment.start.discontinuity).count(), broken);
    assert!(said.segments.iter().rev().nth(1).unwrap().gap);
}
