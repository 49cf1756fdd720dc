//! One version of a playlist: every answer that a viewer may get of it, built once.

use super::First;
use crate::key::Class;
use crate::metrics::Metrics;
use crate::object::{Head, Object};
use crate::subscription::Standing;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderName};
use manifest::delta::delta_update;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One version of a playlist, with its answers built once.
pub struct Version {
    full: Answers,
    /// RFC 8216bis, 6.2.5.1; absent where upstream offers none, or nothing can be skipped.
    delta: Option<Answers>,
    pub arrived: Instant,
    /// When the last held viewer had it, in nanoseconds after `arrived`; 0 where none was held.
    last_written: AtomicU64,
    metrics: Arc<Metrics>,
}

/// What tells the answers of one version apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spelling {
    pub gzip: bool,
    /// Asked with directives: without them the URL will name another version soon, with them it never will.
    pub directed: bool,
    /// `_HLS_skip`.
    pub skip: bool,
}

/// By [`Version::answer`].
type Answers = [Arc<Object>; 4];

impl Version {
    pub(super) fn new(first: &First, standing: Standing, arrived: Instant, metrics: &Arc<Metrics>) -> Self {
        let full = Bytes::copy_from_slice(&first.bytes);
        let text = std::str::from_utf8(&first.bytes).unwrap_or_default();
        let delta = first.media.can_skip_until_s.and_then(|skip_until_s| delta_update(text, skip_until_s));
        Self {
            full: answers(full, first, standing, arrived),
            delta: delta.map(|text| answers(Bytes::from(text), first, standing, arrived)),
            arrived,
            last_written: AtomicU64::new(0),
            metrics: metrics.clone(),
        }
    }

    pub fn answer(&self, spelling: Spelling) -> &Arc<Object> {
        let answers = self.delta.as_ref().filter(|_| spelling.skip).unwrap_or(&self.full);
        &answers[2 * usize::from(spelling.gzip) + usize::from(spelling.directed)]
    }

    /// A held viewer has its answer.
    pub fn written(&self) {
        let taken = self.arrived.elapsed();
        self.metrics.release.observe(taken.as_secs_f64());
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

fn answers(plain: Bytes, first: &First, standing: Standing, arrived: Instant) -> Answers {
    let packed = pack(&plain);
    // Which hops it took, and when the origin said it, are true of this version's answers too.
    let told = [header::DATE, header::LAST_MODIFIED, HeaderName::from_static("cache-status")];
    let etag = fingerprint(&plain);
    let make = |gzip: bool, directed: bool| {
        let gzip = gzip && packed.is_some();
        let life = lifetime(first, standing, directed);
        let control = format!("public, max-age={}", life.as_secs());
        let tag = format!("\"{etag:016x}{}\"", if gzip { "-gzip" } else { "" });
        let mut pairs = vec![
            (header::CONTENT_TYPE, "application/vnd.apple.mpegurl"),
            (header::CACHE_CONTROL, control.as_str()),
            (header::VARY, "Accept-Encoding"),
            (header::ETAG, tag.as_str()),
        ];
        if gzip {
            pairs.push((header::CONTENT_ENCODING, "gzip"));
        }
        pairs.extend(told.iter().filter_map(|name| Some((name.clone(), first.head.field(name.as_str())?))));
        let head = Head::own(Class::Playlist, arrived, life, &pairs);
        let body = packed.as_ref().filter(|_| gzip).unwrap_or(&plain).clone();
        Arc::new(Object::new(Arc::new(head), vec![body], arrived))
    };
    [make(false, false), make(false, true), make(true, false), make(true, true)]
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

/// `None` where packing fails, which in memory it does not.
fn pack(plain: &[u8]) -> Option<Bytes> {
    // Level 4 is within 3 % of level 9 on playlists at a third of the time, which every held viewer waits for.
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4 + 64), Compression::new(4));
    encoder.write_all(plain).and_then(|()| encoder.finish()).ok().map(Bytes::from)
}

/// FNV-1a: the same bytes have the same tag on every node.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
