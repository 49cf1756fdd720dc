//! One line of the access log: what is written down of a request, and what never is. Pure.
//!
//! **No query, field or path segment that may hold a token is written.** Queries are left out whole.

use crate::key::normalized;
use config::LoggedAddresses;
use core::net::IpAddr;
use serde::Serialize;
use std::borrow::Cow;

/// Times are in milliseconds, sizes in bytes. What is not known is `null`.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// When the request had come, since 1970.
    pub time_ms: u64,
    pub address: Option<String>,
    pub method: &'static str,
    pub path: &'a str,
    pub stream: &'a str,
    pub status: Option<u16>,
    /// `sent`, `cut`: the answer was not given whole; `left`: the viewer was gone before there was one.
    pub end: &'static str,
    /// Of the body, as handed to the connection.
    pub bytes: u64,
    pub duration_ms: f64,
    pub first_byte_ms: Option<f64>,
    pub held_ms: f64,
    pub cache: Option<&'static str>,
    /// Why it was refused.
    pub reason: Option<&'static str>,
    /// Where the object came from, now or before.
    pub upstream: Option<&'a str>,
    pub protocol: &'static str,
    pub tls: Option<&'static str>,
    pub agent: Option<Cow<'a, str>>,
    /// `sid` of CMCD.
    pub session: Option<&'a str>,
}

const PATH_BYTES_MAX: usize = 1024;
const AGENT_BYTES_MAX: usize = 256;

impl Line<'_> {
    /// The line, with its end. JSON leaves no byte of a viewer's that could end it early.
    pub fn render(&self) -> Vec<u8> {
        // Numbers and texts are always JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The path of a request target as it may be written down: without its query, without a token that stands in it
/// (`/~TOKEN/…`), and without what stands behind `=` in a segment, where other token services have theirs.
pub fn path(target: &str) -> String {
    let target = normalized(target);
    let path = target.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return String::new();
    }
    let mut told = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        told.push('/');
        match (segment.starts_with('~'), segment.split_once('=')) {
            (true, _) => told.push('~'),
            (false, Some((name, _))) => {
                told.push_str(name);
                told.push('=');
            }
            (false, None) => told.push_str(segment),
        }
    }
    shortened(&told, PATH_BYTES_MAX).to_owned()
}

pub fn agent(value: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(value) {
        Cow::Borrowed(text) => Cow::Borrowed(shortened(text, AGENT_BYTES_MAX)),
        Cow::Owned(text) => Cow::Owned(shortened(&text, AGENT_BYTES_MAX).to_owned()),
    }
}

/// As much of an address as is to be written: of a prefix, the network of a household or a street.
pub fn address(address: IpAddr, how: LoggedAddresses) -> Option<String> {
    match (how, address) {
        (LoggedAddresses::None, _) => None,
        (LoggedAddresses::Full, address) => Some(address.to_string()),
        (LoggedAddresses::Prefix, IpAddr::V4(address)) => {
            let [one, two, three, _] = address.octets();
            Some(IpAddr::from([one, two, three, 0]).to_string())
        }
        (LoggedAddresses::Prefix, IpAddr::V6(address)) => {
            let [one, two, three, ..] = address.segments();
            Some(IpAddr::from([one, two, three, 0, 0, 0, 0, 0]).to_string())
        }
    }
}

fn shortened(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_no_secret_however_it_is_spelt() {
        for (target, expected) in [
            ("/live/a/index.m3u8?token=SECRET", "/live/a/index.m3u8"),
            ("/live/a/index.m3u8?_HLS_msn=1&CAT=SECRET&cat=SECRET", "/live/a/index.m3u8"),
            ("/live/a/index.m3u8?Policy=SECRET&Signature=SECRET#SECRET", "/live/a/index.m3u8"),
            ("/live/a/index.m3u8#?SECRET", "/live/a/index.m3u8"),
            ("/~SECRET/live/a/index.m3u8", "/~/live/a/index.m3u8"),
            ("/%7ESECRET/live/a/index.m3u8", "/~/live/a/index.m3u8"),
            ("/%7eSECRET/%7eSECRET/a", "/~/~/a"),
            ("/x/../~SECRET/a", "/~/a"),
            ("/./~SECRET/a", "/~/a"),
            ("/~SECRET", "/~"),
            ("/a/~SECRET?x", "/a/~"),
            ("/hdntl=exp=1~hmac=SECRET/a.m3u8", "/hdntl=/a.m3u8"),
            ("/a;token=SECRET", "/a;token="),
            ("http://user:SECRET@host/a?SECRET", "/a"),
            ("user:SECRET@host:443", ""),
            ("*", ""),
            ("/live/%61/720p/%C3%A9", "/live/a/720p/%C3%A9"),
        ] {
            assert_eq!(path(target), expected, "{target}");
        }
        assert_eq!(path(&format!("/{}", "é".repeat(2000))).len(), 1023, "no letter is cut in two");
    }

    #[test]
    fn a_line_is_one_line_whatever_a_viewer_sends() {
        for hostile in [&b"a\"b\\c\r\nd\x00\x1b[31m"[..], b"\xff\xfe", b"}\n{\"status\":200}", "\u{2028}é".as_bytes()]
        {
            let agent = agent(hostile);
            let line = Line {
                time_ms: 1,
                address: None,
                method: "GET",
                path: "/a",
                stream: "/a",
                status: Some(200),
                end: "sent",
                bytes: 0,
                duration_ms: 0.5,
                first_byte_ms: None,
                held_ms: 0.0,
                cache: None,
                reason: None,
                upstream: None,
                protocol: "h1",
                tls: None,
                agent: Some(agent.clone()),
                session: None,
            };
            let line = String::from_utf8(line.render()).unwrap();
            assert_eq!(line.matches(|letter: char| letter.is_ascii_control()).count(), 1, "{line}");
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&read["agent"], &read["status"]), (&agent.as_ref().into(), &200.into()));
        }
        assert_eq!(agent(&[b'a'; 300]).len(), 256);
    }

    #[test]
    fn addresses_are_told_as_far_as_is_wanted() {
        let told = |text: &str, how| address(text.parse().unwrap(), how);
        for (text, prefix) in [("192.0.2.77", "192.0.2.0"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1::")] {
            assert_eq!(told(text, LoggedAddresses::Full).as_deref(), Some(text));
            assert_eq!(told(text, LoggedAddresses::Prefix).as_deref(), Some(prefix));
            assert_eq!(told(text, LoggedAddresses::None), None);
        }
    }
}
