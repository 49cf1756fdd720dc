//! Whether an MPD that came can be read: an upstream that gives another one has failed, and the next is asked.

use super::{Answer, Errand, PeerId, Upstreams};
use crate::key::Class;
use crate::object::is_dash;
use crate::playlists::PLAYLIST_BYTES_MAX;
use crate::refusal::Refusal;
use http::{StatusCode, header};
use manifest::mpd;
use std::sync::Arc;

impl Upstreams {
    /// Asks one upstream, and tells whether its answer is anything but an MPD that cannot be read. One that is longer than
    /// any, or packed, is not judged.
    pub(super) async fn ask_readable(
        self: &Arc<Self>,
        id: PeerId,
        errand: &Errand<'_>,
    ) -> (Result<Answer, Refusal>, bool) {
        match self.ask(id, errand).await {
            Ok(mut answer) if self.are_several() && is_mpd(&answer, errand.class) => {
                match answer.read_ahead(PLAYLIST_BYTES_MAX).await {
                    Ok(text) => {
                        let is_readable = |text: &[u8]| str::from_utf8(text).is_ok_and(|text| mpd::read(text).is_ok());
                        let readable = text.is_none_or(|text| is_readable(&text));
                        (Ok(answer), readable)
                    }
                    Err(refusal) => (Err(refusal), true),
                }
            }
            got => (got, true),
        }
    }
}

/// By its name or by its type.
fn is_mpd(answer: &Answer, class: Class) -> bool {
    let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_whole = answer.status == StatusCode::OK && !answer.headers.contains_key(header::CONTENT_ENCODING);
    is_whole && (class == Class::Mpd || kind.is_some_and(is_dash))
}
