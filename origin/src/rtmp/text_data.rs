//! `onTextData`: text that a publisher sends beside picture and sound, read from AMF0 values.

use crate::Said;
use crate::rtmp::amf::Value;

/// The text in a data message, with or without `@setDataFrame` before it; `None` for any other. It is shown from `at_ms` on.
pub(crate) fn text_data(values: &[Value], at_ms: i64) -> Option<Said> {
    let values = match values.split_first()? {
        (first, rest) if first.text() == Some("@setDataFrame") => rest,
        _ => values,
    };
    let (called, rest) = values.split_first()?;
    let said = rest.first().filter(|_| called.text() == Some("onTextData"))?;
    let text = said.property("text")?.text()?.chars().take(CHARS_MAX).collect();
    let language = said.property("language").and_then(Value::text).and_then(language);
    let track = ["trackid", "trackId"].iter().find_map(|name| said.property(name)).and_then(number);
    Some(Said { at_ms, track, language, text })
}

/// As a step of a path and an attribute can hold it; a language that has other signs is none (RFC 5646, 2.1).
fn language(text: &str) -> Option<String> {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    ((1..=LANGUAGE_MAX).contains(&text.len()) && text.bytes().all(usable)).then(|| text.to_owned())
}

fn number(value: &Value) -> Option<u32> {
    let number = value.number().or_else(|| value.text()?.parse().ok())?;
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
}

/// Several screens of text.
const CHARS_MAX: usize = 1024;
const LANGUAGE_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn message(properties: &[(&str, Value)]) -> Vec<Value> {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        vec![text("onTextData"), Value::Object(properties.collect())]
    }

    #[test]
    fn a_text_may_have_a_language_and_a_track() {
        let plain = Said { at_ms: 7, track: None, language: None, text: "hi".into() };
        assert_eq!(text_data(&message(&[("type", text("Text")), ("text", text("hi"))]), 7), Some(plain.clone()));
        let full = message(&[("text", text("hi")), ("language", text("eng")), ("trackid", Value::Number(99.0))]);
        let expected = Said { track: Some(99), language: Some("eng".into()), ..plain };
        assert_eq!(text_data(&full, 7), Some(expected.clone()));
        assert_eq!(text_data(&[vec![text("@setDataFrame")], full].concat(), 7), Some(expected));
    }

    #[test]
    fn what_is_no_text_is_none() {
        assert_eq!(text_data(&[], 0), None);
        assert_eq!(text_data(&[text("onTextData")], 0), None);
        assert_eq!(text_data(&[text("onTextData"), Value::Null], 0), None);
        assert_eq!(text_data(&message(&[("text", Value::Number(1.0))]), 0), None);
        assert_eq!(text_data(&[text("onMetaData"), message(&[("text", text("a"))])[1].clone()], 0), None);
    }

    #[test]
    fn a_hostile_one_is_cut_to_what_can_be_named() {
        let said = text_data(&message(&[("text", text(&"\u{e4}".repeat(60_000)))]), 0).unwrap();
        assert_eq!(said.text.chars().count(), CHARS_MAX);
        for language in ["", "../../x", "en\"", "a b", "\u{e4}", &"x".repeat(17)] {
            let said = text_data(&message(&[("text", text("a")), ("language", text(language))]), 0).unwrap();
            assert_eq!(said.language, None, "{language:?}");
        }
        for track in [f64::NAN, f64::INFINITY, -1.0, 0.5, 1e300] {
            let said = text_data(&message(&[("text", text("a")), ("trackid", Value::Number(track))]), 0).unwrap();
            assert_eq!(said.track, None, "{track}");
        }
    }
}
