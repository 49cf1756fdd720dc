//! Where in a request a token stands, and the target as it is without it.
//!
//! A token in the path, `/~TOKEN/live/…`, is carried on by every relative reference of a playlist, so it needs neither
//! cookies nor a player that knows of tokens. One in the query or a field must be sent again with each request.

use crate::request::Request;
use std::borrow::Cow;

/// A request target parted from its token.
#[derive(Debug, PartialEq, Eq)]
pub struct Parted<'t> {
    /// What stores and upstream get to see.
    pub target: Cow<'t, str>,
    pub token: Option<&'t str>,
}

/// Arguments that are a token. `CAT` is the usual name for a Common Access Token.
const ARGUMENTS: [&str; 3] = ["token", "CAT", "cat"];
/// Cookies that are a token.
const COOKIES: [&str; 2] = ["CTA-Common-Access-Token", "token"];

/// The first token there is in path, field, query and cookie, in this order: what stands in the URL or was set for this
/// very request is nearer to what the viewer means than a cookie.
///
/// `target` is in its normal spelling. Tokens in path and query are taken out, used or not.
pub fn part<'t>(target: &'t str, request: &'t Request) -> Parted<'t> {
    let (path_token, rest) = in_path(target);
    let (query_token, target) = in_query(rest);
    let field = || request.cat().filter(|token| !token.is_empty());
    let token = path_token.or_else(field).or(query_token).or_else(|| in_cookie(request.cookie()?));
    Parted { target, token }
}

/// The first of them counts, and all go: who signs a URL that is signed already has it twice.
fn in_path(target: &str) -> (Option<&str>, &str) {
    let (mut first, mut target) = (None, target);
    while let Some(rest) = target.strip_prefix("/~") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if !rest[end..].starts_with('/') {
            break;
        }
        first = first.or(Some(&rest[..end]));
        target = &rest[end..];
    }
    (first, target)
}

fn in_query(target: &str) -> (Option<&str>, Cow<'_, str>) {
    let Some((path, query)) = target.split_once('?') else { return (None, Cow::Borrowed(target)) };
    let token = |pair: &'_ str| pair.split_once('=').is_some_and(|(name, _)| ARGUMENTS.contains(&name));
    let Some(found) = query.split('&').find(|pair| token(pair)) else { return (None, Cow::Borrowed(target)) };
    let mut kept = path.to_owned();
    let mut mark = '?';
    for pair in query.split('&').filter(|pair| !token(pair)) {
        kept.push(mark);
        kept.push_str(pair);
        mark = '&';
    }
    (found.split_once('=').map(|(_, value)| value).filter(|value| !value.is_empty()), Cow::Owned(kept))
}

/// RFC 6265, 4.2.1.
fn in_cookie(cookies: &str) -> Option<&str> {
    let pairs = || cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    let value = |wanted: &str| pairs().find_map(|(name, value)| (name == wanted && !value.is_empty()).then_some(value));
    COOKIES.iter().find_map(|name| value(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn parted(target: &str, fields: &str) -> (String, Option<String>) {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let request = Request::read(Bytes::from(head)).unwrap();
        let Parted { target, token } = part(target, &request);
        (target.into_owned(), token.map(str::to_owned))
    }

    #[test]
    fn a_token_is_found_wherever_it_stands_and_leaves_no_trace() {
        for (target, fields, rest, token) in [
            ("/live/a.m3u8?x=1", "", "/live/a.m3u8?x=1", None),
            ("/~T.s/live/a.m3u8?x=1", "", "/live/a.m3u8?x=1", Some("T.s")),
            ("/~T/", "", "/", Some("T")),
            ("/~T/~U/~/live/a?token=V", "", "/live/a", Some("T")),
            ("/~T/~U", "", "/~U", Some("T")),
            ("/a?token=T", "", "/a", Some("T")),
            ("/a?_HLS_msn=3&CAT=T&CMCD=x", "", "/a?_HLS_msn=3&CMCD=x", Some("T")),
            ("/a?cat=T&token=U", "", "/a", Some("T")),
            ("/a", "cta-common-access-token: T\r\n", "/a", Some("T")),
            ("/a", "Cookie: a=b; token=T; c=d\r\n", "/a", Some("T")),
            ("/a", "Cookie: CTA-Common-Access-Token=T==\r\n", "/a", Some("T==")),
            ("/~P/a?token=Q", "Cookie: token=C\r\nCTA-Common-Access-Token: F\r\n", "/a", Some("P")),
            ("/a?token=Q", "Cookie: token=C\r\nCTA-Common-Access-Token: F\r\n", "/a", Some("F")),
            ("/a?token=Q", "Cookie: token=C\r\n", "/a", Some("Q")),
            ("/a?token=&x", "Cookie: token=C\r\n", "/a?x", Some("C")),
            ("/~T", "", "/~T", None),
            ("/~T?x/", "", "/~T?x/", None),
            ("/a/~T/b", "", "/a/~T/b", None),
            ("/a?tokens=T&Token=T", "Cookie: xtoken=T\r\n", "/a?tokens=T&Token=T", None),
        ] {
            assert_eq!(parted(target, fields), (rest.to_owned(), token.map(str::to_owned)), "{target} {fields}");
        }
    }

    #[test]
    fn noise_is_parted_without_a_panic_and_never_grows() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let noise: String = (0..16)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    ["/", "~", "?", "&", "=", "token", "CAT", "é", "#", ".", "a"][(state >> 8) as usize % 11]
                })
                .collect();
            let (rest, token) = parted(&noise, "");
            assert!(rest.len() + token.map_or(0, |token| token.len()) <= noise.len(), "{noise}");
        }
    }
}
