//! What a request asks for, freed of how it is spelled: the class of the object and its key in stores and upstream.
//!
//! The viewer's `Host` is no part of a key: a node has one upstream, asks it under its own name, and passes no field of
//! the viewer on that could change an answer.

use std::borrow::Cow;

/// What an object is, as far as lifetimes and metrics differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Playlist,
    Mpd,
    Init,
    Segment,
    Part,
    Other,
}

/// The path and query of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub path: &'a str,
    /// Without its `?`; empty where there is none.
    pub query: &'a str,
    pub class: Class,
    /// The path has one of the shapes that Vivid's tiers agreed on, where no query argument changes the object.
    agreed: bool,
}

/// Why a request target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("the request target must be a path that begins with '/'")]
    NotAPath,
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes; shorten its query")]
    TooLong,
}

/// Longer than any path and CMCD query that players send, shorter than what could fill a map of keys.
pub const TARGET_BYTES_MAX: usize = 4096;

impl Class {
    pub const ALL: [Self; 6] = [Self::Playlist, Self::Mpd, Self::Init, Self::Segment, Self::Part, Self::Other];

    /// The value of the metrics' `class` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Playlist => "playlist",
            Self::Mpd => "mpd",
            Self::Init => "init",
            Self::Segment => "segment",
            Self::Part => "part",
            Self::Other => "other",
        }
    }

    /// What its name stands for changes, and it is answered whole or not at all.
    pub fn is_manifest(self) -> bool {
        matches!(self, Self::Playlist | Self::Mpd)
    }

    fn of(path: &str) -> (Self, bool) {
        if let Some(class) = agreed(path) {
            return (class, true);
        }
        let class = match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("m3u8") => Self::Playlist,
            Some("mpd") => Self::Mpd,
            // Foreign packagers' media: of which kind each is, its playlist says.
            Some("aac" | "cmfa" | "cmfv" | "m4a" | "m4s" | "m4v" | "mp4" | "ts") => Self::Segment,
            _ => Self::Other,
        };
        (class, false)
    }
}

impl<'a> Target<'a> {
    /// Reads a request target in origin form, or in absolute form as a proxy would send it (RFC 9112, 3.2).
    pub fn read(target: &'a str) -> Result<Self, TargetError> {
        if target.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        let origin_form = origin_form(target);
        if !origin_form.starts_with('/') {
            return Err(TargetError::NotAPath);
        }
        let without_fragment = origin_form.split('#').next().unwrap_or(origin_form);
        let (path, query) = without_fragment.split_once('?').unwrap_or((without_fragment, ""));
        let (class, agreed) = Class::of(path);
        Ok(Self { path, query, class, agreed })
    }

    /// Whether another edge has sent the viewer here.
    pub fn is_steered(&self) -> bool {
        self.query.split('&').any(|pair| pair.strip_prefix(STEERED).is_some_and(|rest| rest.starts_with('=')))
    }

    /// The key if the object belongs to a live stream: neither who asks nor what for may split it.
    pub fn live_key(&self) -> Cow<'a, str> {
        if self.agreed {
            return Cow::Borrowed(self.path);
        }
        canonical(self.path, self.query, |name| !is_directive(name) && !is_report(name) && !is_session(name))
    }

    /// The key of an object that nothing is known about: every argument may matter, their order does not.
    pub fn whole_key(&self) -> Cow<'a, str> {
        if self.agreed {
            return Cow::Borrowed(self.path);
        }
        canonical(self.path, self.query, |name| !is_directive(name) && !is_report(name))
    }
}

/// Brings a request target into origin form and its normal spelling (RFC 3986, 6.2.2): letters are not percent-encoded,
/// what is encoded is so in upper case, and the path has no dots to resolve. All spellings mean one object to upstream,
/// so all make one key and one request.
pub fn normalized(target: &str) -> Cow<'_, str> {
    let target = origin_form(target);
    if !target.contains('%') && !target.contains("/.") {
        return Cow::Borrowed(target);
    }
    let decoded = with_letters(target);
    let end = decoded.find(['?', '#']).unwrap_or(decoded.len());
    let (path, rest) = decoded.split_at(end);
    if path.starts_with('/') && path.contains("/.") {
        return Cow::Owned(without_dots(path) + rest);
    }
    Cow::Owned(decoded)
}

