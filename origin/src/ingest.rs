//! What a publisher hands to the origin, whatever the protocol it came by, and who says whether it may.

use media::{AacConfig, AvcConfig, Frame};
use std::sync::{Arc, OnceLock};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

/// What a publisher sends, in the order it sent it. Frame times count milliseconds from an arbitrary start.
#[derive(Clone, Debug, PartialEq)]
pub enum Ingested {
    Announced(Announced),
    Video(AvcConfig),
    Audio(AacConfig),
    Frame(Frame),
    Cue(Cue),
    Text(Said),
}

/// What the publisher says of a moment (`onCuePoint`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// On the clock of the frames, in milliseconds.
    pub at_ms: i64,
    pub name: String,
    /// Numbers as text.
    pub parameters: Vec<(String, String)>,
}

/// What the publisher wants to be read (`onTextData`), until it says something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// On the clock of the frames, in milliseconds.
    pub at_ms: i64,
    /// Letters, digits and hyphens.
    pub language: Option<String>,
    pub track: Option<u32>,
    /// Anything; empty where there is to be nothing.
    pub text: String,
}

/// What the publisher says of its stream (`onMetaData`): a hint, to be checked against the frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Announced {
    pub frame_rate_hz: Option<f64>,
    /// What the video encoder aims at, in bits per second.
    pub video_bitrate: Option<u64>,
    pub encoder: Option<String>,
}

/// A request to publish: `rtmp://host/{app}/{stream}?key={key}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    pub app: String,
    pub stream: String,
    pub key: Option<String>,
}

/// Why a publish is refused. The text is what the encoder shows to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the stream key is wrong or missing; publish as STREAM?key=KEY with a key from origin.ingest.publishers")]
    UnknownKey,
    #[error("a publisher is already live under this name; stop it first or publish under another name")]
    NameTaken,
    #[error("the stream name is not usable; write 1 to 64 letters, digits, hyphens or underscores")]
    BadName,
    #[error("this application takes no streams; publish to rtmp://HOST/live/STREAM")]
    NotAllowed,
    #[error("the origin has all the streams it may have; stop one and publish again")]
    Full,
}

/// The table of streams as an ingest protocol sees it.
pub trait Publishing: Send + Sync + 'static {
    /// Takes the stream's name for this publisher, or says why not. Called after [`admit`]: name and key are good, and `who` is
    /// what the configuration calls the publisher.
    fn publish(&self, request: &PublishRequest, who: Option<&str>) -> Result<Publisher, Refusal>;
}

/// The sending end of one accepted publish. Dropping it tells the stream that its publisher is gone.
#[derive(Debug)]
pub struct Publisher {
    items: mpsc::Sender<Ingested>,
    ending: Ending,
}

/// The stream no longer takes this publisher's frames. The text is what the encoder shows to its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamClosed {
    #[error("the stream no longer takes frames of this publisher")]
    Over,
    #[error("another publisher took the name over; publish under another name, or with one encoder only")]
    TakenOver,
    #[error("no IDR picture came to begin with; set the encoder to H.264 with closed GOPs and a key frame every 2 s")]
    NoKeyFrame,
    #[error("no video came, and sound alone is not taken; set the encoder to send H.264 video")]
    NoVideo,
}

/// Where a stream leaves the reason why it drops its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ending(Arc<OnceLock<StreamClosed>>);

impl Ending {
    /// The first reason holds. To be given before the stream's end is dropped.
    pub(crate) fn because(&self, reason: StreamClosed) {
        self.0.get_or_init(|| reason);
    }

    fn reason(&self) -> StreamClosed {
        self.0.get().copied().unwrap_or(StreamClosed::Over)
    }
}

