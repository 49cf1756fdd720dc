//! Which answers begin a session, so that their viewer may be sent to another edge.

use crate::key::Class;
use crate::object::{Head, Object};
use crate::reply::Body;
use http::StatusCode;
use manifest::multivariant::is_multivariant as is_multivariant_text;

/// A manifest that begins a session. Media playlists are none: a player that has begun is not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manifest {
    Multivariant,
    Mpd,
}

impl Manifest {
    /// By what the answer is, and not by how its URL is spelt.
    pub fn of(class: Class, body: &Body) -> Option<Self> {
        if !matches!(class, Class::Playlist | Class::Other) {
            return None;
        }
        let (head, object) = match body {
            Body::Object(object) | Body::Slice(object, _) | Body::NotModified(object) => (&object.head, Some(object)),
            Body::Growing { head, .. } => (head, None),
            _ => return None,
        };
        if head.status != StatusCode::OK {
            None
        } else if is_mpd(head) {
            Some(Self::Mpd)
        } else {
            object.filter(|object| is_multivariant(object)).map(|_| Self::Multivariant)
        }
    }
}

/// ISO/IEC 23009-1, annex C registers the type.
fn is_mpd(head: &Head) -> bool {
    let kind = head.field("content-type").and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/dash+xml"))
}

fn is_multivariant(object: &Object) -> bool {
    let first = object.chunks.first().and_then(|chunk| is_multivariant_text(chunk));
    let several = object.chunks.len() > 1;
    first.unwrap_or_else(|| several && is_multivariant_text(&object.chunks.concat()).unwrap_or(false))
}
