//! Tables of what upstream may say of an answer, and what follows.

use super::*;

const RULES: Rules = Rules {
    playlist: Duration::from_secs(1),
    media: Duration::from_secs(600),
    other: Duration::from_secs(10),
    missing: Duration::from_millis(500),
    refused: Duration::from_millis(400),
    failed: Duration::ZERO,
    stale_while_revalidate: Duration::from_secs(2),
    stale_while_revalidate_max: Duration::from_secs(30),
    stale_if_error: Duration::from_secs(60),
    stale_if_error_max: Duration::from_secs(3600),
    revalidate: Duration::from_secs(100),
};

fn of(fields: &[(&'static str, &str)], class: Class, status: u16) -> Result<Lease, Unstored> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    judge(&RULES, StatusCode::from_u16(status).unwrap(), &headers, class)
}

/// Seconds fresh, and stale while revalidating and on errors.
fn seconds(fields: &[(&'static str, &str)]) -> Result<(u64, u64, u64), Unstored> {
    of(fields, Class::Segment, 200)
        .map(|lease| (lease.fresh.as_secs(), lease.while_revalidating.as_secs(), lease.if_error.as_secs()))
}

#[test]
fn upstream_decides() {
    for (fields, expected) in [
        (&[("cache-control", "public, max-age=12")][..], Ok((12, 2, 60))),
        (&[("cache-control", "max-age=5, S-MaxAge=\"7\"")], Ok((7, 0, 0))),
        (&[("cache-control", "max-age=5, max-age=7")], Ok((5, 2, 60))),
        (&[("cache-control", "max-age=5"), ("age", "3")], Ok((2, 2, 60))),
        (&[("cache-control", "max-age=5"), ("age", "6")], Ok((0, 1, 59))),
        (&[("cache-control", "max-age=5"), ("age", "99")], Err(Unstored::Useless)),
        (&[("cache-control", "max-age=5"), ("cache-control", "no-store")], Err(Unstored::NoStore)),
        (&[("cache-control", "private")], Err(Unstored::Private)),
        (&[("cache-control", "max-age=5, private=\"x, max-age=9\"")], Err(Unstored::Private)),
        (&[("cache-control", "max-age=soon")], Err(Unstored::Useless)),
        (&[("cache-control", "max-age=-1")], Err(Unstored::Useless)),
        (&[("cache-control", "max-age=99999999999999999999999")], Ok((31_536_000, 2, 60))),
        (&[("cache-control", "a=\"b, no-store, c\", max-age=4")], Ok((4, 2, 60))),
        (&[("cache-control", "caf\u{e9}")], Err(Unstored::NoStore)),
    ] {
        assert_eq!(seconds(fields), expected, "{fields:?}");
    }
}

#[test]
fn what_is_stale_is_shown_within_bounds_and_only_where_it_may_be() {
    for (control, expected) in [
        ("max-age=5, stale-while-revalidate=7, stale-if-error=9", Ok((5, 7, 9))),
        ("s-maxage=5, stale-while-revalidate=7", Ok((5, 7, 0))),
        ("max-age=5, stale-while-revalidate=700, stale-if-error=90000", Ok((5, 30, 3600))),
        ("max-age=5, stale-while-revalidate=0, stale-if-error=0", Ok((5, 0, 0))),
        ("max-age=5, must-revalidate, stale-if-error=9", Ok((5, 0, 0))),
        ("max-age=5, proxy-revalidate, stale-while-revalidate=9", Ok((5, 0, 0))),
        ("max-age=0", Err(Unstored::Useless)),
        ("max-age=0, stale-while-revalidate=7", Ok((0, 7, 0))),
    ] {
        assert_eq!(seconds(&[("cache-control", control)]), expected, "{control}");
    }
}

#[test]
fn a_validator_makes_it_worth_keeping_what_is_not_fresh() {
    for control in ["no-cache", "max-age=0, must-revalidate", "no-cache=\"set-cookie, x\""] {
        assert_eq!(seconds(&[("cache-control", control)]), Err(Unstored::Useless), "{control}");
        for validator in ["etag", "last-modified"] {
            let lease = of(&[("cache-control", control), (validator, "\"x\"")], Class::Segment, 200).unwrap();
            assert_eq!(lease, Lease { revalidate: RULES.revalidate, ..Lease::default() }, "{control}");
        }
    }
    assert_eq!(seconds(&[("cache-control", "no-store"), ("etag", "\"x\"")]), Err(Unstored::NoStore));
}

#[test]
fn what_cannot_be_read_may_have_forbidden_it() {
    for control in [
        "\"no-store",
        "max-age=9, \"private",
        "max-age=\"9",
        "max-age=9\"",
        "max-age=9; no-store",
        "no store",
        "=9",
        "max-age=",
        "x=\"a\"b\"",
    ] {
        assert_eq!(seconds(&[("cache-control", control)]), Err(Unstored::NoStore), "{control}");
    }
    assert_eq!(seconds(&[("cache-control", ", max-age = 9,, x=\"a, b\", y=2,")]), Ok((9, 2, 60)));
    let fields = [("cache-control", "private"), ("cdn-cache-control", "max-age=\"100\"")];
    assert_eq!(seconds(&fields), Err(Unstored::NoStore));
}

#[test]
fn what_is_said_to_cdns_goes_before_what_is_said_to_all() {
    let all = ("cache-control", "no-store");
    for (cdn, expected) in [
        ("max-age=60", Ok((60, 2, 60))),
        ("max-age=60;x=1, stale-if-error=5", Ok((60, 2, 5))),
        ("s-maxage=6", Ok((6, 0, 0))),
        ("public", Ok((600, 2, 60))),
        ("no-store", Err(Unstored::NoStore)),
        ("private=\"x\"", Err(Unstored::Private)),
        // What has a value of another type may have meant to forbid.
        ("max-age=6.5", Err(Unstored::NoStore)),
        ("max-age=\"6\"", Err(Unstored::NoStore)),
        ("max-age=6, no-store=1", Err(Unstored::NoStore)),
        ("max-age=6, private=(a b)", Err(Unstored::NoStore)),
        ("max-age=?0", Err(Unstored::NoStore)),
        ("max-age=60, no-store=?0, x=1.5", Ok((60, 2, 60))),
        ("max-age=-7", Err(Unstored::Useless)),
        // Malformed or empty: as if it were not there.
        ("max-age=60,", Err(Unstored::NoStore)),
        ("Max-Age=60", Err(Unstored::NoStore)),
        ("", Err(Unstored::NoStore)),
    ] {
        assert_eq!(seconds(&[all, ("cdn-cache-control", cdn)]), expected, "{cdn}");
    }
    let two = [("cdn-cache-control", "max-age=7"), ("cdn-cache-control", "stale-if-error=1"), all];
    assert_eq!(seconds(&two), Ok((7, 2, 1)), "two lines are one field");
    let expired = ("expires", "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(seconds(&[("cdn-cache-control", "public"), expired]), Ok((600, 2, 60)), "Expires is not looked at");
}

#[test]
fn expires_counts_from_date() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    for (expires, expected) in [
        ("Sun, 06 Nov 1994 08:50:37 GMT", Ok((60, 2, 60))),
        ("Sun, 06 Nov 1994 08:49:00 GMT", Err(Unstored::Useless)),
        ("0", Err(Unstored::Useless)),
    ] {
        assert_eq!(seconds(&[date, ("expires", expires)]), expected, "{expires}");
        let control = ("cache-control", "max-age=3");
        assert_eq!(seconds(&[date, ("expires", expires), control]), Ok((3, 2, 60)), "max-age goes before Expires");
    }
    assert_eq!(seconds(&[("expires", "Sun, 06 Nov 1994 08:49:00 GMT")]), Ok((600, 2, 60)), "no Date, no Expires");
}

#[test]
fn silence_gets_the_default_of_the_class() {
    let fresh = |fields, class| of(fields, class, 200).unwrap().fresh.as_secs();
    assert_eq!(fresh(&[], Class::Playlist), 1);
    assert_eq!(fresh(&[], Class::Part), 600);
    assert_eq!(fresh(&[("cache-control", "public")], Class::Other), 10);
}

#[test]
fn an_answer_that_varies_by_what_is_not_asked_is_not_stored() {
    for (vary, stored) in [
        ("*", false),
        ("Accept-Encoding", true),
        ("accept-encoding, Origin, Access-Control-Request-Headers,", true),
        ("Origin, Cookie", false),
        ("User-Agent", false),
        ("", true),
    ] {
        assert_eq!(seconds(&[("vary", vary)]) != Err(Unstored::Vary), stored, "{vary}");
    }
    assert_eq!(seconds(&[("vary", "Origin"), ("vary", "Cookie")]), Err(Unstored::Vary));
}

#[test]
fn a_cookie_is_for_one_unless_upstream_says_otherwise() {
    let cookie = ("set-cookie", "a=b");
    for (fields, class, shared) in [
        (&[cookie][..], Class::Other, false),
        (&[cookie, ("cache-control", "max-age=9")], Class::Other, false),
        (&[cookie, ("cache-control", "public, max-age=9")], Class::Other, true),
        (&[cookie, ("cdn-cache-control", "max-age=9")], Class::Other, true),
        (&[cookie], Class::Segment, false),
        (&[cookie, ("cache-control", "s-maxage=9")], Class::Segment, true),
        (&[cookie, ("cache-control", "public, private")], Class::Segment, false),
    ] {
        assert_eq!(of(fields, class, 200).is_ok(), shared, "{fields:?} {class:?}");
    }
}

#[test]
fn what_is_no_200_is_kept_as_configured() {
    let no_store = &[("cache-control", "no-store")][..];
    for (status, fields, expected) in [
        (404, &[][..], Ok(500)),
        (410, no_store, Ok(500)),
        (404, &[("cache-control", "private")], Err(Unstored::Private)),
        (403, &[], Ok(400)),
        (400, no_store, Err(Unstored::NoStore)),
        (503, &[], Err(Unstored::Status)),
        (302, &[("cache-control", "max-age=9")], Err(Unstored::Status)),
        (302, no_store, Err(Unstored::NoStore)),
        (206, &[], Err(Unstored::Status)),
    ] {
        let fresh = of(fields, Class::Other, status).map(|lease| lease.whole().as_millis());
        assert_eq!(fresh, expected, "{status} {fields:?}");
    }
}

#[test]
fn noise_is_judged_without_a_panic() {
    let mut state = 0x1357_9bdf_0246_8ace_u64;
    for _ in 0..20_000 {
        let noise: String = (0..12)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ["max-age=", "9", ",", "\"", " ", ";", "no-cache", "=", "s-maxage=", "?0", "(", "private"]
                    [(state >> 8) as usize % 12]
            })
            .collect();
        for name in ["cache-control", "cdn-cache-control", "vary", "expires"] {
            let _ = of(&[(name, noise.as_str())], Class::Other, 200);
        }
    }
}
