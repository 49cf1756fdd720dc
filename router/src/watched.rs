//! Which streams viewers ask for, and so which ones are worth probing.

use crate::stream::StreamName;
use std::collections::HashMap;
use std::time::Duration;

/// The streams most recently asked for. Time is passed in.
#[derive(Debug)]
pub(crate) struct Watched {
    asked: HashMap<StreamName, Duration>,
    streams_max: usize,
    idle_max: Duration,
}

impl Watched {
    /// A stream that nobody asked for during `idle_max` is dropped.
    pub(crate) fn new(streams_max: usize, idle_max: Duration) -> Self {
        Self { asked: HashMap::new(), streams_max: streams_max.max(1), idle_max }
    }

    /// A viewer got this stream's playlist: it exists, and the one asked for longest ago makes room.
    pub(crate) fn seen(&mut self, stream: &StreamName, now: Duration) {
        if !self.asked.contains_key(stream) && self.asked.len() >= self.streams_max {
            let oldest = self.asked.iter().min_by_key(|(_, at)| **at).map(|(stream, _)| stream.clone());
            oldest.and_then(|stream| self.asked.remove(&stream));
        }
        self.asked.insert(stream.clone(), now);
    }

    /// A player asked for steering, which anyone can do for any name: it takes free room only.
    pub(crate) fn steered(&mut self, stream: &StreamName, now: Duration) {
        if self.asked.contains_key(stream) || self.asked.len() < self.streams_max {
            self.asked.insert(stream.clone(), now);
        }
    }

    /// No CDN knows it.
    pub(crate) fn gone(&mut self, stream: &StreamName) {
        self.asked.remove(stream);
    }

    /// The streams to probe, in the order of their names.
    pub(crate) fn recent(&mut self, now: Duration) -> Vec<StreamName> {
        self.asked.retain(|_, at| now.saturating_sub(*at) <= self.idle_max);
        let mut streams: Vec<_> = self.asked.keys().cloned().collect();
        streams.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn names(watched: &mut Watched, now: u32) -> Vec<String> {
        watched.recent(SECOND * now).iter().map(ToString::to_string).collect()
    }

    fn name(name: &str) -> StreamName {
        StreamName::parse(name).unwrap()
    }

    #[test]
    fn the_oldest_makes_room_and_idle_ones_go() {
        let mut watched = Watched::new(2, SECOND * 60);
        watched.seen(&name("a"), SECOND);
        watched.seen(&name("b"), SECOND * 2);
        watched.seen(&name("a"), SECOND * 3);
        watched.seen(&name("c"), SECOND * 4);
        assert_eq!(names(&mut watched, 5), ["a", "c"]);
        assert_eq!(names(&mut watched, 64), ["c"]);
        watched.gone(&name("c"));
        assert!(names(&mut watched, 64).is_empty());
    }

    #[test]
    fn steering_requests_push_nothing_out() {
        let mut watched = Watched::new(2, SECOND * 60);
        watched.seen(&name("a"), SECOND);
        for junk in ["x", "y", "z"] {
            watched.steered(&name(junk), SECOND * 9);
        }
        assert_eq!(names(&mut watched, 9), ["a", "x"]);
        watched.seen(&name("b"), SECOND * 10);
        assert_eq!(names(&mut watched, 10), ["b", "x"]);
    }
}
