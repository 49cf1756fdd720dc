//! `POST /_vivid/twin/{stream}`: what the other of two origins asks before it begins an epoch.

use super::{App, Refusal, Steps, classed};
use crate::clock::unix_ms;
use crate::twin::{Answer, BODY_MAX, Offer};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

/// Answers an offer with the epoch that both are to run.
pub(super) async fn offered(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let token = app.0.twin_token.as_deref().ok_or(Refusal::NoSuchPath)?;
    if !is_authorized(&headers, token) {
        return Err(Refusal::Unauthorized);
    }
    let body = to_bytes(body, BODY_MAX).await.map_err(|_| Refusal::Offer)?;
    let offer: Offer = serde_json::from_slice(&body).map_err(|_| Refusal::Offer)?;
    if !offer.is_sane(unix_ms()) {
        return Err(Refusal::Offer);
    }
    let stream = app.0.directory.find(&stream);
    let answer = stream.map_or(Answer::Absent, |stream| stream.pairing.lock().answer(&offer));
    Ok(classed("twin", ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()))
}

/// RFC 6750, 2.1.
fn is_authorized(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let Some((scheme, given)) = given.split_at_checked("Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.trim_ascii().ct_eq(token.as_bytes()))
}
