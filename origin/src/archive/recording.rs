//! What is known of a recording: one life of a stream that has ended. As JSON beside its segments, and in every tier. Pure.

use crate::epoch::{NUMBER_MAX, TIME_MAX_MS};
use crate::keys::{hex, unhex};
use config::HOT;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Its name in URLs, folders and stores. Older ones come first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Id {
    /// When the stream began, in Unix milliseconds.
    pub(crate) started: u64,
    pub(crate) stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recording {
    #[serde(flatten)]
    pub(crate) id: Id,
    pub(crate) ended_unix_ms: i64,
    pub(crate) duration_ms: u64,
    /// Of all its files.
    pub(crate) bytes: u64,
    /// The tier that it is read from.
    pub(crate) tier: String,
    /// What its segments are encrypted with.
    #[serde(default, skip_serializing_if = "KeyIds::is_empty")]
    pub(crate) keys: KeyIds,
    /// There is no MPD: DASH does not know how some of it is encrypted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) only_hls: bool,
    /// Where it was before, and still is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) former: Option<Former>,
    /// It is no longer shown, and what there is of it is to go.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) removing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Former {
    pub(crate) tier: String,
    /// When it moved.
    pub(crate) unix_ms: i64,
}

/// Ids of keys, never the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<String>", from = "Vec<String>")]
pub(crate) struct KeyIds(Arc<BTreeSet<[u8; 16]>>);

/// The file of a recording, in its folder: once it is there, all else is.
pub(crate) const FILE: &str = "recording.json";
/// The folder of a store that has a file for each recording which is there whole. No stream has such a name.
pub(crate) const MARKS: &str = ".recordings";

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.started)
    }
}

impl Id {
    /// From the names of the folders of stream and life, in their only spelling.
    pub(crate) fn parse(stream: &str, started: &str) -> Option<Self> {
        let number = started.parse::<u64>().ok().filter(|number| number.to_string() == started)?;
        // What comes after it is to have a number as well.
        (number < TIME_MAX_MS as u64).then_some(())?;
        config::is_stream_name(stream).then(|| Self { started: number, stream: stream.to_owned() })
    }

    /// The name of its mark in a store.
    pub(crate) fn mark(&self) -> String {
        format!("{MARKS}/{self}.json")
    }

    /// Whose mark that is.
    pub(crate) fn of_mark(name: &str) -> Option<Self> {
        let (stream, started) = name.strip_prefix(MARKS)?.strip_prefix('/')?.strip_suffix(".json")?.split_once('/')?;
        Self::parse(stream, started)
    }
}

impl KeyIds {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, id: &[u8; 16]) -> bool {
        self.0.contains(id)
    }
}

impl FromIterator<[u8; 16]> for KeyIds {
    fn from_iter<I: IntoIterator<Item = [u8; 16]>>(ids: I) -> Self {
        Self(Arc::new(ids.into_iter().collect()))
    }
}

impl From<Vec<String>> for KeyIds {
    /// What is no id is of no key.
    fn from(ids: Vec<String>) -> Self {
        ids.iter().filter_map(|id| unhex(id)).collect()
    }
}

impl From<KeyIds> for Vec<String> {
    fn from(ids: KeyIds) -> Self {
        ids.0.iter().map(hex).collect()
    }
}

impl Recording {
    /// Shown no more, and to be removed.
    pub(super) fn withdrawn(self) -> Self {
        Self { removing: true, ..self }
    }

    /// All of it is in the origin's folder, where its segments were written.
    pub(crate) fn is_whole_here(&self) -> bool {
        self.tier == HOT
    }

    /// As its file says it.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// `None` where that is no recording of this name.
    pub(crate) fn read(text: &[u8], id: &Id) -> Option<Self> {
        serde_json::from_slice::<Self>(text).ok().filter(|recording| recording.id == *id && recording.is_sane())
    }

    /// Whether its numbers can be: they may come out of somebody else's store, and are added up.
    fn is_sane(&self) -> bool {
        let moved = self.former.as_ref().map(|former| former.unix_ms);
        let times = [Some(self.ended_unix_ms), moved].into_iter().flatten();
        self.bytes < NUMBER_MAX
            && self.duration_ms < NUMBER_MAX
            && times.into_iter().all(|ms| (0..=TIME_MAX_MS).contains(&ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_known_by_its_names_alone() {
        let id = Id::parse("show", "1795226400500").unwrap();
        assert_eq!(Id::of_mark(&id.mark()), Some(id.clone()));
        for (stream, started) in [
            ("..", "1"),
            ("a/b", "1"),
            ("a", "01"),
            ("a", "+1"),
            ("a", ""),
            ("a", "1.5"),
            ("", "1"),
            ("a", "18446744073709551615"),
        ] {
            assert_eq!(Id::parse(stream, started), None, "{stream} {started}");
        }
        for mark in ["recordings/a/1.json", ".recordings/a/1", ".recordings/a/b/1.json", ".recordings/1.json"] {
            assert_eq!(Id::of_mark(mark), None, "{mark}");
        }
        let recording = Recording {
            id: id.clone(),
            ended_unix_ms: 5,
            duration_ms: 6,
            bytes: 7,
            tier: "hot".into(),
            keys: KeyIds::from_iter([[0xab; 16]]),
            only_hls: false,
            former: None,
            removing: false,
        };
        assert_eq!(Recording::read(recording.text().as_bytes(), &id), Some(recording.clone()));
        assert!(recording.keys.contains(&[0xab; 16]) && !recording.keys.contains(&[0; 16]));
        assert_eq!(Recording::read(recording.text().as_bytes(), &Id { started: 1, ..id.clone() }), None);
        for mad in [
            Recording { bytes: u64::MAX, ..recording.clone() },
            Recording { duration_ms: u64::MAX, ..recording.clone() },
            Recording { ended_unix_ms: i64::MIN, ..recording.clone() },
            Recording { former: Some(Former { tier: "hot".into(), unix_ms: i64::MIN }), ..recording.clone() },
        ] {
            assert_eq!(Recording::read(mad.text().as_bytes(), &id), None, "{mad:?}");
        }
    }
}
