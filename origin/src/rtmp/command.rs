//! What an encoder asks for: RTMP commands and metadata, read from AMF0 values.

use crate::Announced;
use crate::rtmp::amf::Value;

/// The commands that matter to ingest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Command {
    Connect {
        transaction: f64,
        app: String,
        /// From a query on the application: `rtmp://host/live?key=K`.
        key: Option<String>,
    },
    CreateStream {
        transaction: f64,
    },
    /// `releaseStream` and `FCPublish`: of no effect, but some encoders wait for the answer.
    Courtesy {
        transaction: f64,
    },
    Publish {
        stream: String,
        key: Option<String>,
    },
    /// `FCUnpublish`, `closeStream`, `deleteStream`.
    Finish,
    Play,
    Other,
}

impl Command {
    /// `None` where a command lacks what it needs.
    pub(crate) fn read(values: &[Value]) -> Option<Self> {
        let name = values.first()?.text()?;
        let transaction = values.get(1).and_then(Value::number).unwrap_or_default();
        Some(match name {
            "connect" => {
                let (app, key) = split_key(values.get(2)?.property("app")?.text()?);
                Self::Connect { transaction, app: app.trim_matches('/').to_owned(), key }
            }
            "createStream" => Self::CreateStream { transaction },
            "releaseStream" | "FCPublish" => Self::Courtesy { transaction },
            "publish" => {
                let (stream, key) = split_key(values.get(3)?.text()?);
                Self::Publish { stream: stream.to_owned(), key }
            }
            "FCUnpublish" | "closeStream" | "deleteStream" => Self::Finish,
            "play" | "play2" => Self::Play,
            _ => Self::Other,
        })
    }
}

/// The metadata in a data message: `@setDataFrame`, `onMetaData`, object, or without the first. `None` for any other.
pub(crate) fn announced(values: &[Value]) -> Option<Announced> {
    let values = match values.split_first()? {
        (first, rest) if first.text() == Some("@setDataFrame") => rest,
        _ => values,
    };
    let (name, rest) = values.split_first()?;
    let metadata = rest.first().filter(|_| name.text() == Some("onMetaData"))?;
    let frame_rate_hz = metadata.property("framerate").and_then(Value::number);
    let kilobits = metadata.property("videodatarate").and_then(Value::number);
    let encoder = metadata.property("encoder").and_then(Value::text);
    Some(Announced {
        frame_rate_hz: frame_rate_hz.filter(|rate| rate.is_finite() && *rate > 0.0),
        video_bitrate: kilobits
            .filter(|rate| (1.0..=VIDEO_KILOBITS_MAX).contains(rate))
            .map(|rate| (rate * 1000.0) as u64),
        encoder: encoder.map(|name| name.chars().take(ENCODER_CHARS_MAX).collect()),
    })
}

/// `name?key=K&…` as name and key. Keys are taken as written: encoders do not escape what their users type.
fn split_key(text: &str) -> (&str, Option<String>) {
    let (name, query) = text.split_once('?').unwrap_or((text, ""));
    let key = query.split('&').find_map(|pair| pair.strip_prefix("key="));
    (name, key.map(ToOwned::to_owned))
}

/// More is no bit rate that anybody streams live with.
const VIDEO_KILOBITS_MAX: f64 = 1_000_000.0;
/// It goes into logs.
const ENCODER_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn command(name: &str, arguments: &[Value]) -> Option<Command> {
        let head = [text(name), Value::Number(4.0)];
        Command::read(&[&head[..], arguments].concat())
    }

    #[test]
    fn applications_and_names_come_apart_from_their_keys() {
        let app = |app| Value::Object(vec![("app".into(), text(app))]);
        let connect = |app: &str, key: Option<&str>| {
            Some(Command::Connect { transaction: 4.0, app: app.into(), key: key.map(Into::into) })
        };
        assert_eq!(command("connect", &[app("live")]), connect("live", None));
        assert_eq!(command("connect", &[app("live/")]), connect("live", None));
        assert_eq!(command("connect", &[app("live?key=k")]), connect("live", Some("k")));

        let publish = |name: &str| command("publish", &[Value::Null, text(name), text("live")]);
        let published = |stream: &str, key: Option<&str>| {
            Some(Command::Publish { stream: stream.into(), key: key.map(Into::into) })
        };
        assert_eq!(publish("x"), published("x", None));
        assert_eq!(publish("x?key=a=b%"), published("x", Some("a=b%")));
        assert_eq!(publish("x?other=1&key=k&more"), published("x", Some("k")));
        assert_eq!(publish("x?monkey=1"), published("x", None));
    }

    #[test]
    fn a_command_that_lacks_what_it_needs_is_none() {
        assert_eq!(command("connect", &[]), None);
        assert_eq!(command("connect", &[Value::Null]), None);
        assert_eq!(command("publish", &[Value::Null]), None);
        assert_eq!(command("publish", &[Value::Null, Value::Number(1.0)]), None);
        assert_eq!(Command::read(&[]), None);
        assert_eq!(Command::read(&[Value::Null]), None);
        assert_eq!(command("_checkbw", &[]), Some(Command::Other));
    }

    #[test]
    fn metadata_with_and_without_its_wrapper() {
        let metadata = Value::Object(vec![
            ("framerate".into(), Value::Number(29.97)),
            ("videodatarate".into(), Value::Number(2500.0)),
            ("encoder".into(), text(&"e".repeat(500))),
        ]);
        let expected =
            Announced { frame_rate_hz: Some(29.97), video_bitrate: Some(2_500_000), encoder: Some("e".repeat(100)) };
        let wrapped = [text("@setDataFrame"), text("onMetaData"), metadata.clone()];
        assert_eq!(announced(&wrapped), Some(expected.clone()));
        assert_eq!(announced(&wrapped[1..]), Some(expected));
        for number in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e300] {
            let odd = Value::Object(vec![("videodatarate".into(), Value::Number(number))]);
            assert_eq!(announced(&[text("onMetaData"), odd]), Some(Announced::default()), "{number}");
        }
        let odd = Value::Object(vec![("framerate".into(), Value::Number(f64::NAN))]);
        assert_eq!(announced(&[text("onMetaData"), odd]), Some(Announced::default()));
    }

    #[test]
    fn a_set_data_frame_alone_is_none() {
        assert_eq!(announced(&[text("@setDataFrame")]), None);
        assert_eq!(announced(&[text("@setDataFrame"), text("onMetaData")]), None);
        assert_eq!(announced(&[text("onCuePoint"), Value::Null]), None);
        assert_eq!(announced(&[]), None);
    }
}
