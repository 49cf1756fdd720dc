//! `onCuePoint`: what a publisher says of a moment of its stream, read from AMF0 values.

use crate::Cue;
use crate::rtmp::amf::Value;

/// The cue point in a data message, with or without `@setDataFrame` before it; `None` for any other. It is about `at_ms`.
pub(crate) fn cue_point(values: &[Value], at_ms: i64) -> Option<Cue> {
    let values = match values.split_first()? {
        (first, rest) if first.text() == Some("@setDataFrame") => rest,
        _ => values,
    };
    let (called, rest) = values.split_first()?;
    let said = rest.first().filter(|_| called.text() == Some("onCuePoint"))?;
    let name: String = said.property("name")?.text()?.chars().take(CHARS_MAX).collect();
    let parameters = match said.property("parameters") {
        Some(Value::Object(parameters)) => parameters.iter().take(PARAMETERS_MAX).filter_map(parameter).collect(),
        _ => Vec::new(),
    };
    Some(Cue { at_ms, name, parameters })
}

fn parameter((name, value): &(String, Value)) -> Option<(String, String)> {
    let text = match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Object(_) | Value::Array(_) | Value::Null => return None,
    };
    Some((name.chars().take(CHARS_MAX).collect(), text)).filter(|(_, text)| text.len() <= TEXT_MAX)
}

const PARAMETERS_MAX: usize = 16;
const CHARS_MAX: usize = 64;
/// A splice_info_section in hexadecimal digits.
const TEXT_MAX: usize = 8194;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_cue_point_has_a_name_and_parameters() {
        let parameters = vec![
            ("duration".into(), Value::Number(30.0)),
            ("scte35_out".into(), text("0xFC30")),
            ("nested".into(), Value::Object(Vec::new())),
        ];
        let said = Value::Object(vec![
            ("name".into(), text("ad")),
            ("time".into(), Value::Number(1.0)),
            ("type".into(), text("event")),
            ("parameters".into(), Value::Object(parameters)),
        ]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = vec![pair("duration", "30"), pair("scte35_out", "0xFC30")];
        let expected = Some(Cue { at_ms: 7, name: "ad".into(), parameters });
        assert_eq!(cue_point(&[text("onCuePoint"), said.clone()], 7), expected);
        assert_eq!(cue_point(&[text("@setDataFrame"), text("onCuePoint"), said.clone()], 7), expected);
        assert_eq!(cue_point(&[text("onTextData"), said], 7), None);
    }

    #[test]
    fn what_lacks_a_name_is_none() {
        assert_eq!(cue_point(&[], 0), None);
        assert_eq!(cue_point(&[text("onCuePoint")], 0), None);
        assert_eq!(cue_point(&[text("onCuePoint"), Value::Null], 0), None);
        assert_eq!(cue_point(&[text("onCuePoint"), Value::Object(Vec::new())], 0), None);
    }
}
