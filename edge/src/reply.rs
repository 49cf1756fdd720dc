//! An answer as a value, and the bytes of its header: what any transport writes, decided by none.

use crate::fill::Reader;
use crate::key::Class;
use crate::object::{Head, Object, put_decimal, put_number, put_status_line};
use crate::playlists::Version;
use crate::range::Slice;
use crate::refusal::Refusal;
use bytes::BufMut;
use http::StatusCode;
use std::sync::Arc;
use std::time::Instant;

/// What a viewer gets.
pub struct Reply {
    pub class: Class,
    pub body: Body,
    pub note: Note,
    /// The viewer was held for this version: its release is measured when the answer is written.
    pub held: Option<Arc<Version>>,
}

pub enum Body {
    Object(Arc<Object>),
    Slice(Arc<Object>, Slice),
    NotModified(Arc<Object>),
    Growing {
        head: Arc<Head>,
        reader: Reader,
        /// Only of a growing object whose length is known.
        slice: Option<Slice>,
    },
    Refusal(Refusal),
    /// This node's own answer: content type and text.
    Text(&'static str, String),
    /// The answer to a browser that asks whether it may ask.
    Preflight,
}

/// What `Cache-Status` (RFC 9211) says of this hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    Hit,
    /// Served although upstream has not confirmed it lately.
    Stale,
    /// What was stored was too old to be shown: upstream confirmed it or gave a new one.
    Expired,
    /// Fetched for this viewer, and kept for the next.
    Stored,
    /// Fetched for this viewer alone.
    Miss,
    Collapsed,
    /// Waited for the version that upstream was already asked for.
    Held,
    Refused,
    /// A page of the node itself; the field is left out.
    Own,
}

/// How the transport frames the answer.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub http10: bool,
    pub keep_alive: bool,
}

/// The `Cache-Status` lines of this node, made once.
pub struct Notes {
    lines: [Vec<u8>; 8],
}

impl Notes {
    pub fn new(name: &str) -> Self {
        let line = |said: &str| format!("Cache-Status: {name}; {said}\r\n").into_bytes();
        Self {
            lines: [
                line("hit"),
                line("hit; detail=stale"),
                line("fwd=stale"),
                line("fwd=miss; stored"),
                line("fwd=miss"),
                line("fwd=miss; collapsed"),
                line("fwd=miss; collapsed; detail=held"),
                line("detail=refused"),
            ],
        }
    }

    fn line(&self, note: Note) -> &[u8] {
        self.lines.get(note as usize).map_or(&[], Vec::as_slice)
    }
}

impl Reply {
    pub fn refusal(class: Class, refusal: Refusal) -> Self {
        Self { class, body: Body::Refusal(refusal), note: Note::Refused, held: None }
    }

    pub fn status(&self) -> StatusCode {
        match &self.body {
            Body::Object(object) => object.head.status,
            Body::Slice(_, slice) | Body::Growing { slice: Some(slice), .. } => slice.status(),
            Body::NotModified(_) => StatusCode::NOT_MODIFIED,
            Body::Growing { head, .. } => head.status,
            Body::Refusal(refusal) => refusal.status(),
            Body::Text(..) => StatusCode::OK,
            Body::Preflight => StatusCode::NO_CONTENT,
        }
    }

    /// The length of the body, where it is known before it is sent.
    pub fn length(&self) -> Option<u64> {
        match &self.body {
            Body::Object(object) => Some(object.length),
            Body::Slice(_, slice) | Body::Growing { slice: Some(slice), .. } => Some(slice.length()),
            Body::Growing { head, .. } => head.length,
            Body::NotModified(_) | Body::Preflight => Some(0),
            Body::Refusal(refusal) => Some(refusal.to_string().len() as u64 + 1),
            Body::Text(_, text) => Some(text.len() as u64),
        }
    }

