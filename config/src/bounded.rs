//! Numbers with a range, and addresses: the checks that several sections share.

use crate::Problem;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// `value` if it lies in `range`, else a problem that says the range; the default keeps validation going.
pub(crate) fn within<T: PartialOrd + Display + Copy>(
    problems: &mut Vec<Problem>,
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> T {
    if !range.contains(&value) {
        let (low, high) = (range.start(), range.end());
        problems.push(Problem::new(key, format!("{value} is out of range; write a value from {low} to {high}")));
    }
    value
}

/// A listening address such as `0.0.0.0:8081` or `[::]:8081`.
pub(crate) fn address(problems: &mut Vec<Problem>, key: &str, value: &str) -> std::net::SocketAddr {
    value.parse().unwrap_or_else(|_| {
        problems.push(Problem::new(
            key,
            format!("{value:?} is not an address with a port; write for example \"0.0.0.0:8080\""),
        ));
        std::net::SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

/// A name of a node, as it stands in header fields and metrics.
pub(crate) fn name(problems: &mut Vec<Problem>, key: &str, value: String) -> String {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if value.is_empty() || value.len() > 64 || !value.bytes().all(token) {
        problems.push(Problem::new(key, "must be 1 to 64 letters, digits, '-', '_' or '.'"));
    }
    value
}

/// `http://host[:port][/path]` or `https://…`, without a trailing slash, query or fragment. It ends up in playlists and
/// headers, so it holds only what a URL may (RFC 3986, 2).
pub(crate) fn base_url(problems: &mut Vec<Problem>, key: &str, value: &str) -> String {
    let rest = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"));
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"?#\"@<>\\^`{|}".contains(&byte);
    let plain = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(allowed));
    if !plain {
        // Logs keep what is said here.
        let told = if value.contains('@') {
            "must name no user and no password".to_owned()
        } else {
            format!("{value:?} is not a base URL")
        };
        problems.push(Problem::new(key, format!("{told}; write for example \"http://127.0.0.1:8081\"")));
    }
    value.trim_end_matches('/').to_owned()
}

/// What is sent as `Authorization: Bearer`, where there is one.
pub(crate) fn token(problems: &mut Vec<Problem>, key: &str, token: Option<&str>) {
    let plain = |token: &str| TOKEN_BYTES.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    if token.is_some_and(|token| !plain(token)) {
        let message = "must be 16 to 256 visible ASCII characters; take for example what `openssl rand -hex 24` prints";
        problems.push(Problem::new(key, message));
    }
}

/// Short enough to be typed is short enough to be guessed.
const TOKEN_BYTES: RangeInclusive<usize> = 16..=256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_holds_nothing_that_could_end_a_line_or_a_quote() {
        let refused = |url: &str| {
            let mut problems = Vec::new();
            base_url(&mut problems, "key", url);
            !problems.is_empty()
        };
        for good in ["http://h", "https://h.example:8443/a/b~c/", "http://[::1]:80", "http://h/%7Bx%7D"] {
            assert!(!refused(good), "{good}");
        }
        for bad in [
            "",
            "h",
            "ftp://h",
            "http://",
            "http:///x",
            "http://h\n#EXT-X-ENDLIST",
            "http://h\r",
            "http://h\"",
            "http://é",
            "http://u@h",
            "http://h?x",
            "http://h#x",
            "http://h x",
            "http://{h}",
        ] {
            assert!(refused(bad), "{bad:?}");
        }
        let mut problems = Vec::new();
        base_url(&mut problems, "key", "http://user:of-nobody-else@h");
        assert!(problems[0].to_string().starts_with("key: must name no user"), "{}", problems[0]);
    }
}
