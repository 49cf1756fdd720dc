//! What MPDs say of names, and what becomes of MPDs.

use super::*;
use crate::object::Head;
use bytes::Bytes;
use http::HeaderMap;

const KEY: &str = "/dash/live.mpd";

fn rules() -> Rules {
    config::Config::parse("[edge]", []).unwrap().edge.unwrap().cache
}

fn mpd(attributes: &str, template: &str) -> String {
    format!(
        "<MPD type=\"dynamic\" {attributes}><Period start=\"PT0S\"><AdaptationSet><SegmentTemplate {template}/>\
         <Representation id=\"v\"/></AdaptationSet></Period></MPD>"
    )
}

fn numbered(attributes: &str) -> String {
    mpd(
        attributes,
        "duration=\"2\" initialization=\"init-$RepresentationID$.mp4\" media=\"$RepresentationID$/$Number$.m4s\"",
    )
}

fn object(text: &str, fields: &[(&'static str, &str)], now: Instant) -> Object {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    let head = Head::from_upstream(&rules(), http::StatusCode::OK, &headers, Class::Mpd, now);
    Object::new(Arc::new(head), vec![Bytes::copy_from_slice(text.as_bytes())], now)
}

struct Node {
    dash: Dash,
    now: Instant,
}

impl Node {
    fn new() -> Self {
        let now = Instant::now();
        Self { dash: Dash::new((2, 8), Duration::from_secs(10), now), now }
    }

    /// An MPD comes at `ms`, which is the wall clock too.
    fn came(&self, key: &str, text: &str, ms: u64) -> Verdict {
        self.came_from(PeerId::of(1), (key, text), None, ms)
    }

    fn came_from(
        &self,
        source: PeerId,
        (key, text): (&str, &str),
        asked: Option<(Instant, PeerId)>,
        ms: u64,
    ) -> Verdict {
        let now = self.at(ms);
        let came = Came { key: &key.into(), object: &object(text, &[], now), source, asked, now, unix_ms: ms as i64 };
        self.dash.came(&came, &rules())
    }

    fn at(&self, ms: u64) -> Instant {
        self.now + Duration::from_millis(ms)
    }

    fn named(&self, key: &str, ms: u64) -> Option<Named> {
        match self.dash.look(key, self.at(ms)) {
            Some(Known::Named(named)) => Some(named),
            _ => None,
        }
    }
}

#[test]
fn what_a_live_template_stands_for_is_live_and_due_when_its_number_says() {
    let node = Node::new();
    let text = numbered("availabilityStartTime=\"1970-01-01T00:00:00Z\" timeShiftBufferDepth=\"PT30S\"");
    assert!(node.dash.look("/dash/v/1.m4s", node.now).is_none());
    assert!(matches!(node.came(KEY, &text, 20_000), Verdict::Live(_)));
    for (name, class, due_ms) in [
        ("/dash/init-v.mp4", Class::Init, 21_000),
        ("/dash/v/14.m4s", Class::Segment, 28_000),
        ("/dash/v/3.m4s", Class::Segment, 20_000),
    ] {
        let promise = node.named(name, 21_000).unwrap().promise;
        assert_eq!((promise.class, promise.source), (class, PeerId::of(1)), "{name}");
        assert_eq!(promise.due.unwrap().at, node.at(due_ms), "{name}");
    }
    for name in ["/dash/w/x.m4s", "/dash/v/1.2.m4s", "/dash/v/1.mp4", "/vod/v/1.m4s", "/dash", KEY] {
        assert!(node.named(name, 21_000).is_none(), "{name}");
    }
    assert!(matches!(node.dash.look(KEY, node.now), Some(Known::Mpd)));
    let (_, until) = node.dash.window("/dash/v/14.m4s", node.at(28_000)).unwrap();
    assert_eq!(until, node.at(64_000), "its window, and three segments");
}

#[test]
fn a_missing_segment_is_missing_until_it_is_due_and_then_for_a_part_of_its_cadence() {
    let (rules, now) = (rules(), Instant::now());
    let due = Due { at: now + Duration::from_millis(300), cadence: Duration::from_millis(400) };
    assert_eq!(due.missing(now, &rules).as_millis(), 300);
    assert_eq!(due.missing(now + Duration::from_millis(300), &rules).as_millis(), 100);
    let far = Due { at: now + Duration::from_secs(9), ..due };
    assert_eq!(far.missing(now, &rules), rules.missing, "clocks may differ");
}

#[test]
fn an_mpd_is_late_after_two_steps_and_so_is_a_segment_that_is_due() {
    let (node, home, other) = (Node::new(), PeerId::of(0), PeerId::of(1));
    let text = numbered("availabilityStartTime=\"1970-01-01T00:00:00Z\"");
    let promise = |ms| node.dash.promise(KEY, home, node.at(ms));
    assert!(promise(0).is_none(), "nothing is known of it");
    let mut ms = 0;
    for pause in [0, 1, 7, 2, 1, 1, 1, 5, 1] {
        ms += pause * 1000;
        let asked = promise(ms).map(|promise| (promise.due.unwrap().at, promise.source));
        node.came_from(home, (KEY, &text), asked, ms + 30);
    }
    let late = |ms| promise(ms).unwrap().late.unwrap() - node.at(ms);
    assert_eq!(late(ms).as_millis(), 4000);
    let segment = node.named("/dash/v/12.m4s", ms + 100).unwrap().promise;
    assert_eq!((segment.due.unwrap().at, segment.late), (node.at(24_000), Some(node.at(28_000))));
    let due = node.named("/dash/v/3.m4s", ms + 100).unwrap().promise;
    assert_eq!(due.late, Some(node.at(ms + 4100)));

    // Another one was faster: the stream stays there for a while.
    node.came_from(other, (KEY, &text), Some((node.at(ms), home)), ms + 9000);
    assert_eq!(late(ms + 9000).as_millis(), 4000, "that taught nothing");
    assert_eq!(promise(ms + 30_000).unwrap().source, other);
    assert_eq!(promise(ms + 39_000).unwrap().source, home);
    assert_eq!(promise(ms + 40_000).unwrap().source, other);
}

#[test]
fn half_the_update_period_is_how_long_an_mpd_is_fresh() {
    let (rules, now) = (rules(), Instant::now());
    let lease_of = |text: &str, fields: &[(&'static str, &str)]| {
        let object = object(text, fields, now);
        lease(&read(&object).unwrap(), &object, &rules, now)
    };
    for (attributes, fields, fresh_ms) in [
        ("minimumUpdatePeriod=\"PT1S\"", &[][..], 500),
        ("minimumUpdatePeriod=\"PT500S\"", &[], 1000),
        ("minimumUpdatePeriod=\"PT0S\"", &[], 1000),
        ("minimumUpdatePeriod=\"PT0.1S\"", &[], 250),
        ("", &[], 1000),
        ("", &[("cache-control", "max-age=3600")], 1000),
        ("", &[("cache-control", "s-maxage=0, max-age=9")], 1000),
        ("", &[("cache-control", "no-store")], 1000),
    ] {
        let lease = lease_of(&numbered(attributes), fields);
        assert_eq!(lease.fresh.as_millis(), fresh_ms, "{attributes} {fields:?}");
        assert_eq!((lease.while_revalidating, lease.if_error), (lease.fresh, Duration::from_secs(6)));
    }
    let long = mpd("minimumUpdatePeriod=\"PT9999S\"", "duration=\"99999999\" media=\"$Number$\"");
    assert_eq!(lease_of(&long, &[]).fresh, FRESH_MAX);
    let aged = lease_of(&mpd("minimumUpdatePeriod=\"PT8S\"", "duration=\"8\" media=\"$Number$\""), &[("age", "1")]);
    assert_eq!(aged.fresh.as_secs(), 3);
}

#[test]
fn an_mpd_never_goes_backwards_until_it_is_too_old() {
    let node = Node::new();
    let of = |from: u32, published: u32| {
        numbered(&format!(
            "availabilityStartTime=\"1970-01-01T00:00:{from:02}Z\" publishTime=\"1970-01-01T00:01:{published:02}Z\""
        ))
    };
    assert!(matches!(node.came(KEY, &of(10, 8), 1000), Verdict::Live(_)));
    let Verdict::Backwards(shown) = node.came(KEY, &of(10, 6), 2000) else { panic!("older") };
    assert!(std::str::from_utf8(&shown.text().unwrap()).unwrap().contains("00:01:08Z"));
    assert!(matches!(node.came(KEY, &of(9, 50), 3000), Verdict::Backwards(_)), "another origin's life");
    assert!(matches!(node.came(KEY, &of(10, 8), 4000), Verdict::Live(_)), "the same again");
    // Nor is an error page with status 200 shown, and the last MPD not forgotten over it.
    let Verdict::Unreadable(Some(shown)) = node.came(KEY, "<html>", 4500) else { panic!("the last one") };
    assert!(std::str::from_utf8(&shown.text().unwrap()).unwrap().contains("00:01:08Z"));
    assert!(matches!(node.came(KEY, &of(10, 7), 4600), Verdict::Backwards(_)), "older than what was seen");
    // An encoder that was started again begins to count again, under the same names.
    let Verdict::NewLife(_, names) = node.came(KEY, &of(20, 1), 5000) else { panic!("new life") };
    let name = |first: &str, last: &str| (first.to_owned(), last.to_owned());
    assert_eq!(names, [name("/dash/init-", ".mp4"), name("/dash/", ".m4s")]);
    assert!(matches!(node.came(KEY, &of(10, 9), 10_999), Verdict::Backwards(_)));
    assert!(matches!(node.came(KEY, &of(10, 9), 11_000), Verdict::Live(_)), "nothing else for three segments");
}

#[test]
fn what_is_no_live_mpd_makes_nothing_live() {
    let node = Node::new();
    assert!(matches!(node.came(KEY, &numbered(""), 0), Verdict::Live(_)));
    assert!(matches!(node.came(KEY, "<MPD", 60_000), Verdict::Unreadable(None)));
    assert!(node.named("/dash/v/1.m4s", 60_000).is_none());
    assert!(matches!(node.came(KEY, "<MPD", 60_000), Verdict::Unreadable(None)));
    assert!(matches!(node.came(KEY, &numbered(""), 0), Verdict::Live(_)));
    assert!(matches!(node.came(KEY, &numbered("").replace("dynamic", "static"), 0), Verdict::Static));
    assert!(node.named("/dash/v/1.m4s", 0).is_none());
    let elsewhere = mpd("", "duration=\"2\" media=\"http://other/$Number$.m4s\"");
    assert!(matches!(node.came(KEY, &elsewhere, 0), Verdict::Live(_)));
    assert!(node.named("/$Number$.m4s", 0).is_none() && node.dash.state.read().patterns.is_empty());
}

#[test]
fn mpds_are_bounded_and_forgotten_when_nobody_needs_them() {
    let node = Node::new();
    for key in ["/a/x.mpd", "/b/x.mpd"] {
        assert!(matches!(node.came(key, &numbered(""), 0), Verdict::Live(_)));
    }
    assert!(matches!(node.came("/c/x.mpd", &numbered(""), 0), Verdict::Full(Bound::Subscriptions)));
    assert!(node.named("/a/v/9.m4s", 8000).is_some());
    node.dash.sweep(node.at(10_000));
    assert!(node.named("/a/v/9.m4s", 10_000).is_some() && node.named("/b/v/9.m4s", 10_000).is_none());
    node.dash.forget(|key| key == "/a/x.mpd");
    let state = node.dash.state.read();
    assert!(state.mpds.is_empty() && state.patterns.is_empty() && state.clocks.is_empty());
}

/// Who asks can make up queries, and each makes an MPD of its own.
#[test]
fn variants_of_one_mpd_are_bounded_and_leave_without_a_trace() {
    let now = Instant::now();
    let node = Node { dash: Dash::new((10_000, 8), Duration::from_secs(10), now), now };
    for at in 0..100 {
        let followed = matches!(node.came(&format!("/a/x.mpd?w={at}"), &numbered(""), 0), Verdict::Live(_));
        assert_eq!(followed, at < 8, "{at}");
    }
    assert!(matches!(node.came("/a/x.mpd", &numbered(""), 0), Verdict::Live(_)), "nobody made this one up");
    assert!(matches!(node.came("/a/y.mpd?w=1", &numbered(""), 0), Verdict::Live(_)), "another MPD has its own");
    assert!(matches!(node.came("/a/x.mpd?w=1", &numbered(""), 0), Verdict::Live(_)), "what is followed goes on");
    node.dash.sweep(node.at(20_000));
    let state = node.dash.state.read();
    assert!(state.mpds.is_empty() && state.patterns.is_empty() && state.variants.is_empty());
}

#[test]
fn what_a_path_begins_with_is_found_among_all_that_is_listed() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut text = |most: u64| -> String {
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 9
        };
        let length = next() % most;
        (0..length).map(|_| ["a", "b", "/", "é", "è"][next() as usize % 5]).collect()
    };
    for _ in 0..300 {
        let listed: BTreeMap<String, String> = (0..30).map(|_| text(6)).map(|name| (name.clone(), name)).collect();
        let path = text(12);
        let found: Vec<&String> = beginning(&listed, &path).collect();
        let mut expected: Vec<&String> = listed.values().filter(|name| path.starts_with(name.as_str())).collect();
        expected.sort_by_key(|name| std::cmp::Reverse(name.len()));
        assert_eq!(found, expected, "{path} in {listed:?}");
    }
}

/// Elsewhere on the node may be somebody else's.
#[test]
fn an_mpd_speaks_for_its_own_folder_alone() {
    let node = Node::new();
    for media in ["/$Number$", "../$Number$", "/$RepresentationID$", "/other/$Number$.m4s"] {
        let text = mpd("availabilityStartTime=\"2026-11-21T02:00:00Z\"", &format!("duration=\"2\" media=\"{media}\""));
        assert!(matches!(node.came(KEY, &text, 0), Verdict::Live(_)));
        for path in ["/7", "/v", "/other/7.m4s", "/zz/private.json", "/dash7"] {
            assert!(node.named(path, 8000).is_none(), "{media} stands for {path}");
        }
        let again = text.replace("02:00:00", "03:00:00");
        let Verdict::NewLife(_, gone) = node.came(KEY, &again, 0) else { panic!("it is a new life") };
        assert!(gone.is_empty(), "{media} purges {gone:?}");
        node.dash.forget(|_| true);
    }
}

#[test]
fn bases_tokens_and_clocks_of_this_host_are_resolved() {
    let node = Node::new();
    let text = "<MPD type=\"dynamic\"><UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"%74ime?iso /time http://o/t\"/>\
        <BaseURL>media/</BaseURL><Period><AdaptationSet><SegmentTemplate duration=\"2\" media=\"%73$Number$.m4s?token=a\"/>\
        <Representation/></AdaptationSet></Period></MPD>";
    assert!(matches!(node.came(KEY, text, 0), Verdict::Live(_)));
    assert!(matches!(node.dash.look("/dash/time?iso", node.now), Some(Known::Clock)));
    assert!(node.dash.look("/time", node.now).is_none(), "it lies outside of the MPD's folder");
    let url = node.named("/dash/media/s7.m4s", 0).unwrap().url;
    assert_eq!(url.as_deref(), Some("/dash/media/s7.m4s?token=a"));
}
