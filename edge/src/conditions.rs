//! Conditions and ranges of a request (RFC 9110, 13 and 14) against an object that was found.

use crate::object::{Head, Object};
use crate::range::Range;
use crate::refusal::Refusal;
use crate::reply::Body;
use crate::request::{Method, Request};
use http::StatusCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What the viewer gets of a whole object.
///
/// # Errors
/// `Range` if it asks for what lies beyond the end.
pub fn of_whole(request: &Request, object: Arc<Object>) -> Result<Body, Refusal> {
    // RFC 9110, 13.2.1 and 14.2: conditions and ranges are about what was found.
    if object.head.status != StatusCode::OK {
        return Ok(Body::Object(object));
    }
    if is_not_modified(request, &object.head) {
        return Ok(Body::NotModified(object));
    }
    match range(request, &object.head) {
        Some(range) => {
            let slice = range.of(object.length)?;
            Ok(Body::Slice(object, slice))
        }
        None => Ok(Body::Object(object)),
    }
}

/// The range that the viewer asks for, if it is one of this version. RFC 9110, 14.2: only GET has ranges.
pub fn range(request: &Request, head: &Head) -> Option<Range> {
    let value = request.range.as_deref().filter(|_| request.method == Method::Get)?;
    let range = Range::read(std::str::from_utf8(value).ok()?)?;
    is_same(request, head).then_some(range)
}

/// RFC 9110, 13.2.2: a date is looked at only where no entity tag is given.
fn is_not_modified(request: &Request, head: &Head) -> bool {
    if let Some(condition) = request.if_none_match.as_deref() {
        return head.etag.as_deref().is_some_and(|etag| is_listed(etag, condition));
    }
    let since = request.if_modified_since.as_deref().and_then(date);
    since.is_some_and(|since| head.last_modified.as_deref().and_then(date).is_some_and(|modified| modified <= since))
}

/// RFC 9110, 13.1.5: a range of another version is no range at all, and only a strong validator tells versions apart.
fn is_same(request: &Request, head: &Head) -> bool {
    let Some(given) = request.if_range.as_deref().map(<[u8]>::trim_ascii) else { return true };
    let strong_etag = head.etag.as_deref().filter(|etag| !etag.starts_with(b"W/"));
    let strong_date = head.last_modified.as_deref().filter(|modified| is_strong(modified, head));
    strong_etag == Some(given) || strong_date == Some(given)
}

/// RFC 9110, 8.8.2.2: whatever was changed twice in a second has the same date for two versions, so a date tells
/// versions apart only where the answer was made later than that.
fn is_strong(modified: &[u8], head: &Head) -> bool {
    let made = head.field("date").and_then(|made| date(made.as_bytes()));
    made.zip(date(modified)).is_some_and(|(made, modified)| made >= modified + Duration::from_secs(1))
}

fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

/// Whether an entity tag is in a list such as `"a", W/"b"`; comparison is weak (RFC 9110, 8.8.3.2).
fn is_listed(etag: &[u8], list: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    list.trim_ascii() == b"*" || list.split(|byte| *byte == b',').any(|tag| opaque(tag.trim_ascii()) == opaque(etag))
}
