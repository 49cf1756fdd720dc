//! One question to several upstreams: the next is asked when the last one has failed, or is late.

use super::{PeerId, Upstreams};
use crate::metrics::{Bound, HedgeEnd, Second};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::time::Instant;
use tokio::time::{sleep_until, timeout};

/// What an outcome is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// Another upstream may do better.
    Bad(Second),
}

impl Upstreams {
    /// Gives the question to the first of `order`, to the next one if the outcome is bad, and to one more beside it if
    /// there is none at `late`. The first good outcome wins, and what still runs is dropped; where none is good, the
    /// most telling one counts. `None` once no viewer can be waiting any more.
    pub async fn first_good<T, F: Future<Output = T>>(
        &self,
        order: &[PeerId],
        late: Option<Instant>,
        attempt: impl Fn(PeerId) -> F,
        judge: impl Fn(&T) -> Verdict,
    ) -> Option<T> {
        timeout(self.patience, self.race(order, late, attempt, judge)).await.ok().flatten()
    }

    async fn race<T, F: Future<Output = T>>(
        &self,
        order: &[PeerId],
        mut late: Option<Instant>,
        attempt: impl Fn(PeerId) -> F,
        judge: impl Fn(&T) -> Verdict,
    ) -> Option<T> {
        let attempt = |id| {
            let asking = attempt(id);
            async move { (id, asking.await) }
        };
        let mut rest = order.iter().copied();
        let mut running: FuturesUnordered<_> = rest.next().map(&attempt).into_iter().collect();
        let mut hedge = None;
        let mut bad: Option<(Second, T)> = None;
        loop {
            let waits = late.filter(|_| rest.len() > 0);
            tokio::select! {
                biased;
                Some((id, outcome)) = running.next() => {
                    let Verdict::Bad(reason) = judge(&outcome) else {
                        self.hedge_ended(hedge, Some(id));
                        return Some(outcome);
                    };
                    if bad.as_ref().is_none_or(|(known, _)| *known < reason) {
                        bad = Some((reason, outcome));
                    }
                    if running.is_empty() {
                        self.hedge_ended(hedge.take(), None);
                        let Some(next) = rest.next().filter(|_| self.may_ask(reason)) else {
                            return bad.map(|(_, outcome)| outcome);
                        };
                        running.push(attempt(next));
                    }
                }
                () = sleep_until(waits.unwrap_or_else(Instant::now).into()), if waits.is_some() => {
                    late = None;
                    if self.may_ask(Second::Late) {
                        hedge = rest.next();
                        running.extend(hedge.map(&attempt));
                    }
                }
            }
        }
    }

    /// Pays for one more request, if there is a budget left for its reason.
    pub(super) fn may_ask(&self, reason: Second) -> bool {
        let mut budgets = self.budgets.lock();
        let (budget, bound) = match reason {
            Second::Late => (&mut budgets.hedges, Bound::HedgeBudget),
            Second::Missing => (&mut budgets.looks, Bound::LookBudget),
            Second::Failed | Second::Torn => (&mut budgets.retries, Bound::RetryBudget),
        };
        let may = budget.spend();
        drop(budgets);
        if may {
            self.metrics.peers.asked_second(reason);
        } else {
            self.metrics.bit(bound);
        }
        may
    }

    fn hedge_ended(&self, hedge: Option<PeerId>, winner: Option<PeerId>) {
        if hedge.is_some() {
            self.metrics.peers.hedge_ended(if hedge == winner { HedgeEnd::Won } else { HedgeEnd::Lost });
        }
    }
}
