//! What requests see of a stream as epochs come and go.

use super::*;
use crate::epoch::Bitrate;
use crate::testing::{aac, aac_config, avc, avc_config, plan};
use crate::window::{Lookup, Name};
use manifest::Position;
use transcode::{Make, Rendition, Source};

fn room() -> Room {
    Room::for_tests(Duration::from_secs(12))
}

fn part(at: Position) -> Part {
    let bytes = Bytes::from_static(b"x");
    Part { at, bytes, duration_s: 0.3, first_picture_end: Some(1), independent: true, ends_segment: false, key: None }
}

fn segment(msn: u64) -> Part {
    Part { ends_segment: true, ..part(Position { msn, part: 0 }) }
}

fn open(stream: &Stream, id: u64, first_msn: u64, top: &str) {
    let mut plan = plan(30, 60, 10);
    plan.renditions[0].name = top.to_owned();
    let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
    let known = Known { source, bitrate: Bitrate { average: 1, peak: 1 }, captions: media::Captions::default() };
    let init = media::fmp4::init(&aac()).unwrap();
    let tracks = vec![(avc(plan.rate.timescale()), init.clone()), (aac(), init)];
    let numbers = Numbers { id, first_msn, discontinuities: stream.discontinuities(first_msn), zero_unix_ms: 0 };
    let opening =
        Opening { numbers, joined: 0, known: &known, plan: &plan, encryption: None, tracks, texts: Vec::new() };
    stream.open(opening, Instant::now());
}

#[test]
fn players_learn_of_all_renditions_at_once() {
    let stream = Stream::new("a".into(), room());
    open(&stream, 1, 100, "720p");
    assert!(stream.multivariant().is_none() && stream.next_msn().is_none());
    assert!(stream.publish(0, segment(100), Instant::now()));
    assert!(stream.publish(1, part(Position { msn: 100, part: 0 }), Instant::now()));
    assert!(stream.multivariant().is_none() && stream.rendition("720p").is_none());
    let last = Part { ends_segment: true, ..part(Position { msn: 100, part: 1 }) };
    assert!(stream.publish(1, last, Instant::now()));
    assert!(stream.multivariant().is_some() && stream.rendition("720p").is_some());
    assert_eq!(stream.next_msn(), Some(101));
}

#[test]
fn a_stream_that_is_shorter_than_a_segment_is_seen_once_it_is_over() {
    let stream = Stream::new("a".into(), room());
    open(&stream, 1, 100, "720p");
    for index in 0..2 {
        assert!(stream.publish(index, part(Position { msn: 100, part: 0 }), Instant::now()));
    }
    assert!(stream.multivariant().is_none());
    stream.break_off(Instant::now(), 0);
    assert!(stream.multivariant().is_some());
}

#[test]
fn reports_are_those_of_the_moment() {
    let stream = Stream::new("a".into(), room());
    open(&stream, 1, 100, "720p");
    for index in 0..2 {
        assert!(stream.publish(index, segment(100), Instant::now()));
    }
    let audio = stream.rendition("audio").unwrap();
    let text = |stream: &Stream| String::from_utf8(stream.playlist(&audio, Skip::Nothing).identity().to_vec()).unwrap();
    assert!(text(&stream).contains("720p/index.m3u8\",LAST-MSN=100,LAST-PART=0"));
    assert!(stream.publish(0, part(Position { msn: 101, part: 0 }), Instant::now()));
    assert!(text(&stream).contains("720p/index.m3u8\",LAST-MSN=101,LAST-PART=0"));
    assert!(
        Arc::ptr_eq(&stream.playlist(&audio, Skip::Nothing), &stream.playlist(&audio, Skip::Nothing)),
        "rendered once"
    );
}

