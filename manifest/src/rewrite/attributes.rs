//! Where in a line its attributes lie, so that one can be replaced and all others stay byte for byte.

use std::ops::Range;

/// `NAME=value` within an attribute list (RFC 8216bis, 4.2); positions are bytes of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: &'a str,
    /// The value as written, without its quotes.
    pub(crate) value: &'a str,
    /// Where `value` lies.
    pub(crate) span: Range<usize>,
}

/// The attributes of a list, in order. Text that is no attribute is passed over: it stays in the line, untouched.
pub(crate) fn attributes(list: &str) -> Vec<Attribute<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < list.len() {
        let rest = &list[at..];
        let Some(stop) = rest.find(['=', ',']) else { break };
        if rest[stop..].starts_with(',') {
            at += stop + 1;
            continue;
        }
        let name = rest[..stop].trim();
        let start = at + stop + 1;
        let (span, next) = value(list, start);
        found.push(Attribute { name, value: &list[span.clone()], span });
        at = next;
    }
    found
}

/// The span of the value at `start`, and where the next attribute begins.
fn value(list: &str, start: usize) -> (Range<usize>, usize) {
    let rest = &list[start..];
    if let Some(quoted) = rest.strip_prefix('"') {
        // A quote that never closes takes the rest of the line.
        let length = quoted.find('"').unwrap_or(quoted.len());
        let end = start + 1 + length;
        let next = list[end..].find(',').map_or(list.len(), |comma| end + comma + 1);
        return (start + 1..end, next);
    }
    let length = rest.find(',').unwrap_or(rest.len());
    let trimmed = rest[..length].trim_end().len();
    (start..start + trimmed, start + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &str) -> Vec<(&str, &str)> {
        attributes(list).into_iter().map(|attribute| (attribute.name, attribute.value)).collect()
    }

    #[test]
    fn quotes_hide_commas_and_equal_signs() {
        let list = r#"BANDWIDTH=1,CODECS="a,b=c",AUDIO="x", URI="u?a=b,c" ,X-OTHER=9 "#;
        assert_eq!(
            pairs(list),
            [("BANDWIDTH", "1"), ("CODECS", "a,b=c"), ("AUDIO", "x"), ("URI", "u?a=b,c"), ("X-OTHER", "9")]
        );
        for attribute in attributes(list) {
            assert_eq!(&list[attribute.span.clone()], attribute.value);
        }
    }

    #[test]
    fn damaged_lists_give_what_can_be_read() {
        assert_eq!(pairs(""), []);
        assert_eq!(pairs(",,A=1,,junk,B=2"), [("A", "1"), ("B", "2")]);
        assert_eq!(pairs(r#"A="never closed,B=2"#), [("A", "never closed,B=2")]);
        assert_eq!(pairs("A="), [("A", "")]);
        assert_eq!(pairs("A=é,B=\"é"), [("A", "é"), ("B", "é")]);
    }
}
