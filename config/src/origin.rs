//! `[origin]`: where it listens, who may publish, how much it holds.

mod admin;
mod archive;
mod away;
mod disk;
mod encryption;
mod markers;
mod profiles;
mod quality;
mod remote_workers;
mod subtitles;
mod thumbnails;
mod twin;
mod window;

pub use admin::Admin;
pub use archive::{Archive, HOT, Place, S3, Tier};
pub use away::WhileAway;
pub use disk::Disk;
pub use encryption::{
    EncryptedStreams, Encryption, EncryptionMethod, HlsKeys, KeyServer, KeySource, fill as fill_key_uri,
};
pub use markers::Markers;
pub use profiles::Profile;
pub use quality::{Pausing, Quality};
pub use remote_workers::RemoteWorkers;
pub use subtitles::{ExpectedTrack, Subtitles};
pub use thumbnails::Thumbnails;
pub use twin::Twin;
pub use window::Window;

use crate::Problem;
use crate::bounded::{address, within};
use crate::ladder::{self, Ladder, LadderRule};
use crate::transcode::{Hardware, RawSegmenting, RawWorker, Segmenting, Worker};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    pub rtmp_listen: SocketAddr,
    pub http_listen: SocketAddr,
    /// A client that takes nothing of an answer for so long is let go.
    pub http_send_timeout: Duration,
    pub ingest: Ingest,
    /// The first that names a stream says how long its parts are.
    pub profiles: Vec<Profile>,
    pub segment: Segmenting,
    pub ladder: Ladder,
    /// The first that names a stream replaces `ladder` for it.
    pub ladders: Vec<LadderRule>,
    pub worker: Worker,
    pub quality: Quality,
    /// Machines that encode for this one.
    pub remote_workers: Option<RemoteWorkers>,
    pub admin: Admin,
    pub window: Window,
    pub markers: Markers,
    pub subtitles: Subtitles,
    pub encryption: Encryption,
    /// The other origin that the same encoder publishes to.
    pub twin: Option<Twin>,
    pub disk: Disk,
    pub archive: Archive,
}

/// Who may publish, and what one publisher may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// Anyone may publish any name without a key.
    pub open: bool,
    /// A publisher with the right key takes a name from the one that has it. Not where `open` lets anyone in.
    pub takeover: bool,
    pub publishers: Vec<PublishRule>,
    pub connections_max: usize,
    /// From the first byte to the accepted publish.
    pub handshake_timeout: Duration,
    /// Without a frame for this long, the publisher is gone.
    pub idle_timeout: Duration,
    /// Largest RTMP message, in bytes: a key frame of a 100 Mbit/s stream fits four times.
    pub message_bytes_max: usize,
    /// How long a stream waits for its publisher to come back before it ends.
    pub linger: Duration,
    pub while_away: WhileAway,
    /// What is shown then, if that is to be a slate.
    pub slate: Option<PathBuf>,
}

/// `stream` may be published with `key`; [`ANY_STREAM`] is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRule {
    pub stream: String,
    pub key: String,
    /// What other rules call whoever has the key.
    pub name: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    rtmp_listen: String,
    http_listen: String,
    http_send_timeout_ms: u64,
    ingest: RawIngest,
    profiles: Vec<profiles::Raw>,
    segment: RawSegmenting,
    ladder: ladder::Raw,
    ladders: Vec<ladder::RawRule>,
    worker: RawWorker,
    quality: quality::Raw,
    remote_workers: remote_workers::Raw,
    admin: admin::Raw,
    window: window::Raw,
    markers: markers::Raw,
    subtitles: subtitles::Raw,
    thumbnails: thumbnails::Raw,
    encryption: encryption::Raw,
    twin: twin::Raw,
    disk: disk::Raw,
    archive: archive::Raw,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawIngest {
    open: bool,
    takeover: bool,
    publishers: Vec<RawPublishRule>,
    connections_max: usize,
    handshake_timeout_ms: u64,
    idle_timeout_ms: u64,
    message_bytes_max: usize,
    linger_ms: u64,
    while_away: WhileAway,
    slate: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublishRule {
    stream: String,
    key: String,
    name: Option<String>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            rtmp_listen: "0.0.0.0:1935".to_owned(),
            http_listen: "0.0.0.0:8081".to_owned(),
            http_send_timeout_ms: 10_000,
            ingest: RawIngest::default(),
            profiles: Vec::new(),
            segment: RawSegmenting::default(),
            ladder: ladder::Raw::default(),
            ladders: Vec::new(),
            worker: RawWorker::default(),
            quality: quality::Raw::default(),
            window: window::Raw::default(),
            markers: markers::Raw::default(),
            admin: admin::Raw::default(),
            remote_workers: remote_workers::Raw::default(),
            subtitles: subtitles::Raw::default(),
            thumbnails: thumbnails::Raw::default(),
            encryption: encryption::Raw::default(),
            twin: twin::Raw::default(),
            disk: disk::Raw::default(),
            archive: archive::Raw::default(),
        }
    }
}

