//! What is known of all CDNs at one moment, frozen, so that every decision of the next second rests on the same facts.

use crate::evidence::{Account, Evidence};
use crate::rank::Rules;
use crate::sample::Scope;
use manifest::steering::PathwayId;
use std::collections::HashMap;
use std::time::Duration;

/// An immutable view of the evidence. Request handlers read it, and nothing else.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts snapshots from 0, the empty one.
    pub version: u64,
    /// When it was taken, as the time since the router began.
    pub taken_at: Duration,
    /// One health per CDN, in the order of the rules.
    scopes: HashMap<Scope, Vec<Health>>,
}

/// How one CDN does for one scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub cdn: PathwayId,
    pub standing: Standing,
    /// None while there is no evidence.
    pub account: Option<Account>,
}

/// A CDN's place among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// No evidence, which is no bad news.
    Unknown,
    /// As good as the best, within the band.
    Good,
    /// Loses noticeably more than the best.
    Worse,
    /// Does not answer.
    Down,
}

impl Snapshot {
    /// Nothing known of anyone.
    pub fn empty(rules: &Rules) -> Self {
        let unknown = |cdn: &PathwayId| Health { cdn: cdn.clone(), standing: Standing::Unknown, account: None };
        let everywhere = rules.ids().map(unknown).collect();
        Self { version: 0, taken_at: Duration::ZERO, scopes: HashMap::from([(Scope::EVERYWHERE, everywhere)]) }
    }

    /// The successor of `previous`, whose standings give the hysteresis.
    pub fn take(evidence: &Evidence, rules: &Rules, previous: &Self, now: Duration) -> Self {
        let mut scopes = HashMap::new();
        for scope in evidence.scopes().chain([Scope::EVERYWHERE]) {
            scopes.entry(scope).or_insert_with(|| healths(evidence, rules, previous.healths(scope), (scope, now)));
        }
        Self { version: previous.version + 1, taken_at: now, scopes }
    }

    /// The CDNs as the closest scope with evidence sees them.
    pub fn healths(&self, scope: Scope) -> &[Health] {
        let mut wider = Some(scope);
        while let Some(scope) = wider {
            if let Some(healths) = self.scopes.get(&scope) {
                return healths;
            }
            wider = scope.parent();
        }
        &[]
    }
}

fn healths(evidence: &Evidence, rules: &Rules, previous: &[Health], (scope, now): (Scope, Duration)) -> Vec<Health> {
    let accounts: Vec<_> = rules.ids().map(|cdn| closest(evidence, cdn, scope, now)).collect();
    let alive = accounts.iter().flatten().filter(|account| !account.down);
    let best = alive.map(|account| account.loss).fold(1.0, f64::min);
    rules
        .ids()
        .zip(accounts)
        .map(|(cdn, account)| {
            let before = previous.iter().find(|health| health.cdn == *cdn).map(|health| health.standing);
            let bound = best + if before == Some(Standing::Worse) { BAND_ENTER } else { BAND_LEAVE }.max(best * 0.25);
            let standing = match &account {
                None => Standing::Unknown,
                Some(account) if account.down => Standing::Down,
                Some(account) if account.loss > bound => Standing::Worse,
                Some(_) => Standing::Good,
            };
            Health { cdn: cdn.clone(), standing, account }
        })
        .collect()
}

/// A cell without evidence of its own is judged by what the next wider one saw.
fn closest(evidence: &Evidence, cdn: &PathwayId, scope: Scope, now: Duration) -> Option<Account> {
    let mut wider = Some(scope);
    while let Some(scope) = wider {
        if let Some(account) = evidence.account(cdn, scope, now) {
            return Some(account);
        }
        wider = scope.parent();
    }
    None
}

/// A CDN leaves the band of the best when it loses 5 points of watch time more than the best does, and comes back
/// within 2: between the two it stays where it is, so that noise moves nobody. Both grow to a quarter of the best's
/// loss when all are bad, where a difference of points means little.
const BAND_LEAVE: f64 = 0.05;
const BAND_ENTER: f64 = 0.02;