#[test]
fn who_waits_for_a_rendition_that_is_dropped_is_told_its_end() {
    let stream = Stream::new("a".into(), room());
    let count = 2 + (PAUSED_MAX + LEFT_MAX) as u32;
    let open = |id, first_msn, height: u32| {
        let mut plan = plan(30, 60, 10);
        let rung = |index| Rendition { name: format!("{}p", height + index), make: Make::Passthrough };
        plan.renditions = (0..count).map(rung).collect();
        let source = Source { video: avc_config(), audio: None, rate: plan.rate, gop: Some(60) };
        let known = Known { source, bitrate: Bitrate { average: 1, peak: 1 }, captions: media::Captions::default() };
        let track = (avc(plan.rate.timescale()), Bytes::from_static(b"init"));
        let tracks = vec![track; count as usize];
        let numbers = Numbers { id, first_msn, discontinuities: id, zero_unix_ms: 0 };
        let opening =
            Opening { numbers, joined: 0, known: &known, plan: &plan, encryption: None, tracks, texts: Vec::new() };
        stream.open(opening, Instant::now());
        for index in 0..count as usize {
            assert!(stream.publish(index, segment(first_msn), Instant::now()));
        }
    };
    open(1, 100, 100);
    let waited: Vec<_> = (0..count).map(|index| stream.rendition(&format!("{}p", 100 + index)).unwrap()).collect();
    let mut heads: Vec<_> = waited.iter().map(|rendition| rendition.watch()).collect();
    heads.iter_mut().for_each(|head| head.mark_unchanged());
    waited.iter().for_each(|rendition| drop(stream.playlist(rendition, Skip::Nothing)));
    open(2, 101, 200);
    assert!(stream.rendition(&waited[count as usize - 1].name).is_none(), "it is dropped");
    for (rendition, head) in waited.iter().zip(heads).skip(PAUSED_MAX) {
        assert!(head.has_changed().unwrap() && head.borrow().ended, "{}", rendition.name);
        let text = stream.playlist(rendition, Skip::Nothing).identity();
        assert!(text.ends_with(b"#EXT-X-ENDLIST\n"), "{}", rendition.name);
    }
}

#[test]
fn a_rendition_that_is_planned_again_goes_on() {
    let stream = Stream::new("a".into(), room());
    for (id, top) in [(1, "720p"), (2, "1080p"), (3, "720p")] {
        open(&stream, id, 99 + id, top);
        for index in 0..2 {
            assert!(stream.publish(index, segment(99 + id), Instant::now()));
        }
        stream.break_off(Instant::now(), 1000 * id as i64);
    }
    let playlist = stream.playlist(&stream.rendition("720p").unwrap(), Skip::Nothing).identity();
    let playlist = std::str::from_utf8(&playlist).unwrap();
    assert_eq!((playlist.matches("#EXTINF:").count(), playlist.matches("#EXT-X-GAP\n").count()), (3, 1), "{playlist}");
    let mpd = String::from_utf8(stream.mpd(4000).unwrap().identity().to_vec()).unwrap();
    let of_period = |period: &str| ["720p", "1080p"].map(|name| period.contains(&format!("id=\"{name}\"")));
    let periods: Vec<_> = mpd.split("<Period ").skip(1).map(of_period).collect();
    assert_eq!(periods, [[true, false], [false, true], [true, false]], "{mpd}");
}

/// The number of the discontinuities up to the newest segment, as players count them.
fn counted(stream: &Stream, rendition: &str) -> u64 {
    let text = stream.playlist(&stream.rendition(rendition).unwrap(), Skip::Nothing).identity();
    let text = std::str::from_utf8(&text).unwrap();
    let before = text.split("#EXT-X-DISCONTINUITY-SEQUENCE:").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    before.parse::<u64>().unwrap() + text.matches("#EXT-X-DISCONTINUITY\n").count() as u64
}

#[test]
fn a_rendition_that_joins_counts_the_discontinuities_of_the_others() {
    let stream = Stream::new("a".into(), room());
    let mut msn = 100;
    for (epoch, top, published) in
        [(1, "a", [1, 1]), (2, "a", [1, 1]), (3, "a", [0, 0]), (4, "b", [0, 1]), (5, "b", [1, 1]), (6, "c", [1, 1])]
    {
        open(&stream, epoch, msn, top);
        for (index, count) in published.into_iter().enumerate() {
            (0..count).for_each(|_| assert!(stream.publish(index, segment(msn), Instant::now())));
        }
        if published != [0, 0] {
            msn += 1;
            let counts = [top, "audio"].map(|name| counted(&stream, name));
            assert_eq!(counts[0], counts[1], "in epoch {epoch}");
        }
        stream.break_off(Instant::now(), 0);
    }
    assert_eq!(counted(&stream, "audio"), 4, "nobody has heard of the third epoch");
}

#[test]
fn only_renditions_of_the_current_epoch_are_reported() {
    let stream = Stream::new("a".into(), room());
    for (epoch, msn, top) in [(1, 100, "a"), (2, 101, "b")] {
        open(&stream, epoch, msn, top);
        (0..2).for_each(|index| assert!(stream.publish(index, segment(msn), Instant::now())));
        stream.break_off(Instant::now(), 0);
    }
    let text = stream.playlist(&stream.rendition("audio").unwrap(), Skip::Nothing).identity();
    let text = std::str::from_utf8(&text).unwrap();
    let reports: Vec<_> = text.lines().filter(|line| line.starts_with("#EXT-X-RENDITION-REPORT:")).collect();
    assert_eq!(reports, ["#EXT-X-RENDITION-REPORT:URI=\"../b/index.m3u8\",LAST-MSN=101,LAST-PART=0"]);
}

