//! One version of a playlist: every answer that a viewer may get of it, built once, when the first one asks for it.

use super::{First, Text};
use crate::coding::Coding;
use crate::key::Class;
use crate::metrics::Metrics;
use crate::object::{Head, Object};
use crate::releases::Releases;
use crate::subscription::Standing;
use crate::upstream::PeerId;
use bytes::Bytes;
use http::header::{self, HeaderName};
use manifest::Skip;
use manifest::delta::{Full, Recent, delta_update};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// One version of a playlist, with its answers built once.
pub struct Version {
    full: Answers,
    /// RFC 8216bis, 6.2.5.1; absent where upstream offers none, or nothing can be skipped.
    delta: Option<Answers>,
    /// The same without older date ranges; absent where viewers may have copies that this node did not see.
    recent: Option<Answers>,
    pub arrived: Instant,
    /// When the last held viewer had it, in nanoseconds after `arrived`; 0 where none was held.
    last_written: AtomicU64,
    metrics: Arc<Metrics>,
    releases: Arc<Releases>,
}

/// What tells the answers of one version apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    pub coding: Coding,
    /// Asked with directives: without them the URL will name another version soon, with them it never will.
    pub directed: bool,
    /// `_HLS_skip`.
    pub skip: Skip,
}

/// One text in each coding, asked for without directives and with them. A coding that nobody takes is never made, so
/// that no held viewer waits for it.
struct Answers {
    plain: Plain,
    told: Arc<Told>,
    by_coding: [OnceLock<[Arc<Object>; 2]>; Coding::ALL.len()],
}

/// A text that is there, or is put together for the first who wants it.
enum Plain {
    There(Bytes),
    Full(Full, OnceLock<Bytes>),
    Recent(String, Recent, OnceLock<Bytes>),
}

/// What all answers of a version say.
struct Told {
    arrived: Instant,
    /// How long they may be used, asked for without directives and with them.
    lifetimes: [Duration; 2],
    /// Which hops it took, and when the origin said it, are true of this version's answers too.
    fields: Vec<(HeaderName, String)>,
    source: Option<PeerId>,
}

impl Version {
    pub(super) fn new(
        first: &First,
        dates: Option<Recent>,
        standing: Standing,
        arrived: Instant,
        (metrics, releases): (&Arc<Metrics>, &Arc<Releases>),
    ) -> Self {
        let (full, delta) = match &first.text {
            Text::Whole(text) => {
                let skip_until_s = first.media.can_skip_until_s;
                let delta = skip_until_s.and_then(|skip_until_s| delta_update(text, skip_until_s));
                (Plain::There(Bytes::copy_from_slice(text.as_bytes())), delta)
            }
            // Whoever asks here gets the update that this node got.
            Text::Update { delta, full } => (Plain::Full(full.clone(), OnceLock::new()), Some(delta.clone())),
        };
        let names = [header::DATE, header::LAST_MODIFIED, HeaderName::from_static("cache-status")];
        let fields = names.into_iter().filter_map(|name| {
            let value = first.head.field(name.as_str())?.to_owned();
            Some((name, value))
        });
        let lifetimes = [false, true].map(|directed| lifetime(first, standing, directed));
        let told = Arc::new(Told { arrived, lifetimes, fields: fields.collect(), source: first.head.source });
        let recent = delta.clone().zip(dates).map(|(delta, dates)| Plain::Recent(delta, dates, OnceLock::new()));
        Self {
            full: Answers::new(full, &told),
            delta: delta.map(|text| Answers::new(Plain::There(text.into()), &told)),
            recent: recent.map(|plain| Answers::new(plain, &told)),
            arrived,
            last_written: AtomicU64::new(0),
            metrics: metrics.clone(),
            releases: releases.clone(),
        }
    }

    pub fn answer(&self, spelling: Spelling) -> &Arc<Object> {
        let update = match spelling.skip {
            Skip::Nothing => None,
            Skip::Segments => self.delta.as_ref(),
            Skip::DateRanges => self.recent.as_ref(),
        };
        let answers = update.unwrap_or(&self.full);
        &answers.of(spelling.coding)[usize::from(spelling.directed)]
    }

    /// A held viewer has its answer.
    pub fn written(&self) {
        let taken = self.arrived.elapsed();
        self.metrics.release.observe(taken.as_secs_f64());
        self.releases.observe(taken);
        self.last_written.fetch_max(taken.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// Nobody can get this version any more, so the time of its last release is known.
impl Drop for Version {
    fn drop(&mut self) {
        let nanos = *self.last_written.get_mut();
        if nanos > 0 {
            self.metrics.last_release.observe(Duration::from_nanos(nanos).as_secs_f64());
        }
    }
}

impl Plain {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::There(bytes) => bytes,
            Self::Full(full, text) => text.get_or_init(|| full.text().into()),
            Self::Recent(delta, dates, text) => text.get_or_init(|| dates.update(delta).into()),
        }
    }
}

impl Answers {
    fn new(plain: Plain, told: &Arc<Told>) -> Self {
        Self { plain, told: told.clone(), by_coding: Default::default() }
    }

    fn of(&self, coding: Coding) -> &[Arc<Object>; 2] {
        self.by_coding[coding as usize].get_or_init(|| {
            let plain = self.plain.bytes();
            let packed = coding.pack(plain);
            let coding = if packed.is_some() { coding } else { Coding::Identity };
            let body = packed.unwrap_or_else(|| plain.clone());
            self.told.lifetimes.map(|lifetime| self.object(coding, &body, lifetime))
        })
    }

    fn object(&self, coding: Coding, body: &Bytes, lifetime: Duration) -> Arc<Object> {
        let packed = coding != Coding::Identity;
        let control = format!("public, max-age={}", lifetime.as_secs());
        let etag = fingerprint(self.plain.bytes());
        let tag = if packed { format!("\"{etag:016x}-{}\"", coding.token()) } else { format!("\"{etag:016x}\"") };
        let mut pairs = vec![
            (header::CONTENT_TYPE, "application/vnd.apple.mpegurl"),
            (header::CACHE_CONTROL, control.as_str()),
            (header::VARY, "Accept-Encoding"),
            (header::ETAG, tag.as_str()),
        ];
        if packed {
            pairs.push((header::CONTENT_ENCODING, coding.token()));
        }
        pairs.extend(self.told.fields.iter().map(|(name, value)| (name.clone(), value.as_str())));
        let mut head = Head::own(Class::Playlist, self.told.arrived, lifetime, &pairs);
        head.source = self.told.source;
        Arc::new(Object::new(Arc::new(head), vec![body.clone()], self.told.arrived))
    }
}

/// RFC 8216bis, 6.2.5.2 and B.1: an answer to a blocking request never changes, so it may live six target durations; one
/// to a plain request is old with the next part. A playlist without blocking keeps what upstream said.
fn lifetime(first: &First, standing: Standing, directed: bool) -> Duration {
    match (standing.blocks, directed) {
        (true, true) => standing.target * 6,
        (true, false) => Duration::from_secs(1),
        (false, _) => first.lifetime.unwrap_or(standing.target / 2).max(Duration::from_secs(1)),
    }
}

/// FNV-1a: the same bytes have the same tag on every node.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
