//! Every error of the origin as HTTP says it: status, cache lifetime, and one sentence that says what to do.

use super::answer;
use crate::streams::{MarkError, Stream};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use manifest::{DirectiveError, Position};

/// Why a request gets no resource.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no stream named {stream} is live here; publish to rtmp://HOST:{port}/live/{stream}")]
    NoSuchStream { stream: String, port: u16 },
    #[error("{stream} is starting; ask again in a second")]
    Starting { stream: String },
    #[error(
        "{stream} is to be encrypted and its key has not come; ask again in a second, or see origin.encryption.key_server"
    )]
    NoKeyYet { stream: String },
    #[error("{stream} is encrypted by whole segments, which DASH does not know; ask for /live/{stream}/index.m3u8")]
    NoMpd { stream: String },
    #[error("{stream} has no key of this id here; take it from where the playlist says, as long as that lists it")]
    NoSuchKey { stream: String },
    #[error("this is no request for clear keys: {0}; send what a browser's clear key system does")]
    License(String),
    #[error("{stream} has no rendition {rendition}; see /live/{stream}/index.m3u8 for those it has")]
    NoSuchRendition { stream: String, rendition: String },
    #[error("this part of the stream is not here, or no longer; reload the playlist")]
    NoSuchObject,
    #[error("there is no recording {id} here; see /archive/index.json for those there are")]
    NoSuchRecording { id: String },
    #[error("there is nothing at this path; streams are at /live/STREAM/index.m3u8")]
    NoSuchPath,
    #[error("this method is not answered here; its Allow field says which are")]
    Method,
    #[error("the body is longer than {bytes_max} bytes; say less at once")]
    TooLong { bytes_max: usize },
    #[error("the body did not come in time; send it again")]
    PostLate,
    #[error("the request names no host, several, or one that cannot be; send one Host field (RFC 9112, 3.2)")]
    Host,
    #[error("there are {length} bytes here and none in that range; ask for some of those")]
    Range { length: u64 },
    #[error("{0}")]
    Directive(#[from] DirectiveError),
    #[error("that is too far ahead: {next} comes next; ask for that")]
    TooFar { next: Position },
    #[error("what was waited for did not come in time; the encoder may have stalled; ask again or ask another origin")]
    Late,
    #[error("nobody publishes this stream now; ask again in a second: its publisher may come back")]
    NoPublisher,
    #[error("this needs the token of {key}, sent as `Authorization: Bearer TOKEN`")]
    Unauthorized { key: &'static str },
    #[error("no ladder: {0}; see docs/origin.md for what one says")]
    Ladder(String),
    #[error(
        "this origin has a twin, and both must cut alike: change the configuration of both, and restart one after the other"
    )]
    TwinLadder,
    #[error("no marker: {0}; see docs/origin.md for what one says")]
    Marker(String),
    #[error("{0}")]
    Markers(MarkError),
    #[error("this is no offer of an origin; both must run the same release of Vivid")]
    Offer,
    #[error("too many requests wait here; ask again in a second, or raise origin.window.holds_max")]
    TooManyHolds,
    #[error("too much is read from disk at once; ask again in a second, or raise origin.disk.files_max")]
    TooManyFiles,
    #[error("the disk did not give this in time; ask again, or ask another origin")]
    DiskLate,
    #[error("the disk cannot give this; ask another origin")]
    DiskFailed,
    #[error("the store that keeps this recording did not answer in time; ask again in some seconds")]
    StoreLate,
    #[error("the store that keeps this recording cannot be read; ask again later: the recording stays at this URL")]
    StoreFailed,
    #[error("this origin is stopping; ask another one")]
    Stopping,
}

impl Refusal {
    /// Of a stream that shows nothing yet.
    pub(super) fn starting(stream: &Stream) -> Self {
        let name = stream.name.clone();
        if stream.is_keyless() { Self::NoKeyYet { stream: name } } else { Self::Starting { stream: name } }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchStream { .. }
            | Self::Starting { .. }
            | Self::NoSuchRendition { .. }
            | Self::NoSuchObject
            | Self::NoSuchRecording { .. }
            | Self::NoSuchKey { .. }
            | Self::NoMpd { .. }
            | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host => StatusCode::BAD_REQUEST,
            Self::TooLong { .. } | Self::Markers(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::PostLate => StatusCode::REQUEST_TIMEOUT,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            // RFC 8216bis, 6.2.5.2.
            Self::Directive(_)
            | Self::TooFar { .. }
            | Self::Offer
            | Self::Marker(_)
            | Self::Ladder(_)
            | Self::License(_) => StatusCode::BAD_REQUEST,
            Self::TwinLadder => StatusCode::CONFLICT,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Late
            | Self::NoPublisher
            | Self::NoKeyYet { .. }
            | Self::TooManyHolds
            | Self::TooManyFiles
            | Self::DiskLate
            | Self::DiskFailed
            | Self::StoreLate
            | Self::StoreFailed
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // What was asked for is in some of these sentences.
        let text = self.to_string().replace(char::is_control, "?");
        let mut response = answer::text(self.status(), text + "\n");
        match self {
            Self::Range { length } => {
                answer::set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
            }
            Self::Unauthorized { .. } => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::StoreLate | Self::StoreFailed => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
            }
            Self::Starting { .. }
            | Self::NoKeyYet { .. }
            | Self::NoPublisher
            | Self::TooManyHolds
            | Self::TooManyFiles => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
