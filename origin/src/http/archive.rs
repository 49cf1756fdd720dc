//! `/archive/...`: recordings, wherever they are kept, and lists of them; `DELETE /_vivid/archive/...` removes one.

use super::range::{Asked as Range, asked as range_of};
use super::{App, Refusal, Steps, answer, bearer, classed, keys};
use crate::archive::{Archive, ArchiveError, Asked, File, Id, Kind, Recording, Tier};
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use manifest::Rfc3339;
use object_store::{GetOptions, ObjectStore};
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Who may read from stores, and for how long.
#[derive(Clone)]
pub(super) struct Recordings {
    archive: Archive,
    token: Option<String>,
    places: Arc<Semaphore>,
    patience: Duration,
}

/// As JSON, newest first.
#[derive(Serialize)]
struct List {
    recordings: Vec<Listed>,
    /// Where it goes on, if there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    stream: String,
    started: String,
    ended: String,
    duration_s: f64,
    bytes: u64,
    tier: String,
    hls: String,
    /// None where its segments are encrypted as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    dash: Option<String>,
}

/// Bytes of a playlist that is compressed: one of two days, with its markers.
const COMPRESSED_MAX: usize = 16 << 20;
/// Recordings on one page of a list.
const PAGE: usize = 100;

impl Recordings {
    /// Whether a recording of this stream has segments under this key.
    pub(super) fn have_key(&self, stream: &str, key: &[u8; 16]) -> bool {
        self.archive.ledger().has_key(stream, key)
    }

    pub(super) fn new(config: &config::Archive, archive: Archive) -> Self {
        let places = Arc::new(Semaphore::new(config.reads_max));
        Self { archive, token: config.token.clone(), places, patience: config.read_timeout }
    }

    /// Waits for a place and for the store, no longer than it may take.
    async fn read<T>(
        &self,
        tier: &str,
        read: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Refusal> {
        let placed = async {
            let _place = self.places.acquire().await;
            Ok(read.await?)
        };
        let outcome = timeout(self.patience, placed).await.unwrap_or(Err(ArchiveError::Late));
        if let Some(tier) = self.archive.tier(tier) {
            tier.note(&outcome);
        }
        outcome.map_err(|error| match error {
            ArchiveError::Store(object_store::Error::NotFound { .. }) => Refusal::NoSuchObject,
            ArchiveError::Late => Refusal::StoreLate,
            _ => Refusal::StoreFailed,
        })
    }

    /// What a store sends, each piece in its time.
    fn body(self, tier: String, pieces: BoxStream<'static, object_store::Result<Bytes>>) -> Body {
        Body::from_stream(stream::try_unfold((self, tier, pieces), |(this, tier, mut pieces)| async move {
            let piece = this.read(&tier, async { pieces.try_next().await }).await?;
            Ok::<_, Refusal>(piece.map(|piece| (piece, (this, tier, pieces))))
        }))
    }

    async fn in_store(
        &self,
        recording: &Recording,
        file: &File,
        (method, request): (&Method, &HeaderMap),
    ) -> Result<Response, Refusal> {
        let tier = self.archive.tier(&recording.tier).ok_or_else(|| {
            tracing::warn!(recording = %recording.id, "{}", ArchiveError::NoTier(recording.tier.clone()));
            Refusal::StoreFailed
        })?;
        let store = tier.store().inspect_err(|error| tracing::debug!(%error, "a store cannot be opened"));
        let store = store.map_err(|_| Refusal::StoreFailed)?;
        let path = Tier::path(&file.id, &file.path);
        // The length of the whole is to be known before a range of it is asked for.
        let head = *method == Method::HEAD || request.contains_key(header::RANGE);
        let got = self.read(&tier.name, store.get_opts(&path, GetOptions { head, ..GetOptions::default() })).await?;
        let (this, name, length) = (self.clone(), tier.name.clone(), got.meta.size);
        whole_or_range(&file.id, file.kind, length, (method, request), |range| {
            if !head {
                return this.body(name, got.into_stream());
            }
            let ranged = async move {
                let range = Some(object_store::GetRange::Bounded(range));
                store.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await.map(|got| got.into_stream())
            };
            this.body(name, stream::once(ranged).try_flatten().boxed())
        })
    }
}

/// A list, or a file of a recording.
pub(super) async fn asked(
    State(app): State<App>,
    Steps(path): Steps<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let recordings = app.0.recordings.as_ref().ok_or(Refusal::NoSuchPath)?;
    let file = match Asked::parse(&path).ok_or(Refusal::NoSuchPath)? {
        Asked::List(stream) => return list(recordings, stream.as_deref(), query.as_deref().unwrap_or_default()),
        Asked::Key(id, key) => {
            let missing = || Refusal::NoSuchRecording { id: id.to_string() };
            let recording = recordings.archive.ledger().find(&id).ok_or_else(missing)?;
            return keys::recorded(&app, &recording, &key, &headers);
        }
        Asked::File(file) => file,
    };
    let response = found(&app, recordings, &file, (&method, &headers)).await;
    recordings.archive.metrics().read(match &response {
        Ok(_) => "found",
        Err(Refusal::NoSuchObject | Refusal::NoSuchRecording { .. }) => "missing",
        Err(Refusal::DiskLate | Refusal::StoreLate) => "late",
        Err(_) => "failed",
    });
    if !file.kind.is_manifest {
        return Ok(classed("archive_media", response?));
    }
    Ok(classed("archive_manifest", compressed(response?, &headers).await?))
}

/// A playlist or an MPD for who takes gzip. It is compressed each time: what is in front of an origin keeps it.
async fn compressed(mut response: Response, request: &HeaderMap) -> Result<Response, Refusal> {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if response.status() != StatusCode::OK || !answer::accepts_gzip(request) {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    // What is longer goes as it is.
    let length =
        head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_none_or(|length| length > COMPRESSED_MAX) {
        return Ok(Response::from_parts(head, body));
    }
    let text = axum::body::to_bytes(body, COMPRESSED_MAX).await.map_err(|_| Refusal::StoreFailed)?;
    // HEAD has the fields of GET, and no body to tell the length of what it would be.
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    // RFC 9110, 8.8.3: other bytes than without it.
    let weak = head.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(|etag| format!("W/{etag}"));
    answer::set(&mut head.headers, header::ETAG, &weak.unwrap_or_default());
    if text.is_empty() {
        return Ok(Response::from_parts(head, Body::empty()));
    }
    let packed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::default());
        encoder.write_all(&text)?;
        encoder.finish()
    });
    let packed = packed.await.ok().and_then(Result::ok).ok_or(Refusal::DiskFailed)?;
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(packed.len()));
    Ok(Response::from_parts(head, Body::from(packed)))
}