impl Publisher {
    /// A publisher and the stream's end of it. `capacity` (in items, at least 1) is all that waits between them.
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Ingested>) {
        let (items, received) = mpsc::channel(capacity);
        (Self { items, ending: Ending::default() }, received)
    }

    /// Hands over one item; waits while the stream is behind by the channel's capacity.
    pub async fn send(&self, item: Ingested) -> Result<(), StreamClosed> {
        self.items.send(item).await.map_err(|_| self.ending.reason())
    }

    /// Returns once the stream has dropped its end; tells why it did.
    pub async fn closed(&self) -> StreamClosed {
        self.items.closed().await;
        self.ending.reason()
    }

    pub(crate) fn ending(&self) -> Ending {
        self.ending.clone()
    }
}

impl Refusal {
    /// The value of the `reason` label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::NameTaken => "name_taken",
            Self::BadName => "bad_name",
            Self::NotAllowed => "not_allowed",
            Self::Full => "full",
        }
    }
}

/// Whether the configuration lets this request publish, and what it calls who does. Every rule is compared in full and in constant time, so that
/// the time of a refusal tells nothing about the keys.
pub fn admit<'a>(ingest: &'a config::Ingest, request: &PublishRequest) -> Result<Option<&'a str>, Refusal> {
    if request.app != APP {
        return Err(Refusal::NotAllowed);
    }
    if !config::is_stream_name(&request.stream) {
        return Err(Refusal::BadName);
    }
    let key = request.key.as_deref().unwrap_or_default();
    let mut admitted = None;
    for rule in &ingest.publishers {
        let covers = rule.stream == config::ANY_STREAM || rule.stream == request.stream;
        if bool::from(rule.key.as_bytes().ct_eq(key.as_bytes()) & subtle::Choice::from(u8::from(covers))) {
            // Of several with this key one may have a name.
            admitted = Some(admitted.flatten().or(rule.name.as_deref()));
        }
    }
    admitted.or_else(|| ingest.open.then_some(None)).ok_or(Refusal::UnknownKey)
}

/// The one application: streams are published to `/live/{stream}` and watched at `/live/{stream}`.
const APP: &str = "live";

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Config, Ingest, PublishRule};

    fn ingest(open: bool, rules: &[(&str, &str)]) -> Ingest {
        let origin = Config::parse("[origin]\n", []).unwrap().origin.unwrap();
        let rule = |&(stream, key): &(&str, &str)| PublishRule { stream: stream.into(), key: key.into(), name: None };
        Ingest { open, publishers: rules.iter().map(rule).collect(), ..origin.ingest }
    }

    fn request(stream: &str, key: Option<&str>) -> PublishRequest {
        PublishRequest { app: "live".into(), stream: stream.into(), key: key.map(Into::into) }
    }

    #[test]
    fn a_key_opens_its_stream_and_no_other() {
        let rules = ingest(false, &[("a", "one"), ("b", "two")]);
        assert_eq!(admit(&rules, &request("a", Some("one"))), Ok(None));
        assert_eq!(admit(&rules, &request("a", Some("two"))), Err(Refusal::UnknownKey));
        assert_eq!(admit(&rules, &request("a", None)), Err(Refusal::UnknownKey));
        assert_eq!(admit(&rules, &request("c", Some("one"))), Err(Refusal::UnknownKey));
    }

    #[test]
    fn a_star_covers_every_stream() {
        let rules = ingest(false, &[("*", "one")]);
        assert_eq!(admit(&rules, &request("anything", Some("one"))), Ok(None));
    }

    #[test]
    fn without_rules_only_an_open_origin_takes_streams() {
        assert_eq!(admit(&ingest(false, &[]), &request("a", Some(""))), Err(Refusal::UnknownKey));
        assert_eq!(admit(&ingest(true, &[]), &request("a", None)), Ok(None));
    }

    #[test]
    fn even_an_open_origin_refuses_bad_names_and_other_applications() {
        let open = ingest(true, &[]);
        for name in ["", "a/b", "..", "ä", &"x".repeat(65)] {
            assert_eq!(admit(&open, &request(name, None)), Err(Refusal::BadName), "{name:?}");
        }
        let other = PublishRequest { app: "vod".into(), ..request("a", None) };
        assert_eq!(admit(&open, &other), Err(Refusal::NotAllowed));
    }
}
