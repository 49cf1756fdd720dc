//! `/live/{stream}/keys` and those of recordings: keys that are made here, to players that fetch one by its id and to browsers
//! that ask for licences.

use super::posted::{object, whole};
use super::{App, Refusal, Steps, answer, bearer, classed};
use crate::archive::Recording;
use crate::keys::unhex;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What a browser's clear key system sends (W3C Encrypted Media Extensions, 9.1.3).
#[derive(Deserialize)]
struct Wanted {
    kids: Vec<String>,
}

/// What it is answered (9.1.4): a JWK set (RFC 7517, 5).
#[derive(Serialize)]
struct License {
    keys: Vec<Jwk>,
    #[serde(rename = "type")]
    session: &'static str,
}

#[derive(Serialize)]
struct Jwk {
    kty: &'static str,
    kid: String,
    k: String,
}

const BODY_MAX: usize = 4 << 10;
/// Of all renditions, under the keys of some periods.
const KEYS_MAX: usize = 32;

/// Sixteen bytes (RFC 8216bis, 5.1).
pub(super) async fn key(
    State(app): State<App>,
    Steps((stream, id)): Steps<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    authorized(&app, &headers)?;
    let id = unhex(&id).filter(|_| config::is_stream_name(&stream)).ok_or(Refusal::NoSuchPath)?;
    let key = of(&app, &stream, &id).ok_or(Refusal::NoSuchKey { stream })?;
    Ok(unstored(key.to_vec(), "application/octet-stream"))
}

/// The same of a recording, whose playlists say so.
pub(super) fn recorded(
    app: &App,
    recording: &Recording,
    id: &[u8; 16],
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    authorized(app, headers)?;
    let stream = &recording.id.stream;
    let key = Some(id).filter(|id| recording.keys.contains(id));
    let key = key.and_then(|id| app.0.directory.keys().made_here(stream, id));
    let key = key.ok_or_else(|| Refusal::NoSuchKey { stream: stream.clone() })?;
    Ok(unstored(key.to_vec(), "application/octet-stream"))
}

/// Of the keys that are asked for, those that there are.
pub(super) async fn licensed(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    authorized(&app, &headers)?;
    if !config::is_stream_name(&stream) {
        return Err(Refusal::NoSuchPath);
    }
    if !app.0.directory.keys().makes_here() {
        return Err(Refusal::NoSuchKey { stream });
    }
    let body = whole(body, BODY_MAX).await?;
    let wanted: Wanted = object(&body).map_err(Refusal::License)?;
    let keys = wanted.kids.iter().take(KEYS_MAX).filter_map(|kid| {
        let id: [u8; 16] = URL_SAFE_NO_PAD.decode(kid.trim_end_matches('=')).ok()?.try_into().ok()?;
        let k = URL_SAFE_NO_PAD.encode(of(&app, &stream, &id)?);
        Some(Jwk { kty: "oct", kid: URL_SAFE_NO_PAD.encode(id), k })
    });
    let license = License { keys: keys.collect(), session: "temporary" };
    if license.keys.is_empty() {
        return Err(Refusal::NoSuchKey { stream });
    }
    let license = serde_json::to_vec(&license).map_err(|error| Refusal::License(error.to_string()))?;
    Ok(unstored(license, "application/json"))
}

fn authorized(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    let token = app.0.directory.keys().token();
    if token.is_none_or(|token| bearer::is_authorized(headers, token)) {
        return Ok(());
    }
    Err(Refusal::Unauthorized { key: "origin.encryption.token" })
}

/// Only what is in use, live or in recordings: an id tells nobody a key that is to come.
fn of(app: &App, stream: &str, id: &[u8; 16]) -> Option<[u8; 16]> {
    let is_live = app.0.directory.find(stream).is_some_and(|stream| stream.has_key(id));
    let is_recorded = || app.0.recordings.as_ref().is_some_and(|recordings| recordings.have_key(stream, id));
    (is_live || is_recorded()).then(|| app.0.directory.keys().made_here(stream, id)).flatten()
}

/// RFC 9111, 5.2.2.5: no cache keeps a key, whoever may have the next.
fn unstored(body: Vec<u8>, kind: &'static str) -> Response {
    let mut response = Response::new(Body::from(body));
    answer::set(response.headers_mut(), header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    classed("key", response)
}