async fn found(
    app: &App,
    recordings: &Recordings,
    file: &File,
    request: (&Method, &HeaderMap),
) -> Result<Response, Refusal> {
    let ledger = recordings.archive.ledger();
    let recording = ledger.find(&file.id).ok_or_else(|| Refusal::NoSuchRecording { id: file.id.to_string() })?;
    if !recording.is_whole_here() {
        return recordings.in_store(&recording, file, request).await;
    }
    let (stored, length) = app.0.disk.open_whole(&ledger.folder(&file.id).join(&file.path)).await?;
    whole_or_range(&file.id, file.kind, length, request, |range| stored.body(range))
}

/// The same bytes under this URL for as long as there are any (RFC 9110, 13 and 14).
fn whole_or_range(
    id: &Id,
    kind: Kind,
    length: u64,
    (method, request): (&Method, &HeaderMap),
    body: impl FnOnce(std::ops::Range<u64>) -> Body,
) -> Result<Response, Refusal> {
    let etag = format!("\"{:x}-{length:x}\"", id.started);
    let field = |name| request.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let known =
        |value: &str| value.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag);
    let ranged = *method == Method::GET && field(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let (status, range) = if field(header::IF_NONE_MATCH).is_some_and(known) {
        (StatusCode::NOT_MODIFIED, None)
    } else {
        match range_of(field(header::RANGE).filter(|_| ranged), length) {
            Range::Whole => (StatusCode::OK, None),
            Range::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
            Range::Nothing => return Err(Refusal::Range { length }),
        }
    };
    let is_empty = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    let body = if is_empty { Body::empty() } else { body(range.clone().unwrap_or(0..length)) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kind.caching()));
    answer::set(headers, header::ETAG, &etag);
    if status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind.media_type));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let sent = range.as_ref().map_or(length, |range| range.end - range.start);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sent));
    if let Some(range) = range {
        answer::set(headers, header::CONTENT_RANGE, &format!("bytes {}-{}/{length}", range.start, range.end - 1));
    }
    Ok(response)
}

/// `before` is where a page before this one ended.
fn list(recordings: &Recordings, stream: Option<&str>, query: &str) -> Result<Response, Refusal> {
    let before = match query.split('&').find_map(|pair| pair.strip_prefix("before=")) {
        Some(id) => Some(
            id.split_once('/').and_then(|(stream, started)| Id::parse(stream, started)).ok_or(Refusal::NoSuchPath)?,
        ),
        None => None,
    };
    let mut found = recordings.archive.ledger().list(stream, before.as_ref(), PAGE + 1);
    let is_more = found.len() > PAGE;
    found.truncate(PAGE);
    let last = found.last().filter(|_| is_more).map(|last| last.id.to_string());
    let path = stream.map_or_else(String::new, |stream| format!("{stream}/"));
    let list = List {
        next: last.map(|last| format!("/archive/{path}index.json?before={last}")),
        recordings: found.into_iter().map(Listed::from).collect(),
    };
    let mut response = Response::new(Body::from(serde_json::to_string(&list).unwrap_or_default() + "\n"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"));
    Ok(classed("archive_list", response))
}

impl From<Recording> for Listed {
    fn from(recording: Recording) -> Self {
        let Recording { id, ended_unix_ms, duration_ms, bytes, tier, only_hls, .. } = recording;
        Self {
            started: Rfc3339(id.started as i64).to_string(),
            ended: Rfc3339(ended_unix_ms).to_string(),
            duration_s: duration_ms as f64 / 1000.0,
            bytes,
            tier,
            hls: format!("/archive/{id}/index.m3u8"),
            dash: (!only_hls).then(|| format!("/archive/{id}/index.mpd")),
            stream: id.stream,
        }
    }
}

/// Removes a recording. It is shown no more from here on.
pub(super) async fn withdrawn(
    State(app): State<App>,
    Steps((stream, started)): Steps<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let recordings = app.0.recordings.as_ref().ok_or(Refusal::NoSuchPath)?;
    let token = recordings.token.as_deref().ok_or(Refusal::NoSuchPath)?;
    if !bearer::is_authorized(&headers, token) {
        return Err(Refusal::Unauthorized { key: "origin.archive.token" });
    }
    let none = || Refusal::NoSuchRecording { id: format!("{stream}/{started}") };
    let id = Id::parse(&stream, &started).ok_or_else(none)?;
    match recordings.archive.withdraw(&id).await {
        Ok(true) => Ok(classed("archive_removal", answer::text(StatusCode::OK, "removed\n".to_owned()))),
        Ok(false) => Err(none()),
        Err(error) => {
            tracing::warn!(%error, recording = %id, "a recording cannot be removed");
            Err(Refusal::DiskFailed)
        }
    }
}
