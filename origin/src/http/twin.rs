//! `POST /_vivid/twin/{stream}`: what the other of two origins asks before it begins an epoch.

use super::posted::{Rule, object, posted};
use super::{App, Refusal, Steps, classed};
use crate::clock::unix_ms;
use crate::twin::{Answer, BODY_MAX, Offer};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

/// Answers an offer with the epoch that both are to run.
pub(super) async fn offered(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let rule = Rule { token: app.0.twin_token.as_deref(), key: "origin.twin.token", bytes_max: BODY_MAX };
    let body = posted(rule, &headers, body).await?;
    let offer: Offer = object(&body).map_err(|_| Refusal::Offer)?;
    if !offer.is_sane(unix_ms()) {
        return Err(Refusal::Offer);
    }
    let stream = app.0.directory.find(&stream);
    let answer = stream.map_or(Answer::Absent, |stream| stream.pairing.lock().answer(&offer));
    Ok(classed("twin", ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()))
}
