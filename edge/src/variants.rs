//! How many followed names differ from others in their query alone, or in how many slashes they are written with: whoever
//! asks can make up more.

use std::borrow::Cow;
use std::collections::HashMap;

/// A bound for each path.
#[derive(Debug)]
pub struct Variants {
    max: usize,
    by_path: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Variants {
    pub fn new(max: usize) -> Self {
        Self { max, by_path: HashMap::new() }
    }

    /// Whether this one may be followed too. A plain path without a query always may: nothing made up takes its place.
    pub fn have_room_for(&self, key: &str) -> bool {
        path(key).is_none_or(|path| self.by_path.get(&*path).is_none_or(|keys| keys.len() < self.max))
    }

    pub fn add(&mut self, key: &str) {
        if let Some(path) = path(key) {
            self.by_path.entry(path.into()).or_default().push(key.into());
        }
    }

    pub fn remove(&mut self, key: &str) {
        let Some(path) = path(key) else { return };
        let Some(keys) = self.by_path.get_mut(&*path) else { return };
        keys.retain(|known| &**known != key);
        if keys.is_empty() {
            self.by_path.remove(&*path);
        }
    }

    /// Those of its path, and then the plain path itself.
    pub fn beside(&self, key: &str) -> (&[Box<str>], String) {
        let Some(path) = path(key) else { return (&[], key.to_owned()) };
        (self.by_path.get(&*path).map_or(&[], Vec::as_slice), path.into_owned())
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}

/// The plain path of a key that is another.
fn path(key: &str) -> Option<Cow<'_, str>> {
    let (path, query) = key.split_once('?').map_or((key, None), |(path, query)| (path, Some(query)));
    // Servers of files take several slashes for one, and encoded ones too.
    if !path.contains("//") && !path.contains("%2F") {
        return query.map(|_| Cow::Borrowed(path));
    }
    let mut plain = path.replace("%2F", "/");
    let mut before = ' ';
    plain.retain(|letter| std::mem::replace(&mut before, letter) != '/' || letter != '/');
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_one_path_are_bounded_and_leave_without_a_trace() {
        let mut variants = Variants::new(2);
        for key in ["/a?x=1", "/a?x=2", "/a", "/b?x=1"] {
            assert!(variants.have_room_for(key), "{key}");
            variants.add(key);
        }
        assert!(!variants.have_room_for("/a?x=3") && variants.have_room_for("/a") && variants.have_room_for("/b?y"));
        assert!(
            !variants.have_room_for("//a") && !variants.have_room_for("/%2F/a?x=1"),
            "a path is written in many ways"
        );
        let (keys, plain) = variants.beside("//a?x=3");
        assert_eq!((keys.iter().map(|key| &**key).collect::<Vec<_>>(), &*plain), (vec!["/a?x=1", "/a?x=2"], "/a"));
        variants.remove("/a?x=1");
        assert!(variants.have_room_for("/a?x=3"));
        for key in ["/a?x=2", "/a", "/b?x=1", "/never?x"] {
            variants.remove(key);
        }
        assert!(variants.is_empty());
    }
}