fn origin_form(target: &str) -> &str {
    match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    }
}

/// Decodes what needs no encoding (RFC 3986, 2.3). A `%` without two hexadecimal digits stays as it is.
fn with_letters(target: &str) -> String {
    let mut out = String::with_capacity(target.len());
    let mut rest = target;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let encoded = rest.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(byte) = encoded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            out.push('%');
            rest = &rest[at + 1..];
            continue;
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&rest[at..at + 3].to_ascii_uppercase());
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    out
}

/// The epoch in a path of the shapes that Vivid's tiers agreed on: `/live/{stream}/{rendition}/{epoch}/…`.
pub fn epoch(path: &str) -> Option<&str> {
    agreed(path).filter(|class| *class != Class::Playlist)?;
    path.split('/').nth(4)
}

/// Resolves a reference of a playlist against the playlist's own path (RFC 3986, 5.2). `None` where it names another
/// host, which viewers ask themselves.
pub fn resolve(base: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or(reference);
    let base_path = path_of(base);
    if reference.is_empty()
        || reference.starts_with("//")
        || has_scheme(reference)
        || reference.len() > TARGET_BYTES_MAX
    {
        return None;
    }
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let folder = folder(base_path);
    let merged = match path {
        "" => base_path.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{folder}{path}"),
    };
    let mut resolved = without_dots(&merged);
    if let Some(query) = query {
        resolved.push('?');
        resolved.push_str(query);
    }
    Some(resolved)
}

/// Whether what lies at `url` is below the folder of the manifest `key`. For what lies elsewhere on the host, which may be
/// somebody else's, a manifest makes no rules; nor does one that may lie elsewhere itself.
pub fn speaks_for(key: &str, url: &str) -> bool {
    let path = path_of(key);
    !is_ambiguous(path) && path_of(url).starts_with(folder(path))
}

/// Whether upstream may take a part of this path, in its normal spelling, for a slash that is none here.
pub fn is_ambiguous(path: &str) -> bool {
    path.contains("%2F") || path.contains("%5C") || path.contains('\\')
}

/// What stands before the query.
pub fn path_of(key: &str) -> &str {
    key.split('?').next().unwrap_or(key)
}

/// The path up to its last slash, which is part of it.
pub fn folder(path: &str) -> &str {
    path.rfind('/').map_or("/", |slash| &path[..=slash])
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let last = path.split('/').count() - 1;
    for (index, segment) in path.split('/').enumerate().skip(1) {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if index == last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    kept.iter().fold(String::with_capacity(path.len()), |mut out, segment| {
        out.push('/');
        out.push_str(segment);
        out
    })
}

fn has_scheme(reference: &str) -> bool {
    let scheme = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    reference
        .split_once(':')
        .is_some_and(|(before, _)| before.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme(before))
}

fn canonical<'a>(path: &'a str, query: &str, keep: impl Fn(&str) -> bool) -> Cow<'a, str> {
    if query.is_empty() {
        return Cow::Borrowed(path);
    }
    let name = |pair: &'_ str| pair.find('=').map_or(pair.len(), |equals| equals);
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && keep(&pair[..name(pair)])).collect();
    if pairs.is_empty() {
        return Cow::Borrowed(path);
    }
    // Stable, so that the order of repeated names, which may mean something, stays.
    pairs.sort_by_key(|pair| &pair[..name(pair)]);
    Cow::Owned(format!("{path}?{}", pairs.join("&")))
}

/// Marks a request whose viewer another edge has sent here, under the other's name.
pub const STEERED: &str = "_vivid_steered";

fn is_directive(name: &str) -> bool {
    name.starts_with("_HLS_")
}

/// CTA-5004 and CTA-5006, and this node's own mark: what players and servers say of themselves never selects an object.
fn is_report(name: &str) -> bool {
    name.starts_with("CMCD") || name.starts_with("CMSD") || name == STEERED
}

/// Names under which players, packagers and token services say who asks. Live objects do not differ by them.
fn is_session(name: &str) -> bool {
    const NAMES: [&str; 16] = [
        "_",
        "access_token",
        "auth",
        "CAT",
        "cat",
        "hdnea",
        "hdntl",
        "hdnts",
        "session",
        "session_id",
        "sessionid",
        "sid",
        "token",
        "uid",
        "user",
        "viewer",
    ];
    NAMES.contains(&name)
}

