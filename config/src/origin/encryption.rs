//! `[origin.encryption]`: which streams are encrypted, with whose keys, and where players get them.

use crate::Problem;
use crate::bounded::{token, within};
use crate::ladder::{Ladder, LadderRule, VideoCodec};
use crate::streams::Streams;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Encryption {
    /// The first that names a stream says how it is encrypted; a stream that none names is not.
    pub streams: Vec<EncryptedStreams>,
    /// How long a key is used; `None` for ever.
    pub rotate: Option<Duration>,
    pub keys: KeySource,
    /// Where players get a key, if not here; [`fill`] completes it.
    pub key_uri: Option<String>,
    /// How HLS names keys of `cbcs`.
    pub hls_keys: HlsKeys,
    /// Where browsers get clear keys as licences.
    pub license_uri: Option<String>,
    /// Whoever sends it as `Authorization: Bearer` is given keys here; without one everybody is.
    pub token: Option<String>,
}

/// The streams that it names are encrypted by this method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedStreams {
    pub streams: Streams,
    pub method: EncryptionMethod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncryptionMethod {
    /// Samples, as ISO/IEC 23001-7 has it; `SAMPLE-AES` in HLS.
    Cbcs,
    /// Whole segments; `AES-128` in HLS.
    #[serde(rename = "aes-128")]
    Aes128,
}

/// Which players of HLS are told of keys of `cbcs`: no format suits them all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HlsKeys {
    /// Those that fetch a key and decrypt with it: Safari, Shaka.
    #[default]
    Identity,
    /// Those that have the browser's clear key system do it: hls.js.
    Clearkey,
}

/// Who makes the keys.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// No stream is encrypted.
    None,
    /// The origin, from this.
    Secret(String),
    /// A server, which is asked ahead.
    Server(KeyServer),
}

#[derive(Clone, PartialEq, Eq)]
pub struct KeyServer {
    /// [`fill`] completes it.
    pub uri: String,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
    /// For an answer, and the pause after one that was of no use.
    pub timeout: Duration,
    pub retry: Duration,
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret",
            Self::Server(_) => "Server",
        })
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    streams: Vec<RawStreams>,
    rotate_s: u64,
    secret: Option<String>,
    key_server: Option<String>,
    key_server_token: Option<String>,
    key_server_timeout_ms: u64,
    key_server_retry_ms: u64,
    key_uri: Option<String>,
    hls_keys: HlsKeys,
    license_uri: Option<String>,
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStreams {
    stream: String,
    method: EncryptionMethod,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            streams: Vec::new(),
            rotate_s: 3600,
            secret: None,
            key_server: None,
            key_server_token: None,
            key_server_timeout_ms: 2000,
            key_server_retry_ms: 1000,
            key_uri: None,
            hls_keys: HlsKeys::Identity,
            license_uri: None,
            token: None,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Encryption {
        let streams: Vec<_> = self.streams.into_iter().enumerate().map(|(i, raw)| raw.valid(i, problems)).collect();
        token(problems, "origin.encryption.secret", self.secret.as_deref());
        token(problems, "origin.encryption.key_server_token", self.key_server_token.as_deref());
        token(problems, "origin.encryption.token", self.token.as_deref());
        for (key, uri, needs_id) in [
            ("key_server", &self.key_server, true),
            ("key_uri", &self.key_uri, true),
            ("license_uri", &self.license_uri, false),
        ] {
            check_uri(problems, &format!("origin.encryption.{key}"), uri.as_deref(), needs_id);
        }
        let mut ms = |key: &str, value, range| {
            Duration::from_millis(within(problems, &format!("origin.encryption.{key}"), value, range))
        };
        let timeout = ms("key_server_timeout_ms", self.key_server_timeout_ms, 100..=30_000);
        let retry = ms("key_server_retry_ms", self.key_server_retry_ms, 100..=60_000);
        if self.rotate_s != 0 {
            within(problems, "origin.encryption.rotate_s", self.rotate_s, 10..=86_400);
        }
        let mut say = |key: &str, text| problems.push(Problem::new(format!("origin.encryption.{key}"), text));
        let keys = match (self.secret, self.key_server) {
            (Some(_), Some(_)) => {
                say("secret", "and key_server are both set; keys come from one of them, so take the other one out");
                KeySource::None
            }
            (Some(secret), None) => KeySource::Secret(secret),
            (None, Some(uri)) => KeySource::Server(KeyServer { uri, token: self.key_server_token, timeout, retry }),
            (None, None) => KeySource::None,
        };
        if keys == KeySource::None && !streams.is_empty() {
            say("secret", "is missing; write what `openssl rand -hex 32` prints, or set key_server");
        }
        if matches!(keys, KeySource::Server(_)) && self.key_uri.is_none() {
            say("key_uri", "is missing; where key_server makes the keys, players get them elsewhere, so write where");
        }
        Encryption {
            streams,
            rotate: Some(Duration::from_secs(self.rotate_s)).filter(|rotate| !rotate.is_zero()),
            keys,
            key_uri: self.key_uri,
            hls_keys: self.hls_keys,
            license_uri: self.license_uri,
            token: self.token,
        }
    }
}

impl RawStreams {
    fn valid(self, index: usize, problems: &mut Vec<Problem>) -> EncryptedStreams {
        let key = format!("origin.encryption.streams[{index}].stream");
        EncryptedStreams { streams: Streams::valid(&key, self.stream, problems), method: self.method }
    }
}

