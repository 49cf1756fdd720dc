//! What becomes of a stream that has ended: a recording, which is read where its segments were written, and later from other
//! stores.

mod folder;
mod keeper;
mod ledger;
mod metrics;
mod name;
mod recording;
mod rules;
mod tier;

pub(crate) use ledger::Ledger;
pub(crate) use metrics::ArchiveMetrics;
pub(crate) use name::{Asked, File, Kind};
pub(crate) use recording::{Id, KeyIds, Recording};
pub(crate) use tier::Tier;

use config::{HOT, Place};
use rules::Rules;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The recordings of an origin, and their stores.
#[derive(Clone, Debug)]
pub(crate) struct Archive(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Arc<Ledger>,
    hot: Tier,
    tiers: Vec<Tier>,
    rules: Rules,
    config: config::Archive,
    metrics: ArchiveMetrics,
    /// Held while what is known of a recording changes.
    turn: tokio::sync::Mutex<()>,
}

/// Why something cannot be done with a recording.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("{0}")]
    Store(#[from] object_store::Error),
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("no tier is named {0} in origin.archive.tiers, and a recording is there; name it again")]
    NoTier(String),
    #[error("it does not answer in time")]
    Late,
    #[error("what was copied is not there, or has another length")]
    Differs,
    #[error("{path} has {bytes} bytes, more than anything of a recording; remove it")]
    TooLarge { path: String, bytes: u64 },
    #[error("it lists more than there can be; is it the store that it should be?")]
    Endless,
}

impl Archive {
    pub(crate) fn new(config: &config::Archive, root: PathBuf, ledger: Arc<Ledger>, metrics: ArchiveMetrics) -> Self {
        let failing = |name: &str| metrics.failing.with_label_values(&[name]);
        let ms = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let rules = Rules {
            keep_ms: ms(config.keep),
            bytes_max: config.bytes_max,
            grace_ms: ms(config.grace),
            tiers: config.tiers.iter().map(|tier| (tier.name.clone(), ms(tier.after))).collect(),
        };
        let tier = |tier: &config::Tier| Tier::new(&tier.name, tier.place.clone(), failing(&tier.name));
        Self(Arc::new(Inner {
            ledger,
            hot: Tier::new(HOT, Place::Folder(root), failing(HOT)),
            tiers: config.tiers.iter().map(tier).collect(),
            rules,
            config: config.clone(),
            metrics,
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn tier(&self, name: &str) -> Option<&Tier> {
        std::iter::once(&self.0.hot).chain(&self.0.tiers).find(|tier| tier.name == name)
    }

    pub(crate) fn metrics(&self) -> &ArchiveMetrics {
        &self.0.metrics
    }

    /// Shows a recording no more, and has it removed once its stream's window is no longer read. False where there is none.
    ///
    /// # Errors
    /// It cannot be written down, so that a restart would show it again.
    pub(crate) async fn withdraw(&self, id: &Id) -> Result<bool, ArchiveError> {
        if self.change(id, Recording::withdrawn).await?.is_none() {
            return Ok(false);
        }
        self.0.metrics.removed(rules::Why::Asked);
        self.0.ledger.changed.notify_one();
        Ok(true)
    }

    /// Changes what is known of a recording that is shown, on the disk and then here; gives what it is now. `None` where there
    /// is none any more.
    async fn change(
        &self,
        id: &Id,
        change: impl FnOnce(Recording) -> Recording,
    ) -> Result<Option<Recording>, ArchiveError> {
        let _turn = self.0.turn.lock().await;
        // What was known before the turn came may have changed since.
        let Some(recording) = self.0.ledger.find(id) else { return Ok(None) };
        let changed = change(recording);
        self.persist(&changed).await?;
        self.0.ledger.set(changed.clone());
        Ok(Some(changed))
    }
}