#[test]
fn renditions_that_are_planned_no_more_have_gaps_and_are_bounded() {
    let stream = Stream::new("a".into(), room());
    for epoch in 0..30 {
        let msn = 100 + epoch;
        open(&stream, epoch, msn, &format!("{}p", 100 + epoch));
        for index in 0..2 {
            assert!(stream.publish(index, segment(msn), Instant::now()));
        }
        stream.break_off(Instant::now(), 0);
    }
    let of = |name: &str| stream.rendition(name).map(|known| (known.is_paused(), known.head().ended));
    assert_eq!(of("129p"), Some((false, false)));
    assert_eq!(of("128p"), Some((true, false)));
    assert_eq!(of("113p"), Some((true, false)));
    assert_eq!(of("112p").map(|(_, ended)| ended), Some(true));
    assert!(of("101p").is_none());
    assert_eq!(stream.shelf.read().renditions.len(), 2 + PAUSED_MAX + LEFT_MAX);
    open(&stream, 30, 130, "128p");
    assert_eq!(of("128p"), Some((false, false)), "it is there again");
}

#[test]
fn an_init_section_is_there_for_a_key_that_another_rendition_has_come_to() {
    let stream = Stream::new("a".into(), room());
    open(&stream, 1, 100, "720p");
    let name = |of: u8| KeyName { id: [of; 16], iv: [0; 16] };
    let publish = |index, msn, of| {
        let whole = Part { key: Some(name(of)), ..segment(msn) };
        assert!(stream.publish(index, whole, Instant::now()));
    };
    (0..2).for_each(|index| publish(index, 100, 1));
    publish(0, 101, 2);
    let audio = stream.rendition("audio").unwrap();
    assert_eq!(audio.lookup(EpochId(1), Name::Init(Some([2; 16]))), Lookup::Unknown, "of itself");
    assert!(stream.planned_init(&audio, EpochId(1), &[2; 16]).is_some());
    assert!(stream.planned_init(&audio, EpochId(1), &[3; 16]).is_none());
    assert!(stream.planned_init(&audio, EpochId(2), &[2; 16]).is_none());
}

#[test]
fn a_rung_that_is_away_is_gaps_to_who_knows_it_and_nothing_to_who_is_new() {
    let stream = Stream::new("a".into(), room());
    open(&stream, 1, 100, "720p");
    for index in 0..2 {
        assert!(stream.publish(index, segment(100), Instant::now()));
    }
    let multivariant = || String::from_utf8(stream.multivariant().unwrap().identity().to_vec()).unwrap();
    let mpd = || String::from_utf8(stream.mpd(1000).unwrap().identity().to_vec()).unwrap();
    let (rung, audio) = (stream.rendition("720p").unwrap(), stream.rendition("audio").unwrap());
    let playlist = |of: &crate::window::Rendition| {
        String::from_utf8(stream.playlist(of, Skip::Nothing).identity().to_vec()).unwrap()
    };
    assert!(multivariant().contains("720p/index.m3u8") && mpd().contains("id=\"720p\""));
    let mut waiting = rung.watch();
    waiting.borrow_and_update();
    stream.set_away(0, (101, true));
    assert!(waiting.has_changed().unwrap(), "who waits for what was promised is told");
    assert!(!multivariant().contains("720p") && !playlist(&audio).contains("720p"));
    assert_eq!(mpd().matches("id=\"720p\"").count(), 1, "it was there before: {}", mpd());
    assert!(stream.publish(1, segment(101), Instant::now()));
    waiting.borrow_and_update();
    let length = crate::window::PartLength { s: 2.0 / 6.0, per_segment: 6 };
    stream.miss(0, Position { msn: 102, part: 0 }, length, Instant::now());
    assert!(waiting.has_changed().unwrap());
    assert!(playlist(&rung).contains("#EXT-X-GAP\n#EXTINF:2.00000,\n1/101.m4s\n"), "{}", playlist(&rung));
    stream.set_away(0, (102, false));
    assert!(multivariant().contains("720p/index.m3u8") && playlist(&audio).contains("720p"));
    assert_eq!(mpd().matches("id=\"720p\"").count(), 2, "{}", mpd());
    assert!(stream.publish(0, segment(102), Instant::now()));
    assert!(!playlist(&rung).contains("DISCONTINUITY\n"));
}
