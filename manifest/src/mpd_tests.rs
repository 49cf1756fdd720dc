//! MPDs of several packagers, and what is none.

use super::*;

/// As FFmpeg's DASH muxer writes it for low latency.
const FFMPEG: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="dynamic" minimumUpdatePeriod="PT500S" timeShiftBufferDepth="PT10.5S"
  availabilityStartTime="2026-11-21T02:00:00.500Z" publishTime="2026-11-21T02:00:04Z">
  <Period id="0" start="PT0.0S">
    <AdaptationSet id="0" contentType="video">
      <Representation id="0" mimeType="video/mp4">
        <SegmentTemplate timescale="1000000" duration="2000000" availabilityTimeOffset="1.500"
          availabilityTimeComplete="false" initialization="init-stream$RepresentationID$.m4s"
          media="chunk-stream$RepresentationID$-$Number%05d$.m4s" startNumber="1"/>
      </Representation>
      <Representation id="1" mimeType="video/mp4">
        <SegmentTemplate timescale="1000000" duration="2000000" availabilityTimeOffset="1.500"
          availabilityTimeComplete="false" initialization="init-stream$RepresentationID$.m4s"
          media="chunk-stream$RepresentationID$-$Number%05d$.m4s" startNumber="1"/>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>"#;

fn template(bases: &[&str], (prefix, suffix): (&str, &str), class: Class, ms: [u64; 2]) -> Template {
    let [segment, cadence] = ms.map(|ms| Some(Duration::from_millis(ms)));
    let bases = bases.iter().map(|base| (*base).to_owned()).collect();
    Template {
        bases,
        prefix: prefix.to_owned(),
        suffix: suffix.to_owned(),
        class,
        segment,
        cadence,
        stem: None,
        numbers: None,
    }
}

#[test]
fn a_low_latency_mpd_tells_when_it_changes_and_where_its_segments_are() {
    let mpd = read(FFMPEG).unwrap();
    assert!(mpd.dynamic);
    assert_eq!(mpd.published_unix_ms, Some(1_795_226_404_000));
    assert_eq!(mpd.minimum_update_period, Some(Duration::from_secs(500)));
    assert_eq!(mpd.time_shift_buffer_depth, Some(Duration::from_millis(10_500)));
    assert_eq!(
        mpd.templates,
        [
            template(&[], ("init-stream", ".m4s"), Class::Init, [2000, 500]),
            Template {
                stem: Some("-".to_owned()),
                numbers: Some(Numbers { first: 1, first_due_unix_ms: 1_795_226_401_000 }),
                ..template(&[], ("chunk-stream", ".m4s"), Class::Segment, [2000, 500])
            },
        ]
    );
}

#[test]
fn a_number_tells_when_its_segment_may_be_asked_for() {
    let template = &read(FFMPEG).unwrap().templates[1];
    for (name, due) in [
        ("0-00001", Some(1_795_226_401_000)),
        ("1-00004", Some(1_795_226_407_000)),
        ("0-", None),
        ("0-99999999999999999999", None),
        ("", None),
    ] {
        assert_eq!(template.due_unix_ms(name), due, "{name}");
    }
    for (name, fits) in [("0-00001", true), ("00001", false), ("0-1.2", false), ("0-", false), ("", false)] {
        assert_eq!(template.fits(name), fits, "{name}");
    }
    let numbers = |period: &str, attributes: &str| {
        let text = format!(
            "<MPD type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:10Z\"><Period {period}><Representation>\
             <SegmentTemplate duration=\"2\" {attributes}/></Representation></Period></MPD>"
        );
        read(&text).unwrap().templates[0].numbers
    };
    let at = |first, first_due_unix_ms| Some(Numbers { first, first_due_unix_ms });
    for (period, attributes, expected) in [
        ("", "media=\"$Number$.m4s\"", at(1, 12_000)),
        ("start=\"PT5S\"", "media=\"a$RepresentationID$/$Number%03d$.m4s\" startNumber=\"7\"", at(7, 17_000)),
        ("", "media=\"$RepresentationID$$Number$.m4s\"", None),
        ("", "media=\"$RepresentationID$_1$Number$.m4s\"", None),
        ("", "media=\"$Number$/$RepresentationID$.m4s\"", None),
        ("", "media=\"$Time$.m4s\"", None),
        ("", "media=\"$Number$.m4s\" availabilityTimeOffset=\"1.5\"", at(1, 10_500)),
    ] {
        assert_eq!(numbers(period, attributes), expected, "{period} {attributes}");
    }
}