/// The class of a path in the shapes that Vivid's tiers agreed on: `/live/{stream}/…`.
fn agreed(path: &str) -> Option<Class> {
    let name = |text: &str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    let mut rest = path.strip_prefix("/live/")?.split('/');
    if !name(rest.next()?) {
        return None;
    }
    let second = rest.next()?;
    let Some(third) = rest.next() else {
        return match second {
            "index.m3u8" => Some(Class::Playlist),
            "index.mpd" => Some(Class::Mpd),
            _ => None,
        };
    };
    if !name(second) {
        return None;
    }
    let Some(file) = rest.next() else {
        return (third == "index.m3u8").then_some(Class::Playlist);
    };
    if !name(third) || rest.next().is_some() {
        return None;
    }
    media_class(file)
}

fn media_class(file: &str) -> Option<Class> {
    if file == "init.mp4" {
        return Some(Class::Init);
    }
    let number = |text: &str| (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let (stem, extension) = file.rsplit_once('.')?;
    match (stem.split_once('.'), extension) {
        (Some((msn, part)), "m4s") => (number(msn) && number(part)).then_some(Class::Part),
        // Thumbnails and subtitles come in whole segments.
        (None, "m4s" | "jpg" | "vtt") => number(stem).then_some(Class::Segment),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str) -> Target<'_> {
        Target::read(target).unwrap()
    }

    #[test]
    fn classes_follow_the_agreed_shapes() {
        for (path, class) in [
            ("/live/a/index.m3u8", Class::Playlist),
            ("/live/a/720p/index.m3u8", Class::Playlist),
            ("/live/a/index.mpd", Class::Mpd),
            ("/live/a/720p/k3x/init.mp4", Class::Init),
            ("/live/a/720p/k3x/12.m4s", Class::Segment),
            ("/live/a/720p/k3x/12.3.m4s", Class::Part),
            ("/live/a/thumbs/k3x/12.jpg", Class::Segment),
            ("/live/a/text-en/k3x/12.vtt", Class::Segment),
            ("/live/a/thumbs/k3x/12.3.jpg", Class::Other),
            ("/live/a/thumbs/index.vtt", Class::Other),
            ("/vod/film.m3u8", Class::Playlist),
            ("/dash/live.isml/.mpd", Class::Mpd),
            ("/dash/live.mpd/1.m4s", Class::Segment),
            ("/live/a/720p/k3x/x.m4s", Class::Segment),
            ("/live/a/720p/k3x/1.2.3.m4s", Class::Segment),
            ("/vod/film.mp4", Class::Segment),
            ("/hls/12.ts", Class::Segment),
            ("/hls/12.ts.txt", Class::Other),
            ("/ts", Class::Other),
            ("/live/a b/index.m3u8x", Class::Other),
            ("/live/a/720p/k3x/12.m4s/", Class::Other),
        ] {
            assert_eq!(read(path).class, class, "{path}");
        }
    }

    #[test]
    fn the_epoch_stands_before_the_file() {
        assert_eq!(epoch("/live/a/720p/k3x/12.3.m4s"), Some("k3x"));
        assert_eq!(epoch("/live/a/720p/k3x/init.mp4"), Some("k3x"));
        for path in ["/live/a/720p/index.m3u8", "/hls/a/720p/k3x/12.m4s", "/live/a/720p/12.m4s"] {
            assert_eq!(epoch(path), None, "{path}");
        }
    }

    #[test]
    fn no_spelling_splits_a_live_object() {
        for query in
            ["", "_HLS_msn=3&_HLS_part=1", "_HLS_part=1&_HLS_msn=3", "CMCD=bl%3D1&x=1", "token=a&y", "_HLS_skip=YES&&"]
        {
            let target = format!("/live/a/720p/index.m3u8?{query}");
            assert_eq!(read(&target).live_key(), "/live/a/720p/index.m3u8", "{query}");
            assert_eq!(read(&target).whole_key(), "/live/a/720p/index.m3u8", "{query}");
            assert_eq!(read(&format!("/live/a/index.mpd?{query}")).live_key(), "/live/a/index.mpd", "{query}");
        }
    }

    #[test]
    fn a_target_has_one_normal_spelling() {
        for (target, expected) in [
            ("/live/%64emo/720p/index.m3u8?x=1", "/live/demo/720p/index.m3u8?x=1"),
            ("/%6Cive/%64%65mo/720p/index%2Em3u8", "/live/demo/720p/index.m3u8"),
            ("/live/./demo/x/%2e%2E/720p/index.m3u8?a=/../b", "/live/demo/720p/index.m3u8?a=/../b"),
            ("/a?%5FHLS_msn=3&CMCD=bl%3d1%2c", "/a?_HLS_msn=3&CMCD=bl%3D1%2C"),
            ("/a%2fb%20%25%36%34", "/a%2Fb%20%2564"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/a%zz%+1%é", "/a%zz%+1%é"),
            ("/../../%2e%2e", "/"),
            ("http://host/live/%61/index.m3u8", "/live/a/index.m3u8"),
            ("http://host/./a", "/a"),
            ("*", "*"),
        ] {
            assert_eq!(normalized(target), expected, "{target}");
        }
    }

    #[test]
    fn noise_makes_no_target_longer_and_ends_nothing() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let noise: String = (0..24)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    ["/", ".", "%", "2", "e", "E", "5", "?", "a", "é", "#"][(state >> 8) as usize % 11]
                })
                .collect();
            let once = normalized(&noise).into_owned();
            assert!(once.len() <= noise.len(), "{noise}");
            let _ = Target::read(&once);
        }
    }

    #[test]
    fn elsewhere_an_argument_may_matter_but_its_place_does_not() {
        let target = read("/a/b.m3u8?z=2&token=t&a=1&CMCD=x&_HLS_msn=9&z=1");
        assert_eq!(target.live_key(), "/a/b.m3u8?a=1&z=2&z=1");
        assert_eq!(target.whole_key(), "/a/b.m3u8?a=1&token=t&z=2&z=1");
        assert_eq!(read("/a?CMCD-Request=x&").whole_key(), "/a");
        assert_eq!(read("/a?x=1&_vivid_steered=par1").whole_key(), "/a?x=1");
        assert!(read("/a?x=1&_vivid_steered=par1").is_steered() && !read("/a?_vivid_steered_=par1").is_steered());
    }

    #[test]
    fn absolute_form_is_a_path_and_the_rest_is_refused() {
        assert_eq!(read("http://host/live/a/index.m3u8?x").path, "/live/a/index.m3u8");
        assert_eq!(read("http://host").path, "/");
        assert_eq!(Target::read("*"), Err(TargetError::NotAPath));
        assert_eq!(Target::read(""), Err(TargetError::NotAPath));
        assert_eq!(Target::read(&"/".repeat(TARGET_BYTES_MAX + 1)), Err(TargetError::TooLong));
    }

    #[test]
    fn a_manifest_speaks_for_its_folder_and_what_is_below() {
        for (url, speaks) in [
            ("/a/v/1.ts", true),
            ("/a/v/x/y/1.ts?token=/b/", true),
            ("/a/v/..%2F1.ts", true),
            ("/a/1.ts", false),
            ("/a/v2/1.ts", false),
            ("/b/a/v/1.ts", false),
        ] {
            assert_eq!(speaks_for("/a/v/index.m3u8?x=/b/", url), speaks, "{url}");
        }
        assert!(speaks_for("/index.m3u8", "/b/1.ts"), "the root is a folder as others");
        for key in ["/a/..%2Fb%2Fx.m3u8", "/a/..%5Cb%5Cx.m3u8", "/a/..\\b\\x.m3u8"] {
            assert!(!speaks_for(key, "/a/1.ts"), "{key} may lie in /b");
        }
    }

    #[test]
    fn references_resolve_as_the_standard_says() {
        for (reference, expected) in [
            ("e/1.m4s", Some("/live/a/720p/e/1.m4s")),
            ("../audio/index.m3u8", Some("/live/a/audio/index.m3u8")),
            ("./x?y=1", Some("/live/a/720p/x?y=1")),
            ("/abs", Some("/abs")),
            ("../../../../up", Some("/up")),
            ("?q", Some("/live/a/720p/index.m3u8?q")),
            ("..", Some("/live/a/")),
            ("http://other/x", None),
            ("//other/x", None),
            ("data:text", None),
            ("", None),
            ("#x", None),
        ] {
            assert_eq!(resolve("/live/a/720p/index.m3u8?t=1", reference).as_deref(), expected, "{reference}");
        }
    }
}
