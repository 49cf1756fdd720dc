//! Makes recordings of lives that have ended, moves them from tier to tier, and removes them: one thing after the other, so
//! that a stop or a crash at any moment leaves something that the next run goes on from.

use super::name::kind;
use super::recording::{Former, Id, Recording};
use super::rules::{Decision, Why};
use super::tier::Tier;
use super::{Archive, ArchiveError, folder};
use crate::clock::unix_ms;
use crate::epoch::NUMBER_MAX;
use crate::streams::Directory;
use config::HOT;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// For the disk to take what is left of a stream that has ended; what it has not taken by then is not in the recording.
const FLUSH_MAX: Duration = Duration::from_secs(10);
/// Between two lines about a move that takes long.
const TOLD_EVERY: Duration = Duration::from_secs(30);

impl Archive {
    /// Until it is stopped. What is under way then is done again, or gone on with, by the next run.
    pub(crate) async fn keep(&self, directory: Directory, stop: CancellationToken) {
        let work = async { tokio::join!(self.finish(&directory), self.sweep()) };
        tokio::select! {
            _ = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// Makes recordings of lives as they end.
    async fn finish(&self, directory: &Directory) {
        let sweep = self.0.config.sweep;
        loop {
            for (id, markers) in self.0.ledger.unfinished() {
                // Else the end of it may still be on its way to the disk.
                directory.flush(FLUSH_MAX).await;
                let (path, room, of) = (self.0.ledger.folder(&id), directory.room_of_recording(&id.stream), id.clone());
                let made = blocking(move || folder::finish(&path, &of, (&markers, room))).await;
                match made {
                    Ok(recording) => {
                        if let Some(Recording { duration_ms, bytes, .. }) = &recording {
                            tracing::info!(recording = %id, duration_ms, bytes, "stream is recorded; see /archive/{id}/index.m3u8");
                        }
                        self.0.ledger.finished(&id, recording);
                    }
                    Err(error) => {
                        tracing::warn!(%error, recording = %id, "a recording cannot be finished; tried again")
                    }
                }
            }
            tokio::select! {
                () = self.0.ledger.ended.notified() => {}
                () = sleep(sweep) => {}
            }
        }
    }

    /// Moves and removes what is to be moved and removed.
    async fn sweep(&self) {
        let mut adopted = BTreeSet::new();
        loop {
            for tier in &self.0.tiers {
                if tier.is_failing() || !adopted.contains(&tier.name) {
                    let outcome = self.adopt(tier).await;
                    tier.note(&outcome);
                    adopted.extend(outcome.is_ok().then(|| tier.name.clone()));
                }
            }
            let all = self.0.ledger.all();
            let decisions = self.0.rules.decide(all.iter(), |id| self.0.ledger.is_live(id), unix_ms());
            for decision in decisions {
                self.carry_out(decision).await;
            }
            tokio::select! {
                () = self.0.ledger.changed.notified() => {}
                () = sleep(self.0.config.sweep) => {}
            }
        }
    }

    /// Takes in what is in a store and not known here, as on a new machine.
    async fn adopt(&self, tier: &Tier) -> Result<(), ArchiveError> {
        for id in tier.marked().await? {
            if self.0.ledger.knows(&id) {
                continue;
            }
            let found = match tier.recording(&id).await {
                // It was removed since it was listed, or is more than any mark says.
                Err(ArchiveError::Store(object_store::Error::NotFound { .. }) | ArchiveError::TooLarge { .. }) => {
                    continue;
                }
                found => found?,
            };
            let Some(found) = found else { continue };
            // What a mark says of its size could have others removed for want of room.
            let files = tier.files(&id).await?;
            if files.is_empty() {
                continue;
            }
            let bytes = files.values().fold(0_u64, |bytes, &file| bytes.saturating_add(file)).min(NUMBER_MAX - 1);
            let recording = Recording { bytes, tier: tier.name.clone(), former: None, removing: false, ..found };
            tracing::info!(recording = %id, tier = %tier.name, "a recording is found in its store");
            self.persist(&recording).await?;
            self.0.ledger.set(recording);
        }
        Ok(())
    }

    async fn carry_out(&self, decision: Decision) {
        let (id, outcome) = match &decision {
            Decision::Remove(id, why) => (id, self.remove(id, *why).await),
            Decision::Clear(id) => (id, self.clear(id).await),
            Decision::Move { id, to } => {
                let Some(tier) = self.tier(to).filter(|tier| !tier.is_failing()) else { return };
                let outcome = self.move_to(id, tier).await;
                self.0.metrics.moved(if outcome.is_ok() { "moved" } else { "failed" });
                (id, outcome)
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, recording = %id, ?decision, "what is to become of a recording cannot be done yet; tried again");
        }
    }

    /// Copies all of it, compares, marks it, and then reads it from there. Until the mark it is where it was, and what is there
    /// already is not copied again.
    async fn move_to(&self, id: &Id, to: &Tier) -> Result<(), ArchiveError> {
        let Some(recording) = self.0.ledger.find(id) else { return Ok(()) };
        let from = self.tier(&recording.tier).ok_or_else(|| ArchiveError::NoTier(recording.tier.clone()))?;
        let listed = from.files(id).await;
        from.note(&listed);
        let files = listed?;
        let copied = self.copy(id, (from, to), &files).await;
        to.note(&copied);
        copied?;
        // It may have been removed meanwhile: then what was copied goes with the rest.
        let Some(recording) = self.0.ledger.find(id) else { return Ok(()) };
        let marked = to.mark(&Recording { tier: to.name.clone(), former: None, ..recording }).await;
        to.note(&marked);
        marked?;
        let moved = |recording: Recording| {
            let former = Former { tier: recording.tier.clone(), unix_ms: unix_ms() };
            Recording { tier: to.name.clone(), former: Some(former), ..recording }
        };
        if let Some(Recording { bytes, .. }) = self.change(id, moved).await? {
            tracing::info!(recording = %id, tier = %to.name, files = files.len(), bytes, "recording has moved");
        }
        Ok(())
    }

    async fn copy(
        &self,
        id: &Id,
        (from, to): (&Tier, &Tier),
        files: &BTreeMap<String, u64>,
    ) -> Result<(), ArchiveError> {
        let there = to.files(id).await?;
        let is_missing = |(file, length): &(&String, &u64)| there.get(*file) != Some(*length);
        let missing: Vec<String> = files.iter().filter(is_missing).map(|(file, _)| file.clone()).collect();
        let (count, mut done, mut told) = (missing.len(), 0, Instant::now());
        let copies = stream::iter(missing).map(|file| async move {
            let path = Tier::path(id, &file);
            to.put(&path, from.get(&path).await?, kind(&file)).await
        });
        let mut copies = copies.buffer_unordered(self.0.config.copies_max);
        while copies.try_next().await?.is_some() {
            done += 1;
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                tracing::info!(recording = %id, tier = %to.name, done, of = count, "recording is moving");
            }
        }
        if count > 0 && to.files(id).await? != *files {
            return Err(ArchiveError::Differs);
        }
        Ok(())
    }

    /// Removes all of it, wherever some of it may be.
    async fn remove(&self, id: &Id, why: Why) -> Result<(), ArchiveError> {
        if self.change(id, Recording::withdrawn).await?.is_some() {
            self.0.metrics.removed(why);
        }
        for tier in &self.0.tiers {
            let removed = tier.remove(id).await;
            tier.note(&removed);
            removed?;
        }
        let path = self.0.ledger.folder(id);
        blocking(move || folder::remove(&path)).await?;
        tracing::info!(recording = %id, ?why, "recording is removed");
        self.0.ledger.remove(id);
        Ok(())
    }

    /// Removes what is left where it was before it moved.
    async fn clear(&self, id: &Id) -> Result<(), ArchiveError> {
        let Some(recording) = self.0.ledger.find(id) else { return Ok(()) };
        let Some(former) = &recording.former else { return Ok(()) };
        if former.tier == HOT {
            // Its window, if it is still shown, is read from there.
            if self.0.ledger.is_live(id) {
                return Ok(());
            }
            let path = self.0.ledger.folder(id);
            blocking(move || folder::clear(&path)).await?;
        } else if let Some(tier) = self.tier(&former.tier) {
            let removed = tier.remove(id).await;
            tier.note(&removed);
            removed?;
        }
        self.change(id, |recording| Recording { former: None, ..recording }).await?;
        Ok(())
    }

    pub(super) async fn persist(&self, recording: &Recording) -> Result<(), ArchiveError> {
        let (path, recording) = (self.0.ledger.folder(&recording.id), recording.clone());
        blocking(move || folder::write(&path, &recording)).await?;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::super::{ArchiveMetrics, KeyIds, Ledger};
    use super::*;
    use config::Config;
    use std::path::Path;
    use std::sync::Arc;

    /// With one recording of many files, and another folder to move it to.
    fn archive(hot: &Path, warm: &Path, id: &Id) -> Archive {
        let text = format!(
            "[origin.disk]\npath = {hot:?}\n[origin.archive]\nenabled = true\ntiers = [{{ name = \"warm\", after_s = 1, url = \"file://{}\" }}]\n",
            warm.display()
        );
        let config = Config::parse(&text, []).unwrap().origin.unwrap().archive;
        let recording = Recording {
            id: id.clone(),
            ended_unix_ms: 0,
            duration_ms: 1,
            bytes: 1,
            tier: HOT.to_owned(),
            keys: KeyIds::default(),
            only_hls: false,
            former: None,
            removing: false,
        };
        let folder = hot.join(id.to_string());
        folder::write(&folder, &recording).unwrap();
        for number in 0..200 {
            std::fs::write(folder.join(format!("{number}.m4s")), b"media").unwrap();
        }
        let metrics = ArchiveMetrics::register(&prometheus::Registry::new()).unwrap();
        let ledger = Ledger::open(hot, metrics.clone());
        Archive::new(&config, hot.to_owned(), Arc::new(ledger), metrics)
    }

    /// In a store that somebody else writes to.
    #[tokio::test]
    async fn a_mark_is_no_larger_than_what_is_there() {
        let (hot, warm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = Id::parse("show", "1795226400500").unwrap();
        let archive = archive(hot.path(), warm.path(), &id);
        let known = archive.ledger().find(&id).unwrap();
        let mark = |id: &Id, text: &str| {
            let mark = warm.path().join(id.mark());
            std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
            std::fs::write(mark, text).unwrap();
        };
        let [large, empty, torn] = ["9", "10", "11"].map(|started| Id::parse("show", started).unwrap());
        for id in [&large, &empty] {
            mark(id, &Recording { id: id.clone(), bytes: NUMBER_MAX - 1, ..known.clone() }.text());
        }
        mark(&torn, "{}");
        let folder = warm.path().join(large.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("1.m4s"), b"media").unwrap();
        let tier = archive.tier("warm").unwrap();
        archive.adopt(tier).await.unwrap();
        assert_eq!(archive.ledger().find(&large).map(|found| (found.bytes, found.tier)), Some((5, "warm".to_owned())));
        assert!(archive.ledger().find(&empty).is_none() && archive.ledger().find(&torn).is_none());
    }

    #[tokio::test]
    async fn what_is_removed_while_it_moves_stays_removed() {
        let (hot, warm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = Id::parse("show", "1795226400500").unwrap();
        let archive = archive(hot.path(), warm.path(), &id);
        let there = warm.path().join(id.to_string());
        let removed = async {
            while std::fs::read_dir(&there).map_or(0, Iterator::count) == 0 {
                tokio::task::yield_now().await;
            }
            assert!(archive.ledger().find(&id).is_some_and(|recording| recording.tier == HOT), "it is under way");
            tokio::join!(archive.withdraw(&id), archive.withdraw(&id))
        };
        let to = archive.tier("warm").unwrap();
        let (moved, (first, second)) = tokio::join!(archive.move_to(&id, to), removed);
        moved.unwrap();
        assert_eq!((first.unwrap(), second.unwrap()), (true, false));
        assert!(archive.ledger().find(&id).is_none(), "it is shown again");
        archive.remove(&id, Why::Asked).await.unwrap();
        assert!(!archive.ledger().folder(&id).exists());
        assert!(to.files(&id).await.unwrap().is_empty() && to.marked().await.unwrap().is_empty());
    }
}
