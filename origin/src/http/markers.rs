//! `POST /_vivid/markers/{stream}`: whoever has the token says something of a range of the stream's time.

use super::posted::{Rule, object, posted};
use super::{App, Refusal, Steps, answer, classed};
use crate::clock::unix_ms;
use crate::epoch::TIME_MAX_MS;
use crate::streams::{DURATION_MAX_S, MarkError};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use manifest::DateRange;
use manifest::date_range::Scte35;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The body of a request, as JSON. Times are Unix milliseconds, durations seconds, SCTE-35 hexadecimal digits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    id: String,
    class: Option<String>,
    /// Now, where it is not said.
    start_unix_ms: Option<i64>,
    duration_s: Option<f64>,
    planned_duration_s: Option<f64>,
    #[serde(default)]
    end_on_next: bool,
    scte35_out: Option<String>,
    scte35_in: Option<String>,
    scte35_cmd: Option<String>,
    /// `X-` names and their texts.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

const BODY_MAX: usize = 64 << 10;

/// Adds the marker, or what is new of it, to every playlist of the stream.
pub(super) async fn marked(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let rule = Rule { token: app.0.markers_token.as_deref(), key: "origin.markers.token", bytes_max: BODY_MAX };
    let body = posted(rule, &headers, body).await?;
    let stream = app.stream(stream)?;
    let Said { range, starts } = read(&body).map_err(Refusal::Marker)?;
    let marked = stream.mark(range, (starts, unix_ms(), app.0.markers_max));
    app.0.metrics.marked("http", &marked);
    marked.map_err(|error| match error {
        MarkError::Full { .. } => Refusal::Markers(error),
        MarkError::Range(error) => Refusal::Marker(error.to_string()),
    })?;
    Ok(classed("markers", answer::text(StatusCode::OK, "marked\n".to_owned())))
}

/// A marker, and whether it says when it starts.
pub(crate) struct Said {
    pub(crate) range: DateRange,
    pub(crate) starts: bool,
}

/// Why it is none is said in words.
pub(crate) fn read(body: &[u8]) -> Result<Said, String> {
    let marker: Marker = object(body)?;
    let starts = marker.start_unix_ms.is_some();
    let range = marker.range().ok_or("a duration or a time is out of range")?;
    Ok(Said { range, starts })
}

impl Marker {
    fn range(self) -> Option<DateRange> {
        let hex = |hex: Option<String>| hex.map(|hex| hex.trim_start_matches("0x").to_ascii_lowercase());
        let start_unix_ms = self.start_unix_ms.unwrap_or_default();
        (0..=TIME_MAX_MS).contains(&start_unix_ms).then_some(())?;
        Some(DateRange {
            id: self.id,
            class: self.class,
            start_unix_ms,
            duration: seconds(self.duration_s)?,
            planned_duration: seconds(self.planned_duration_s)?,
            end_on_next: self.end_on_next,
            scte35: Scte35 { out: hex(self.scte35_out), back: hex(self.scte35_in), command: hex(self.scte35_cmd) },
            more: self.attributes.into_iter().collect(),
        })
    }
}

fn seconds(seconds: Option<f64>) -> Option<Option<Duration>> {
    let Some(seconds) = seconds else { return Some(None) };
    let usual = seconds <= DURATION_MAX_S;
    Duration::try_from_secs_f64(seconds).ok().filter(|_| usual).map(Some)
}
