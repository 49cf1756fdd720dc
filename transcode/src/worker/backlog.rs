//! Coded pictures that wait to be decoded: a queue that never holds up who fills it, and says when it is too long.

use super::WorkError;
use media::Frame;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// The end that fills. Its length is counted in source frames of both media: those that were read since the oldest
/// picture that still waits.
pub(super) struct Backlog {
    pictures: Sender<(u64, Instant, Frame)>,
    /// The numbers of pictures that were not done when last looked at.
    waiting: VecDeque<u64>,
    done: Arc<AtomicU64>,
    read: u64,
    max: u64,
}

/// The end that takes.
pub(super) struct Pictures {
    pictures: Receiver<(u64, Instant, Frame)>,
    at: u64,
    done: Arc<AtomicU64>,
}

pub(super) fn backlog(max: u32) -> (Backlog, Pictures) {
    let (sender, receiver) = channel();
    let done = Arc::new(AtomicU64::new(0));
    let pictures = Pictures { pictures: receiver, at: 0, done: Arc::clone(&done) };
    (Backlog { pictures: sender, waiting: VecDeque::new(), done, read: 0, max: u64::from(max) }, pictures)
}

impl Backlog {
    /// A source frame of any medium was read. [`WorkError::Overrun`] if too many were since the oldest picture that waits.
    pub(super) fn count(&mut self) -> Result<(), WorkError> {
        self.read += 1;
        let done = self.done.load(Ordering::Acquire);
        while self.waiting.front().is_some_and(|&number| number <= done) {
            self.waiting.pop_front();
        }
        match self.waiting.front() {
            Some(oldest) if self.read - oldest > self.max => Err(WorkError::Overrun),
            _ => Ok(()),
        }
    }

    /// Queues the picture that was counted last.
    pub(super) fn push(&mut self, picture: Frame) -> Result<(), WorkError> {
        self.waiting.push_back(self.read);
        self.pictures.send((self.read, Instant::now(), picture)).map_err(|_| WorkError::Panicked)
    }
}

impl Pictures {
    /// Waits for the next picture, and gives it with the time when it came; the one before is done with. `None` when no more
    /// comes.
    pub(super) fn next(&mut self) -> Option<(Instant, Frame)> {
        self.done.store(self.at, Ordering::Release);
        let (number, came, picture) = self.pictures.recv().ok()?;
        self.at = number;
        Some((came, picture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use media::TrackKind;

    fn picture() -> Frame {
        Frame { kind: TrackKind::Video, dts: 0, pts: 0, keyframe: true, data: Bytes::new() }
    }

    #[test]
    fn the_oldest_picture_that_waits_is_measured_in_frames_of_both_media() {
        let (mut backlog, mut pictures) = backlog(4);
        for _ in 0..100 {
            backlog.count().unwrap();
        }
        for _ in 0..2 {
            backlog.count().unwrap();
            backlog.push(picture()).unwrap();
        }
        for _ in 0..3 {
            backlog.count().unwrap();
        }
        assert!(pictures.next().is_some() && pictures.next().is_some());
        backlog.count().unwrap();
        assert!(matches!(backlog.count(), Err(WorkError::Overrun)), "five frames came after the second picture");
        drop(pictures);
        assert!(matches!(backlog.push(picture()), Err(WorkError::Panicked)), "nobody takes it");
    }

    #[test]
    fn what_is_being_worked_on_is_not_done() {
        let (mut backlog, mut pictures) = backlog(1);
        backlog.count().unwrap();
        backlog.push(picture()).unwrap();
        assert!(pictures.next().is_some());
        backlog.count().unwrap();
        assert!(matches!(backlog.count(), Err(WorkError::Overrun)));
        drop(backlog);
        assert_eq!(pictures.next(), None);
    }
}