impl Default for RawIngest {
    fn default() -> Self {
        Self {
            open: false,
            takeover: true,
            publishers: Vec::new(),
            connections_max: 64,
            handshake_timeout_ms: 5000,
            idle_timeout_ms: 10_000,
            message_bytes_max: 8 << 20,
            linger_ms: 10_000,
            while_away: WhileAway::Wait,
            slate: None,
        }
    }
}

impl Raw {
    pub(crate) fn valid(self, problems: &mut Vec<Problem>) -> Origin {
        let profiles = self.profiles.into_iter().enumerate().map(|(index, raw)| raw.valid(index, problems)).collect();
        let twin = self.twin.valid(problems);
        if twin.is_some() && self.ingest.while_away != WhileAway::Wait {
            let text = "must be \"wait\" where origin.twin.url is set: an edge goes to the other origin if this one stands still";
            problems.push(Problem::new("origin.ingest.while_away", text));
        }
        let worker = self.worker.valid(problems);
        let worker = match (&twin, worker.hardware) {
            (None, _) | (_, Hardware::Off) => worker,
            (Some(_), Hardware::Auto) => Worker { hardware: Hardware::Off, ..worker },
            (Some(_), _) => {
                let text = "must be \"off\" or \"auto\", which is the same, where origin.twin.url is set: no two devices make the same bytes";
                problems.push(Problem::new("origin.worker.hardware", text));
                worker
            }
        };
        let quality = self.quality.valid(twin.is_some(), problems);
        let disk = self.disk.valid(problems);
        let thumbnails = self.thumbnails.valid(problems);
        let with_images = |ladder| Ladder { thumbnails: thumbnails.clone(), ..ladder };
        let ladders = self.ladders.into_iter().enumerate().map(|(index, rule)| {
            let rule = rule.valid(index, &self.ladder, problems);
            LadderRule { ladder: with_images(rule.ladder), ..rule }
        });
        let ladders: Vec<_> = ladders.collect();
        ladder::check_publishers(&ladders, &self.ingest.names(), problems);
        let ladder = with_images(self.ladder.valid("origin.ladder", problems));
        let encryption = self.encryption.valid(problems);
        encryption::check_codecs(&encryption, (&ladder, &ladders), problems);
        Origin {
            profiles,
            markers: self.markers.valid(problems),
            admin: self.admin.valid(problems),
            remote_workers: self.remote_workers.valid(problems),
            subtitles: self.subtitles.valid(problems),
            encryption,
            twin,
            rtmp_listen: address(problems, "origin.rtmp_listen", &self.rtmp_listen),
            http_listen: address(problems, "origin.http_listen", &self.http_listen),
            http_send_timeout: Duration::from_millis(within(
                problems,
                "origin.http_send_timeout_ms",
                self.http_send_timeout_ms,
                1000..=120_000,
            )),
            ingest: self.ingest.valid(problems),
            segment: self.segment.valid(problems),
            ladder,
            ladders,
            worker,
            quality,
            window: self.window.valid(problems),
            archive: self.archive.valid(&disk, problems),
            disk,
        }
    }
}

