//! `/_vivid/ladders/{stream}`: whoever has the token sees the ladder of a stream that runs, changes it, or takes it back to the
//! configuration's.

use super::posted::{Rule, object, posted};
use super::{App, Refusal, Steps, answer, bearer, classed};
use crate::streams::Stream;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use config::{LadderEdit, LadderWords};
use serde::Serialize;
use std::sync::Arc;

/// What is answered to all three. `edited` says that it is not the configuration's.
#[derive(Serialize)]
struct Told {
    stream: String,
    edited: bool,
    ladder: LadderWords,
}

const KEY: &str = "origin.admin.token";
/// A ladder of all renditions there can be has a tenth of it.
const BODY_MAX: usize = 64 << 10;

pub(super) async fn shown(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    allowed(&app, &headers)?;
    let stream = app.stream(stream)?;
    told(&app, &stream)
}

/// Takes effect where the next segment begins: renditions come and go there, all at once.
pub(super) async fn edited(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let rule = Rule { token: app.0.admin_token.as_deref(), key: KEY, bytes_max: BODY_MAX };
    let body = posted(rule, &headers, body).await?;
    let stream = app.stream(stream)?;
    if app.0.directory.has_twin() {
        return Err(Refusal::TwinLadder);
    }
    let edit: LadderEdit = object(&body).map_err(Refusal::Ladder)?;
    let ladder = edit.apply(&app.0.directory.ladder(&stream)).map_err(|problems| {
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Refusal::Ladder(all.join("; "))
    })?;
    app.0.directory.check_ladder(&stream, &ladder).map_err(Refusal::Ladder)?;
    tracing::info!(stream = %stream.name, rungs = ladder.rungs.len(), "the ladder is changed where the next segment begins");
    stream.edit_ladder(Some(Arc::new(ladder)));
    told(&app, &stream)
}

pub(super) async fn withdrawn(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    allowed(&app, &headers)?;
    let stream = app.stream(stream)?;
    stream.edit_ladder(None);
    told(&app, &stream)
}

fn allowed(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    let token = app.0.admin_token.as_deref().ok_or(Refusal::NoSuchPath)?;
    if bearer::is_authorized(headers, token) { Ok(()) } else { Err(Refusal::Unauthorized { key: KEY }) }
}

fn told(app: &App, stream: &Stream) -> Result<Response, Refusal> {
    let ladder = LadderWords::from(&*app.0.directory.ladder(stream));
    let told = Told { stream: stream.name.clone(), edited: stream.edited_ladder().is_some(), ladder };
    let json = serde_json::to_string_pretty(&told).map_err(|error| Refusal::Ladder(error.to_string()))?;
    let mut response = answer::text(StatusCode::OK, format!("{json}\n"));
    answer::set(response.headers_mut(), header::CONTENT_TYPE, "application/json");
    Ok(classed("ladders", response))
}