#[test]
fn clocks_that_are_asked_over_http_are_known() {
    let text = r#"<MPD><UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-xsdate:2014" value="/time http://b/?iso"/>
        <UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="2026-11-21T02:00:00Z"/>
        <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-head:2014" value="now.txt"/></MPD>"#;
    assert_eq!(read(text).unwrap().clocks, ["/time", "http://b/?iso", "now.txt"]);
    let many = format!(
        "<MPD><UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"{}\"/></MPD>",
        "a ".repeat(99)
    );
    assert_eq!(read(&many).unwrap().clocks.len(), CLOCKS_MAX);
}

#[test]
fn bases_and_templates_are_inherited_and_the_inner_one_counts() {
    let text = r#"<MPD type="dynamic" publishTime="2026-11-21T02:00:04.250"><BaseURL>a&amp;b/</BaseURL><BaseURL>http://other/</BaseURL>
        <Period><BaseURL><![CDATA[p/]]></BaseURL><SegmentTemplate timescale="10" media="x/$Time$.mp4"/>
        <AdaptationSet><SegmentTemplate initialization="i.mp4" availabilityTimeOffset="INF">
        <SegmentTimeline><S t="0" d="40" r="3"/><S d="20"/></SegmentTimeline></SegmentTemplate>
        <Representation id="1"><BaseURL>r/</BaseURL></Representation><Representation id="2"/></AdaptationSet>
        </Period></MPD>"#;
    let mpd = read(text).unwrap();
    assert_eq!((mpd.minimum_update_period, mpd.published_unix_ms), (None, Some(1_795_226_404_250)));
    let of = |bases: &[&str]| {
        [
            template(bases, ("i.mp4", ""), Class::Init, [4000, 4000]),
            template(bases, ("x/", ".mp4"), Class::Segment, [4000, 4000]),
        ]
    };
    assert_eq!(mpd.templates, [of(&["a&b/", "p/", "r/"]), of(&["a&b/", "p/"])].concat());
}

#[test]
fn durations_are_read_as_the_schema_says() {
    for (text, ms) in [
        ("PT2S", Some(2000)),
        ("PT0.5S", Some(500)),
        ("P1DT1H1M1.25S", Some(90_061_250)),
        ("P0Y0M0DT0H3M30.000S", Some(210_000)),
        ("PT0S", Some(0)),
        ("PT", Some(0)),
        ("P1Y", None),
        ("P1M", None),
        ("-PT1S", None),
        ("PT1", None),
        ("PTS", None),
        ("PT1e400S", None),
        ("PT999999999999S", None),
        ("2", None),
    ] {
        assert_eq!(iso_duration(text), ms.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn what_is_no_mpd_says_why() {
    let deep = format!("<MPD>{}{}</MPD>", "<a>".repeat(40), "</a>".repeat(40));
    let many: String = (0..=TEMPLATES_MAX)
        .map(|at| format!("<Representation><SegmentTemplate media=\"{at}/$Number$\"/></Representation>"))
        .collect();
    for (text, error) in [
        ("", MpdError::NotAnMpd),
        ("#EXTM3U", MpdError::NotAnMpd),
        ("<html/>", MpdError::NotAnMpd),
        ("<MPD><Period></MPD>", MpdError::NotXml),
        ("<MPD><Period>", MpdError::NotXml),
        ("<MPD", MpdError::NotXml),
        ("<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]><MPD>&c;</MPD>", MpdError::Entities),
        ("<MPD><BaseURL>&lol;</BaseURL></MPD>", MpdError::Entities),
        (&deep, MpdError::TooDeep),
        (&format!("<MPD>{many}</MPD>"), MpdError::TooManyTemplates),
    ] {
        assert_eq!(read(text), Err(error), "{:.60}", text);
    }
}

#[test]
fn damaged_mpds_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut bytes = FFMPEG.as_bytes().to_vec();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}
