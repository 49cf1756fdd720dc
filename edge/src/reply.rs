//! An answer as a value, and the bytes of its header: what any transport writes, decided by none.

use crate::cache_status::{Note, Notes};
use crate::key::Class;
use crate::object::{Head, Object, put_decimal, put_lines, put_number, put_status_line};
use crate::playlists::Version;
use crate::qoe::cmsd::Entry;
use crate::range::Slice;
use crate::refusal::Refusal;
use crate::steer::said::Steered;
use crate::store::pieces::Reader;
use crate::upstream::PeerId;
use bytes::{BufMut, Bytes};
use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What a viewer gets.
pub struct Reply {
    pub class: Class,
    pub body: Body,
    pub note: Note,
    /// The viewer was held for this version: its release is measured when the answer is written.
    pub held: Option<Arc<Version>>,
    /// Whoever published wrote the answer already; this is what its socket did not take.
    pub rest: Option<Bytes>,
}

pub enum Body {
    Object(Arc<Object>),
    Slice(Arc<Object>, Slice),
    NotModified(Arc<Object>),
    Growing {
        head: Arc<Head>,
        reader: Reader,
        slice: Option<Slice>,
    },
    Refusal(Refusal),
    /// This node's own answer: content type and text.
    Text(&'static str, String),
    /// The answer to a browser that asks whether it may ask, and to a player that reports: nothing more is said.
    Preflight,
    /// The viewer is sent to another edge.
    Steered(Box<Steered>),
}

/// How the transport frames the answer.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub http10: bool,
    pub keep_alive: bool,
}

/// What an answer says beside what it carries: of this node, and of the path to this viewer.
#[derive(Clone, Copy)]
pub struct Aside<'a> {
    pub notes: &'a Notes,
    pub cmsd: Option<Entry<'a>>,
    pub now: Instant,
}

impl Reply {
    pub fn refusal(class: Class, refusal: Refusal) -> Self {
        let note = if refusal.is_upstreams() { Note::Miss } else { Note::Refused };
        Self { class, body: Body::Refusal(refusal), note, held: None, rest: None }
    }

    /// A page of this node's own, or why it is not given.
    pub fn own(body: Body) -> Self {
        let note = if matches!(body, Body::Refusal(_)) { Note::Refused } else { Note::Own };
        Self { class: Class::Other, body, note, held: None, rest: None }
    }

    pub fn status(&self) -> StatusCode {
        match &self.body {
            Body::Object(object) => object.head.status,
            Body::Slice(..) | Body::Growing { slice: Some(_), .. } => StatusCode::PARTIAL_CONTENT,
            Body::NotModified(_) => StatusCode::NOT_MODIFIED,
            Body::Growing { head, .. } => head.status,
            Body::Refusal(refusal) => refusal.status(),
            Body::Text(..) => StatusCode::OK,
            Body::Preflight => StatusCode::NO_CONTENT,
            Body::Steered(steered) => steered.status(),
        }
    }

    /// The length of the body, where it is known before it is sent.
    pub fn length(&self) -> Option<u64> {
        match &self.body {
            Body::Object(object) => Some(object.length),
            Body::Slice(_, slice) | Body::Growing { slice: Some(slice), .. } => slice.length(),
            Body::Growing { head, .. } => head.length,
            Body::NotModified(_) | Body::Preflight => Some(0),
            Body::Refusal(refusal) => Some(refusal.to_string().len() as u64 + 1),
            Body::Text(_, text) => Some(text.len() as u64),
            Body::Steered(steered) => Some(steered.text().len() as u64),
        }
    }

    /// Appends the whole header block, status line to empty line, in the spelling of HTTP/1.1.
    pub fn put_head(&self, out: &mut Vec<u8>, frame: Frame, aside: Aside<'_>) {
        if let Body::Object(object) = &self.body {
            out.put_slice(&object.start);
        } else {
            put_status_line(out, self.status());
            if let Some(head) = self.kept() {
                out.put_slice(&head.fields);
            }
            match (self.said_length(), &self.body) {
                (Some(length), _) => put_number(out, b"Content-Length: ", length),
                (None, Body::Growing { .. }) => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
                (None, _) => {}
            }
        }
        self.put_own(out, aside);
        match (frame.keep_alive, frame.http10) {
            (false, _) => out.put_slice(b"Connection: close\r\n"),
            (true, true) => out.put_slice(b"Connection: keep-alive\r\n"),
            (true, false) => {}
        }
        out.put_slice(b"\r\n");
    }

    /// The head as a framed transport carries it: the same fields, less those about framing (RFC 9113, 8.2.2).
    pub fn response(&self, aside: Aside<'_>) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status();
        let fields = response.headers_mut();
        if let Some(head) = self.kept() {
            fields.clone_from(head.map());
        }
        if let Some(length) = self.said_length() {
            fields.insert(CONTENT_LENGTH, length.into());
        }
        let mut own = Vec::with_capacity(256);
        self.put_own(&mut own, aside);
        put_lines(fields, &own);
        response
    }