    /// Appends the whole header block, status line to empty line, in the spelling of HTTP/1.1.
    pub fn put_head(&self, out: &mut Vec<u8>, frame: Frame, notes: &Notes, now: Instant) {
        match &self.body {
            Body::Object(object) => {
                out.put_slice(&object.start);
                out.put_slice(b"Accept-Ranges: bytes\r\n");
                put_age(out, &object.head, now);
            }
            Body::Slice(object, slice) => put_slice_head(out, &object.head, (*slice, Some(object.length)), now),
            Body::NotModified(object) => {
                put_status_line(out, StatusCode::NOT_MODIFIED);
                out.put_slice(&object.head.fields);
                put_age(out, &object.head, now);
            }
            Body::Growing { head, slice: Some(slice), .. } => put_slice_head(out, head, (*slice, head.length), now),
            Body::Growing { head, slice: None, .. } => self.put_growing_head(out, head, now),
            Body::Refusal(refusal) => put_refusal(out, *refusal),
            Body::Text(content_type, text) => {
                put_status_line(out, StatusCode::OK);
                put_text(out, content_type, text.len());
            }
            Body::Preflight => out.put_slice(PREFLIGHT),
        }
        out.put_slice(notes.line(self.note));
        match (frame.keep_alive, frame.http10) {
            (false, _) => out.put_slice(b"Connection: close\r\n"),
            (true, true) => out.put_slice(b"Connection: keep-alive\r\n"),
            (true, false) => {}
        }
        out.put_slice(b"\r\n");
    }

    fn put_growing_head(&self, out: &mut Vec<u8>, head: &Head, now: Instant) {
        put_status_line(out, head.status);
        out.put_slice(&head.fields);
        match head.length {
            Some(length) => put_number(out, b"Content-Length: ", length),
            None => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        put_age(out, head, now);
    }
}

/// `whole`: the length of all of it, where it is known.
fn put_slice_head(out: &mut Vec<u8>, head: &Head, (slice, whole): (Slice, Option<u64>), now: Instant) {
    put_status_line(out, slice.status());
    out.put_slice(&head.fields);
    out.put_slice(b"Content-Range: bytes ");
    match slice {
        Slice::Part { first, last } => {
            put_decimal(out, first);
            out.put_slice(b"-");
            put_decimal(out, last);
        }
        Slice::Unsatisfiable => out.put_slice(b"*"),
    }
    match whole {
        Some(whole) => put_number(out, b"/", whole),
        None => out.put_slice(b"/*\r\n"),
    }
    put_number(out, b"Content-Length: ", slice.length());
    put_age(out, head, now);
}

/// RFC 9111, 5.1: every answer that this node did not fetch for its viewer says how old it is.
fn put_age(out: &mut Vec<u8>, head: &Head, now: Instant) {
    put_number(out, b"Age: ", now.saturating_duration_since(head.born).as_secs());
}

fn put_refusal(out: &mut Vec<u8>, refusal: Refusal) {
    put_status_line(out, refusal.status());
    put_text(out, "text/plain; charset=utf-8", refusal.to_string().len() + 1);
    if let Some(seconds) = refusal.retry_after() {
        put_number(out, b"Retry-After: ", seconds.into());
    }
    if refusal == Refusal::Unauthorized {
        out.put_slice(b"WWW-Authenticate: Bearer\r\n");
    }
    if refusal == Refusal::Method {
        out.put_slice(b"Allow: GET, HEAD, OPTIONS\r\n");
    }
}

fn put_text(out: &mut Vec<u8>, content_type: &str, length: usize) {
    out.put_slice(b"Content-Type: ");
    out.put_slice(content_type.as_bytes());
    out.put_slice(b"\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n");
    put_number(out, b"Content-Length: ", length as u64);
}

/// Players that send CMCD as header fields, or `Range`, make browsers ask first (Fetch, 3.2).
const PREFLIGHT: &[u8] = b"HTTP/1.1 204 No Content\r\n\
    Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n\
    Access-Control-Allow-Headers: *, Range, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status\r\n\
    Access-Control-Max-Age: 86400\r\n";

impl Slice {
    fn status(self) -> StatusCode {
        match self {
            Self::Part { .. } => StatusCode::PARTIAL_CONTENT,
            Self::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// Bytes of the body of an answer with this slice.
    pub fn length(self) -> u64 {
        match self {
            Self::Part { first, last } => last - first + 1,
            Self::Unsatisfiable => 0,
        }
    }
}
