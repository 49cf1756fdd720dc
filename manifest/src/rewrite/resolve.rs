//! References resolved as RFC 3986, 5.2 says, without touching a byte that a signature may cover.

/// `reference` as an absolute URI, seen from `base`, which is absolute itself. Percent-encoding, queries and anything
/// else inside a component stay as they are; only dot segments of a path are removed, since resolving means that.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    if has_scheme(reference) {
        return reference.to_owned();
    }
    let base = Parts::of(base);
    if reference.starts_with("//") {
        return format!("{}:{reference}", base.scheme);
    }
    let (path, rest) = reference.split_at(reference.find(['?', '#']).unwrap_or(reference.len()));
    let mut uri = format!("{}://{}", base.scheme, base.authority);
    if path.is_empty() {
        // An empty path means the base's own, and keeps its query unless there is a new one.
        uri.push_str(base.path);
        if !rest.starts_with('?') {
            uri.push_str(base.query);
        }
    } else if path.starts_with('/') {
        push_without_dots(&mut uri, path);
    } else {
        let folder = base.path.rfind('/').map_or("/", |slash| &base.path[..=slash]);
        push_without_dots(&mut uri, &format!("{folder}{path}"));
    }
    uri.push_str(rest);
    uri
}

/// The part of `uri` after `base`, when `uri` lies at or under it. Scheme and host are compared without regard to case.
pub(super) fn under<'a>(uri: &'a str, base: &str) -> Option<&'a str> {
    let (uri_parts, base_parts) = (Parts::of(uri), Parts::of(base));
    let same = |one: &str, other: &str| !one.is_empty() && one.eq_ignore_ascii_case(other);
    if !same(uri_parts.scheme, base_parts.scheme) || !same(uri_parts.authority, base_parts.authority) {
        return None;
    }
    let path_at = uri_parts.scheme.len() + "://".len() + uri_parts.authority.len();
    let rest = uri[path_at..].strip_prefix(base_parts.path.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

fn has_scheme(reference: &str) -> bool {
    reference.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// `scheme://authority/path?query`; what is not there is empty. `query` keeps its `?`.
struct Parts<'a> {
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(uri: &'a str) -> Self {
        let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        Self { scheme, authority, path, query }
    }
}

/// RFC 3986, 5.2.4, in one pass. `path` starts with a slash.
fn push_without_dots(uri: &mut String, path: &str) {
    let root = uri.len();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => uri.truncate(root + uri[root..].rfind('/').unwrap_or(0)),
            _ => {
                uri.push('/');
                uri.push_str(segment);
                continue;
            }
        }
        if last {
            uri.push('/');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_in_the_examples_of_the_standard() {
        // RFC 3986, 5.4.1 and 5.4.2, whose base is http://a/b/c/d;p?q.
        for (reference, uri) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q#s"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            ("..g", "http://a/b/c/..g"),
            ("mailto:x", "mailto:x"),
        ] {
            assert_eq!(resolve("http://a/b/c/d;p?q", reference), uri, "{reference:?}");
        }
    }

    #[test]
    fn bytes_of_a_signed_reference_stay() {
        let signed = "v//a%2f~b/i.m3u8?hdnts=exp=1~acl=/*!/%2a~hmac=ab%3D%3d&x='()";
        assert_eq!(resolve("https://h:1/live/x/index.m3u8?k=v", signed), format!("https://h:1/live/x/{signed}"));
        assert_eq!(resolve("https://h", "a"), "https://h/a");
        assert_eq!(resolve("https://h/x", "1a:b"), "https://h/1a:b");
    }

    #[test]
    fn only_what_lies_under_the_base_is_under_it() {
        assert_eq!(under("http://H:1/a?x", "http://h:1"), Some("/a?x"));
        assert_eq!(under("http://h/p/a", "http://h/p"), Some("/a"));
        assert_eq!(under("http://h/pp/a", "http://h/p"), None);
        assert_eq!(under("https://h/a", "http://h"), None);
        assert_eq!(under("http://h.evil/a", "http://h"), None);
        assert_eq!(under("skd://key", "http://h"), None);
        assert_eq!(under("data:text/plain,x", "http://h"), None);
    }
}
