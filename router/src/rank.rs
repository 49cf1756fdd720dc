//! The decision: all CDNs in order of use for one viewer, each with its reason. Never empty, never undecided.

use crate::sample::Scope;
use crate::session::Session;
use crate::snapshot::{Health, Snapshot, Standing};
use manifest::steering::{PathwayId, SteeringError};
use std::cmp::Ordering;
use std::fmt;

/// What an operator decided: which CDNs there are, and how they share viewers.
#[derive(Clone, Debug)]
pub struct Rules {
    cdns: Vec<Share>,
}

#[derive(Clone, Debug)]
struct Share {
    id: PathwayId,
    weight: f64,
}

/// Whom a decision is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub session: Session,
    pub scope: Scope,
}

/// Every CDN, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    order: Vec<Ranked>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Which of the rules' CDNs.
    pub index: usize,
    pub id: PathwayId,
    pub reason: Reason,
}

/// Why a CDN stands where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Nothing is known of it; the configured weights decide.
    Weights,
    /// It is as good as the best; the configured weights decide.
    Good,
    /// It loses this fraction of watch time, more than others do.
    Worse(f64),
    /// It does not answer; others do.
    Down,
    /// No CDN answers, which tells nothing about this one; the configured weights decide.
    FailOpen,
}

impl Rules {
    /// The CDNs of the configuration, in its order. At least two with different ids, as validation sees to.
    pub fn new(config: &config::Router) -> Result<Self, SteeringError> {
        let share = |cdn: &config::Cdn| Ok(Share { id: PathwayId::new(&cdn.id)?, weight: cdn.weight.max(0.0) });
        let cdns = config.cdns.iter().map(share).collect::<Result<Vec<_>, _>>()?;
        if cdns.len() < 2 { Err(SteeringError::TooFew) } else { Ok(Self { cdns }) }
    }

    pub fn ids(&self) -> impl Iterator<Item = &PathwayId> {
        self.cdns.iter().map(|share| &share.id)
    }
}

/// Orders all CDNs for a viewer. The same session gets the same answer from every router as long as standings and
/// weights stay, and a change of one CDN's standing or weight moves only the viewers it must (weighted rendezvous).
pub fn rank(snapshot: &Snapshot, viewer: &Viewer, rules: &Rules) -> Ranking {
    let healths = snapshot.healths(viewer.scope);
    let standing = |health: Option<&Health>| health.map_or(Standing::Unknown, |health| health.standing);
    let mut entries: Vec<_> = rules
        .cdns
        .iter()
        .enumerate()
        .map(|(index, share)| {
            let health = healths.iter().find(|health| health.cdn == share.id);
            let loss = health.and_then(|health| health.account.as_ref()).map_or(0.0, |account| account.loss);
            let lot = viewer.session.lot(&share.id);
            // -w / ln(u) with u uniform in (0, 1): the highest wins with a probability proportional to w.
            Entry { index, share, standing: standing(health), loss, lot, score: -share.weight / lot.ln() }
        })
        .collect();
    let all_down = entries.iter().all(|entry| entry.standing == Standing::Down);
    entries.sort_by(Entry::compare);
    let order = entries.iter().map(|entry| entry.ranked(all_down)).collect();
    Ranking { order }
}

struct Entry<'a> {
    index: usize,
    share: &'a Share,
    standing: Standing,
    loss: f64,
    lot: f64,
    score: f64,
}

impl Entry<'_> {
    fn compare(&self, other: &Self) -> Ordering {
        let class = |entry: &Self| match entry.standing {
            Standing::Unknown | Standing::Good => 0,
            Standing::Worse => 1,
            Standing::Down => 2,
        };
        let by_loss = match self.standing {
            Standing::Worse => self.loss.total_cmp(&other.loss),
            _ => Ordering::Equal,
        };
        // A CDN of weight 0 is for when the others fail; among several, the lot alone decides.
        let by_share = other.score.total_cmp(&self.score).then(other.lot.total_cmp(&self.lot));
        class(self).cmp(&class(other)).then(by_loss).then(by_share)
    }

    fn ranked(&self, all_down: bool) -> Ranked {
        let reason = match self.standing {
            Standing::Unknown => Reason::Weights,
            Standing::Good => Reason::Good,
            Standing::Worse => Reason::Worse(self.loss),
            Standing::Down if all_down => Reason::FailOpen,
            Standing::Down => Reason::Down,
        };
        Ranked { index: self.index, id: self.share.id.clone(), reason }
    }
}

impl Ranking {
    /// Every CDN, best first; never empty.
    pub fn order(&self) -> &[Ranked] {
        &self.order
    }

    pub fn ids(&self) -> Vec<PathwayId> {
        self.order.iter().map(|ranked| ranked.id.clone()).collect()
    }
}

impl Reason {
    /// A word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Good => "good",
            Self::Worse(_) => "worse",
            Self::Down => "down",
            Self::FailOpen => "fail_open",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights => f.write_str("nothing is known of it, so configured weights decide"),
            Self::Good => f.write_str("as good as the best, so configured weights decide"),
            Self::Worse(loss) => write!(f, "loses {:.0} % of watch time, more than others", 100.0 * loss),
            Self::Down => f.write_str("does not answer, while others do"),
            Self::FailOpen => f.write_str("no CDN answers, so configured weights decide"),
        }
    }
}
