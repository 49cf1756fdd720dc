//! Any multivariant playlist, with every CDN declared as a pathway of it, and nothing else changed.
//!
//! A playlist is read once into a [`Template`] and rendered for each viewer. Edits are spliced into the original bytes:
//! unknown tags and attributes, comments, order, line ends and signed queries stay as the packager wrote them.

pub(crate) mod attributes;
mod read;
mod resolve;

use crate::steering::{PathwayId, ServerUri};

/// Where a playlist comes from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The playlist's own URL: what its relative URIs are relative to.
    pub playlist_url: &'a str,
    /// What each CDN serves a copy of, without a trailing slash. URIs under it move to the CDN; others stay where they are.
    pub base_url: &'a str,
}

/// A CDN that viewers may be sent to.
#[derive(Clone, Copy, Debug)]
pub struct Pathway<'a> {
    pub id: &'a PathwayId,
    /// What stands on this CDN for [`Source::base_url`], without a trailing slash.
    pub base_url: &'a str,
}

/// A multivariant playlist, ready to be written for any order of pathways.
///
/// Every variant, I-frame variant and audio, video or subtitle rendition is repeated for each pathway, with a group of its
/// own: a group shared between pathways would keep a player on the CDN it wants to leave. Closed captions travel inside
/// the video, so their groups are shared. If the playlist has pathways already, those of its own first choice are the
/// pattern and the others go: all pathways carry the same content, and which ones exist is for this router to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    items: Vec<Item>,
    line_end: &'static str,
    /// Bytes of all items, to size the result.
    length: usize,
}

/// Why a playlist cannot be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    #[error("this is no playlist: its first line is not #EXTM3U")]
    NotAPlaylist,
    #[error("this is a media playlist; pathways are declared in the multivariant playlist above it")]
    MediaPlaylist,
    #[error("the multivariant playlist has no EXT-X-STREAM-INF with a URI")]
    NoVariant,
    #[error("the playlist has more than {ENTRIES_MAX} lines of variants and renditions")]
    TooManyEntries,
    #[error("the variables of EXT-X-DEFINE make the playlist longer than {EXPANSION_MAX} bytes")]
    ExpansionTooLong,
}

/// Variants, their URIs and renditions of one playlist. The longest ladders in use have a few hundred.
pub const ENTRIES_MAX: usize = 8192;
/// What variables may add to the URIs of one playlist: a line of text could otherwise ask for gigabytes.
pub const EXPANSION_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    /// Written once, for the first pathway.
    Once(Vec<Piece>),
    /// Written for every pathway.
    Each(Vec<Piece>),
    /// EXT-X-CONTENT-STEERING.
    Steering,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The pathway's id.
    Id,
    /// The pathway's base URL.
    Base,
}

impl Template {
    /// Reads `text`. The work and the result are linear in its length, apart from the two bounds of this module.
    pub fn parse(text: &str, source: &Source<'_>) -> Result<Self, RewriteError> {
        let playlist = read::Playlist::scan(text)?;
        let items = playlist.items(source)?;
        let length = items.iter().map(Item::length).sum();
        Ok(Self { items, line_end: playlist.line_end, length })
    }

    /// The playlist for a viewer whose best CDN is `first`: the original with its URIs on that CDN, then the variants of
    /// `others` in their order. `server_uri` is where the viewer's player asks for steering.
    pub fn render(&self, first: Pathway<'_>, others: &[Pathway<'_>], server_uri: &ServerUri) -> String {
        let mut text = String::with_capacity((self.length + 256) * (others.len() + 1));
        for item in &self.items {
            match item {
                Item::Once(pieces) | Item::Each(pieces) => push(&mut text, pieces, first),
                Item::Steering => self.push_steering(&mut text, first, server_uri),
            }
        }
        for &pathway in others {
            for item in &self.items {
                if let Item::Each(pieces) = item {
                    push(&mut text, pieces, pathway);
                }
            }
        }
        text
    }

    /// About how many bytes it holds, and a rendering takes for each pathway.
    pub fn length(&self) -> usize {
        self.length
    }

    fn push_steering(&self, text: &mut String, first: Pathway<'_>, server_uri: &ServerUri) {
        for part in [
            "#EXT-X-CONTENT-STEERING:SERVER-URI=\"",
            server_uri.as_str(),
            "\",PATHWAY-ID=\"",
            first.id.as_str(),
            "\"",
            self.line_end,
        ] {
            text.push_str(part);
        }
    }
}

/// The same multivariant playlist for whoever has it from elsewhere: every URI absolute, and those under
/// `source.base_url` moved to `base_url`. Nothing else changes, not even which pathways there are.
///
/// # Errors
/// As [`Template::parse`].
pub fn relocate(text: &str, source: &Source<'_>, base_url: &str) -> Result<String, RewriteError> {
    let pieces = read::Playlist::scan(text)?.relocated(source)?;
    let mut moved = String::with_capacity(pieces.iter().map(Piece::length).sum::<usize>() + text.len() / 2);
    for piece in &pieces {
        moved.push_str(match piece {
            Piece::Text(literal) => literal,
            Piece::Id | Piece::Base => base_url,
        });
    }
    Ok(moved)
}

impl Item {
    fn length(&self) -> usize {
        match self {
            Self::Once(pieces) | Self::Each(pieces) => pieces.iter().map(Piece::length).sum(),
            Self::Steering => 0,
        }
    }
}

impl Piece {
    fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            // An id or a URL as long as most are; it only sizes a buffer.
            Self::Id | Self::Base => 24,
        }
    }
}

fn push(text: &mut String, pieces: &[Piece], pathway: Pathway<'_>) {
    for piece in pieces {
        text.push_str(match piece {
            Piece::Text(literal) => literal,
            Piece::Id => pathway.id.as_str(),
            Piece::Base => pathway.base_url,
        });
    }
}