impl Origin {
    /// What is made of the stream of this name, sent by this publisher: the first rule that names both decides.
    pub fn ladder(&self, stream: &str, publisher: Option<&str>) -> &Ladder {
        let rule = self.ladders.iter().find(|rule| rule.covers(stream, publisher));
        rule.map_or(&self.ladder, |rule| &rule.ladder)
    }
}

/// In a [`PublishRule`]: every stream.
pub const ANY_STREAM: &str = "*";

/// Whether a stream can have this name: 1 to 64 of `[A-Za-z0-9_-]`, which is the same in every URL of Vivid.
pub fn is_stream_name(name: &str) -> bool {
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(usable)
}

pub(crate) const STREAM_NAME: &str = "1 to 64 letters, digits, hyphens or underscores";

impl RawPublishRule {
    fn rule(self) -> PublishRule {
        PublishRule { stream: self.stream, key: self.key, name: self.name }
    }
}

impl RawIngest {
    fn names(&self) -> Vec<&str> {
        self.publishers.iter().filter_map(|rule| rule.name.as_deref()).collect()
    }

    fn valid(self, problems: &mut Vec<Problem>) -> Ingest {
        for (index, rule) in self.publishers.iter().enumerate() {
            if rule.stream != ANY_STREAM && !is_stream_name(&rule.stream) {
                let key = format!("origin.ingest.publishers[{index}].stream");
                let text = format!("{:?} is no stream name; write \"*\" for any, or {STREAM_NAME}", rule.stream);
                problems.push(Problem::new(key, text));
            }
            if rule.key.is_empty() {
                let key = format!("origin.ingest.publishers[{index}].key");
                problems.push(Problem::new(key, "is empty; write a secret, or set origin.ingest.open = true"));
            }
            if rule.key.contains(|c: char| c == '&' || c.is_whitespace() || c.is_control()) {
                let key = format!("origin.ingest.publishers[{index}].key");
                problems.push(Problem::new(key, "cannot be sent in a URL; write a secret without spaces and '&'"));
            }
        }
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let handshake_timeout = ms("origin.ingest.handshake_timeout_ms", self.handshake_timeout_ms, 500..=60_000);
        let idle_timeout = ms("origin.ingest.idle_timeout_ms", self.idle_timeout_ms, 1000..=120_000);
        let linger = ms("origin.ingest.linger_ms", self.linger_ms, 0..=600_000);
        Ingest {
            open: self.open,
            takeover: self.takeover,
            publishers: self.publishers.into_iter().map(RawPublishRule::rule).collect(),
            connections_max: within(problems, "origin.ingest.connections_max", self.connections_max, 1..=10_000),
            handshake_timeout,
            idle_timeout,
            message_bytes_max: within(
                problems,
                "origin.ingest.message_bytes_max",
                self.message_bytes_max,
                64 << 10..=16 << 20,
            ),
            linger,
            while_away: self.while_away,
            slate: away::slate(problems, self.while_away, self.slate),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_rule_names_a_stream_that_can_be_or_all_of_them() {
        let rule = |stream: &str| {
            let text = format!("[origin]\n[[origin.ingest.publishers]]\nstream = \"{stream}\"\nkey = \"secret\"\n");
            Config::parse(&text, [])
        };
        for stream in ["*", "show", "A-1_b", &"x".repeat(64)] {
            assert!(rule(stream).is_ok(), "{stream}");
        }
        for stream in ["", "live/show", "show*", "a b", "..", "\u{e4}", &"x".repeat(65)] {
            let told = rule(stream).expect_err("is valid")[0].to_string();
            assert!(told.starts_with("line 3: origin.ingest.publishers[0].stream: "), "{told}");
            assert!(
                told.ends_with("write \"*\" for any, or 1 to 64 letters, digits, hyphens or underscores"),
                "{told}"
            );
        }
    }
}
