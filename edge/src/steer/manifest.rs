//! Which answers begin a session, so that their viewer may be sent to another edge.

use crate::key::Class;
use crate::object::Object;
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
        if !matches!(class, Class::Playlist | Class::Mpd | Class::Other) {
            return None;
        }
        let (head, object) = match body {
            Body::Object(object) | Body::Slice(object, _) | Body::NotModified(object) => (&object.head, Some(object)),
            Body::Growing { head, .. } => (head, None),
            _ => return None,
        };
        if head.status != StatusCode::OK {
            None
        } else if head.is_mpd() {
            Some(Self::Mpd)
        } else {
            object.filter(|object| is_multivariant(object)).map(|_| Self::Multivariant)
        }
    }
}

fn is_multivariant(object: &Object) -> bool {
    let first = object.beginning().and_then(|chunk| is_multivariant_text(chunk));
    first.unwrap_or_else(|| {
        object.chunks.len() > 1 && object.text().is_some_and(|text| is_multivariant_text(&text).unwrap_or(false))
    })
}
