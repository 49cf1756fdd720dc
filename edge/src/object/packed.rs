//! Manifests in content codings, each made once, when a viewer first takes it; and with a lease of this node's own.

use super::{Head, Object, put_field};
use crate::coding::Coding;
use crate::key::Class;
use crate::playlists::PLAYLIST_BYTES_MAX;
use crate::store::freshness::{self, Lease};
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http::{HeaderValue, StatusCode};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Each coding made when a viewer first takes it; `None` in it where it would be no shorter.
pub(super) type Packed = Arc<[OnceLock<Option<Arc<Object>>>; Coding::ALL.len()]>;

impl Object {
    /// The same in a coding, if it is a manifest that upstream gave as it is, and shorter so.
    pub fn in_coding(self: &Arc<Self>, coding: Coding) -> Arc<Self> {
        let packed = self.packed.as_ref().filter(|_| coding != Coding::Identity);
        let packed = packed.and_then(|packed| packed[coding as usize].get_or_init(|| self.pack(coding)).clone());
        packed.unwrap_or_else(|| self.clone())
    }

    fn pack(&self, coding: Coding) -> Option<Arc<Self>> {
        let plain = self.text()?;
        let body = coding.pack(&plain).filter(|body| body.len() < plain.len())?;
        let mut headers = self.head.map().clone();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
        if let Some(tag) = headers.remove(header::ETAG) {
            let opened = tag.to_str().ok()?.strip_suffix('"')?.to_owned();
            headers.insert(header::ETAG, HeaderValue::from_str(&format!("{opened}-{}\"", coding.token())).ok()?);
        }
        let (chunks, length) = (Box::from([body.clone()]), body.len() as u64);
        let coded = Self::with(Arc::new(self.head.with_fields(&headers)), chunks, length, Instant::now());
        let Self { fresh_until, stale, .. } = *self;
        Some(Arc::new(Self { fresh_until, stale, plain: Some(plain), ..coded }))
    }

    /// The text of a manifest, whatever coding it is in; `None` where it is too long to be one.
    pub fn text(&self) -> Option<Bytes> {
        if let Some(plain) = &self.plain {
            return Some(plain.clone());
        }
        let short = self.length <= PLAYLIST_BYTES_MAX && self.layout.is_none();
        short.then(|| match &*self.chunks {
            [one] => one.clone(),
            chunks => Bytes::from(chunks.concat()),
        })
    }

    /// The first bytes of its text.
    pub fn beginning(&self) -> Option<&Bytes> {
        self.plain.as_ref().or_else(|| self.chunks.first())
    }

    /// The same with a lease of this node's own from `now` on, which viewers are told, and with the time.
    pub fn leased(&self, lease: Lease, now: Instant) -> Self {
        let mut headers = self.head.map().clone();
        for name in [header::CACHE_CONTROL, header::EXPIRES, header::PRAGMA, header::DATE] {
            headers.remove(name);
        }
        headers.remove(freshness::CDN_CACHE_CONTROL);
        let control = format!("public, max-age={}", lease.fresh.as_secs());
        headers.extend(HeaderValue::from_str(&control).ok().map(|value| (header::CACHE_CONTROL, value)));
        let head = Head { lease: Ok(lease), dated: true, ..self.head.with_fields(&headers) };
        Self::with(Arc::new(head), self.chunks.clone(), self.length, now)
    }

    /// The same, whose codings will have its times.
    pub(super) fn unpacked(&self) -> Self {
        Self { packed: self.packed.as_ref().map(|_| Packed::default()), ..self.clone() }
    }
}

/// RFC 9111, 5.2.2.6: upstream packs for itself, or has its reasons.
fn forbids_transforming(headers: &HeaderMap) -> bool {
    let said =
        |value: &HeaderValue| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("no-transform"));
    headers.get_all(header::CACHE_CONTROL).iter().any(said)
}

/// Manifests are packed here, whatever upstream can do: it is asked for them as they are.
pub(super) fn is_packable(status: StatusCode, class: Class, headers: &HeaderMap) -> bool {
    status == StatusCode::OK
        && class.is_manifest()
        && !forbids_transforming(headers)
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// RFC 9110, 12.5.5: what is answered in a coding or not says so.
pub(super) fn with_vary(lines: &Bytes, headers: &HeaderMap) -> Bytes {
    let said =
        |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().windows(15).any(|at| at == b"accept-encoding");
    if headers.get_all(header::VARY).iter().any(said) {
        return lines.clone();
    }
    let mut out = BytesMut::from(&lines[..]);
    put_field(&mut out, b"vary", b"Accept-Encoding");
    out.freeze()
}