/// Samples can be encrypted in pictures of H.264 and HEVC: which bytes of the others must stay clear is not known here.
pub(super) fn check_codecs(
    encryption: &Encryption,
    (general, rules): (&Ladder, &[LadderRule]),
    problems: &mut Vec<Problem>,
) {
    for (index, encrypted) in encryption.streams.iter().enumerate() {
        if encrypted.method != EncryptionMethod::Cbcs {
            continue;
        }
        let meets = |rule: &&LadderRule| rule.streams.meet(&encrypted.streams);
        let is_last = |rule: &LadderRule| rule.publisher.is_none() && rule.streams.hold(&encrypted.streams);
        let all_named = rules.iter().position(is_last);
        let ladders = rules[..all_named.map_or(rules.len(), |last| last + 1)].iter().filter(meets);
        let mut ladders = ladders.map(|rule| &rule.ladder).chain(Some(general).filter(|_| all_named.is_none()));
        if let Some(text) = ladders.find_map(why_no_cbcs) {
            problems.push(Problem::new(format!("origin.encryption.streams[{index}].method"), text));
        }
    }
}

fn why_no_cbcs(ladder: &Ladder) -> Option<String> {
    let is_sliced = |codec: &VideoCodec| matches!(codec, VideoCodec::H264 | VideoCodec::Hevc);
    let other = ladder.codecs().into_iter().find(|codec| !is_sliced(codec))?;
    Some(format!(
        "\"cbcs\" does not go with the ladder's rungs in {}; write \"aes-128\", or rungs in h264 and hevc alone",
        other.name()
    ))
}

impl Encryption {
    /// Why the stream of this name cannot have a ladder, if it cannot.
    pub fn refusal(&self, stream: &str, ladder: &Ladder) -> Option<String> {
        why_no_cbcs(ladder).filter(|_| self.method(stream) == Some(EncryptionMethod::Cbcs))
    }

    /// How the stream of this name is encrypted, if it is.
    pub fn method(&self, stream: &str) -> Option<EncryptionMethod> {
        self.streams.iter().find(|rule| rule.streams.cover(stream)).map(|rule| rule.method)
    }
}

/// A template with the stream's name and the key's id in it.
pub fn fill(template: &str, stream: &str, kid: &str) -> String {
    template.replace("{stream}", stream).replace("{kid}", kid)
}

/// It ends up in playlists and MPDs, so it holds only what needs no escaping there.
fn check_uri(problems: &mut Vec<Problem>, key: &str, template: Option<&str>, needs_id: bool) {
    let Some(template) = template else { return };
    let filled = fill(template, "s", "k");
    let rest = filled.strip_prefix("https://").or_else(|| filled.strip_prefix("http://"));
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>&#@\\^`{|}".contains(&byte);
    let plain = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(allowed));
    if !plain || needs_id && !template.contains("{kid}") {
        let text = format!(
            "{template:?} is no template of a URL; write for example \"https://keys.example/{{stream}}/{{kid}}\""
        );
        problems.push(Problem::new(key, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    const SECRET: &str = "secret = \"0123456789abcdef0123456789abcdef\"\n";

    fn parse(text: &str) -> Result<Encryption, String> {
        let parsed = Config::parse(&format!("[origin]\n[origin.encryption]\n{text}"), []);
        parsed.map(|config| config.origin.unwrap().encryption).map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn nothing_is_encrypted_until_a_rule_names_it() {
        assert_eq!(parse("").unwrap().method("show"), None);
        let text = format!(
            "{SECRET}streams = [{{ stream = \"film-*\", method = \"aes-128\" }}, {{ stream = \"pay\", method = \"cbcs\" }}]\n"
        );
        let encryption = parse(&text).unwrap();
        let methods = ["film-1", "pay", "free"].map(|stream| encryption.method(stream));
        assert_eq!(methods, [Some(EncryptionMethod::Aes128), Some(EncryptionMethod::Cbcs), None]);
        assert_eq!(encryption.rotate, Some(Duration::from_secs(3600)));
        assert!(!format!("{encryption:?}").contains("0123456789"), "no log shows a secret");
    }

    #[test]
    fn keys_come_from_one_place_and_players_know_it() {
        let rule = "streams = [{ stream = \"*\", method = \"cbcs\" }]\n";
        let server = "key_server = \"https://k.example/{stream}/{kid}\"\n";
        assert!(parse(&format!("{server}key_uri = \"https://k.example/{{kid}}?s={{stream}}\"\n{rule}")).is_ok());
        for (text, told) in [
            (rule.to_owned(), "secret: is missing"),
            (format!("{SECRET}{server}"), "secret: and key_server are both set"),
            (format!("{server}{rule}"), "key_uri: is missing"),
            (format!("{SECRET}key_uri = \"https://k.example/one\"\n"), "key_uri: "),
            (format!("{SECRET}license_uri = \"https://k/<a>\"\n"), "license_uri: "),
            (format!("{SECRET}license_uri = \"/keys\"\n"), "license_uri: "),
            (format!("{SECRET}rotate_s = 5\n"), "rotate_s: 5 is out of range"),
            (format!("{SECRET}streams = [{{ stream = \"a*b\", method = \"cbcs\" }}]\n"), "streams[0].stream: "),
            (format!("{SECRET}token = \"short\"\n"), "token: must be 16"),
        ] {
            let problem = parse(&text).unwrap_err();
            assert!(problem.contains(told), "{problem}");
        }
        assert_eq!(parse(&format!("{SECRET}rotate_s = 0\n")).unwrap().rotate, None);
    }
}