    /// What was kept for all viewers of this answer.
    fn kept(&self) -> Option<&Head> {
        match &self.body {
            Body::Object(object) | Body::Slice(object, _) | Body::NotModified(object) => Some(&object.head),
            Body::Growing { head, .. } => Some(head),
            Body::Refusal(_) | Body::Text(..) | Body::Preflight | Body::Steered(_) => None,
        }
    }

    /// Which upstream it came from, now or before.
    pub fn source(&self) -> Option<PeerId> {
        self.kept().and_then(|head| head.source)
    }

    /// Why it is a refusal.
    pub fn detail(&self) -> Option<&'static str> {
        match &self.body {
            Body::Refusal(refusal) => Some(refusal.token()),
            _ => None,
        }
    }

    /// For how many seconds it is still fresh; below 0 where it is stale.
    fn ttl(&self, now: Instant) -> Option<i64> {
        let (Body::Object(object) | Body::Slice(object, _) | Body::NotModified(object)) = &self.body else {
            return None;
        };
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        Some(match object.fresh_until.checked_duration_since(now) {
            Some(left) => seconds(left),
            None => -seconds(now.saturating_duration_since(object.fresh_until)),
        })
    }

    /// RFC 9110, 8.6: an answer that never has a body says no length.
    fn said_length(&self) -> Option<u64> {
        match self.body {
            Body::NotModified(_) | Body::Preflight => None,
            _ => self.length(),
        }
    }

    /// The field lines that are made anew for each answer.
    fn put_own(&self, out: &mut Vec<u8>, aside: Aside<'_>) {
        match &self.body {
            Body::Object(_) => out.put_slice(b"Accept-Ranges: bytes\r\n"),
            Body::Slice(object, slice) => put_content_range(out, *slice, Some(object.length)),
            Body::Growing { head, slice: Some(slice), .. } => put_content_range(out, *slice, head.length),
            Body::Growing { head, slice: None, .. } if head.length.is_some() => {
                out.put_slice(b"Accept-Ranges: bytes\r\n")
            }
            Body::Growing { slice: None, .. } | Body::NotModified(_) => {}
            Body::Refusal(refusal) => put_refusal(out, *refusal),
            Body::Text(content_type, _) => put_text(out, content_type),
            Body::Preflight => out.put_slice(PREFLIGHT),
            Body::Steered(steered) => steered.put_fields(out),
        }
        if self.kept().is_some_and(|head| head.dated) {
            put_date(out);
        } else if let Some(head) = self.kept() {
            // RFC 9111, 5.1: every answer that this node did not fetch for its viewer says how old it is.
            put_number(out, b"Age: ", aside.now.saturating_duration_since(head.born).as_secs());
        }
        if let Some(entry) = aside.cmsd {
            entry.put(out, self.kept().and_then(|head| head.cmsd.as_deref()).filter(|_| self.note.is_fetched()));
        }
        aside.notes.put(out, self.note, self.detail(), self.ttl(aside.now));
    }
}

fn put_date(out: &mut Vec<u8>) {
    out.put_slice(b"Date: ");
    out.put_slice(httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    out.put_slice(b"\r\n");
}

/// `whole`: the length of all of it, where it is known.
fn put_content_range(out: &mut Vec<u8>, slice: Slice, whole: Option<u64>) {
    let (first, last) = slice.ends();
    out.put_slice(b"Content-Range: bytes ");
    put_decimal(out, first);
    out.put_slice(b"-");
    put_decimal(out, last);
    match whole {
        Some(whole) => put_number(out, b"/", whole),
        None => out.put_slice(b"/*\r\n"),
    }
}

fn put_refusal(out: &mut Vec<u8>, refusal: Refusal) {
    put_text(out, "text/plain; charset=utf-8");
    if let Some(seconds) = refusal.retry_after() {
        put_number(out, b"Retry-After: ", seconds.into());
    }
    match refusal {
        Refusal::Unauthorized => out.put_slice(b"WWW-Authenticate: Bearer\r\n"),
        Refusal::Method => out.put_slice(b"Allow: GET, HEAD, OPTIONS\r\n"),
        Refusal::Range { length } => put_number(out, b"Content-Range: bytes */", length),
        _ => {}
    }
}

fn put_text(out: &mut Vec<u8>, content_type: &str) {
    out.put_slice(b"Content-Type: ");
    out.put_slice(content_type.as_bytes());
    out.put_slice(b"\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n");
}

/// Players that send CMCD as header fields, or `Range`, make browsers ask first (Fetch, 3.2).
const PREFLIGHT: &[u8] = b"\
    Access-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Methods: GET, HEAD, OPTIONS, POST\r\n\
    Access-Control-Allow-Headers: *, Content-Type, Range, CMCD-Object, CMCD-Request, CMCD-Session, CMCD-Status\r\n\
    Access-Control-Max-Age: 86400\r\n";
