//! Those whom this node asks: one upstream, or several among which each stream has its first choice.
//!
//! A request goes to one upstream. A second is asked when the first one fails before its answer begins, or is later than
//! the stream's rhythm explains; both within a budget, so that trouble upstream is not doubled from here.

mod away;
mod found;
pub mod health;
pub mod hedge;
mod peer;
mod probe;
mod race;
mod readable;
pub mod rendezvous;
pub mod resume;
mod tally;

pub use away::Away;
pub use hedge::Rhythm;
pub use peer::Answer;
pub use race::Verdict;
pub use resume::{Joint, Torn};

use crate::cdn_loop::CdnLoop;
use crate::key::Class;
use crate::metrics::{Asked, Metrics, PeerMetrics, Second};
use crate::refusal::Refusal;
use crate::store::freshness::is_failure;
use bytes::Bytes;
use found::Found;
use health::{Health, Rules, Sign, Standing};
use hedge::Budget;
use http::{HeaderName, StatusCode};
use parking_lot::Mutex;
use peer::{Ask, Peer, ThisNode};
use probe::Probing;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tally::Tally;
use tokio::sync::watch;
use tokio::time::timeout;

/// The shields or origins of this node.
pub struct Upstreams {
    members: Vec<Member>,
    health: Mutex<Vec<Health>>,
    budgets: Mutex<Budgets>,
    found: Found,
    /// No viewer waits for longer.
    patience: Duration,
    probing: Probing,
    this_node: Arc<ThisNode>,
    metrics: Arc<Metrics>,
}

/// One of this node's upstreams, by its place in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerId(u8);

/// What is passed on of the request that made this node ask.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// `CDN-Loop` (RFC 8586) of the viewer's request: who has had it before.
    pub cdn_loop: Option<Bytes>,
    /// `traceparent` (W3C Trace Context).
    pub traceparent: Option<Bytes>,
}

/// What is to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Errand<'a> {
    /// The request target: a path with an optional query.
    pub target: &'a str,
    pub class: Class,
    pub passed: &'a Passed,
    /// What a followed playlist says of it.
    pub promise: Option<Promise>,
    /// Conditions.
    pub fields: &'a [(HeaderName, Bytes)],
    /// Counts the requests that this makes.
    pub requests: Option<&'a AtomicU32>,
}

/// What a playlist says of an object that it names, or the last MPD of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    pub class: Class,
    /// Whose playlist it was: others may cut the stream otherwise.
    pub source: PeerId,
    /// From when on an answer is late: of what is only hinted at, and of an MPD and what its templates stand for.
    pub late: Option<Instant>,
    /// Of an MPD and what its templates stand for: from when on it may be asked for.
    pub due: Option<Due>,
}

/// When a segment is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub at: Instant,
    /// How often its stream brings something new.
    pub cadence: Duration,
}

/// Why upstream cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("{0:?} in edge.upstream.url or edge.upstreams has no host; write for example \"http://127.0.0.1:8081\"")]
    Url(String),
    #[error("root certificates cannot be loaded; install ca-certificates, or mend SSL_CERT_FILE and SSL_CERT_DIR")]
    Certificates,
    #[error("no certificate can be read from {path}, which edge.upstream.ca_file names; write the path of a PEM file", path = .0.display())]
    Authorities(PathBuf),
}

struct Member {
    peer: Peer,
    url: String,
    weight: f64,
    metrics: PeerMetrics,
    /// Changes when this upstream is given up while others are well: whoever waits for it goes there.
    given_up: watch::Sender<()>,
}

struct Budgets {
    retries: Budget,
    hedges: Budget,
    /// Apart, so that viewers who ask for names that do not exist cannot use up what failures need.
    looks: Budget,
}

/// Reads the file of `edge.upstream.ca_file` as a node would.
///
/// # Errors
/// `Authorities`.
pub fn check_authorities(path: &Path) -> Result<(), UpstreamError> {
    peer::authorities(path).map(drop)
}

impl Promise {
    /// It is not due yet: upstream may hold who asks for it, or know nothing of it.
    fn is_early(&self) -> bool {
        self.due.is_some_and(|due| due.at > Instant::now())
    }

    /// Upstream may hold who asks for it: it is hinted at, or not due yet.
    fn may_be_held(&self) -> bool {
        if self.due.is_some() { self.is_early() } else { self.late.is_some() }
    }
}

impl PeerId {
    #[cfg(test)]
    pub const fn of(index: u8) -> Self {
        Self(index)
    }
}

impl Upstreams {
    /// # Errors
    /// If a URL has no host, or the authorities' certificates cannot be loaded.
    pub fn new(config: &config::Edge, metrics: Arc<Metrics>) -> Result<Self, UpstreamError> {
        let config::Upstream { peers, shields, .. } = &config.upstream;
        let this_node = ThisNode { name: config.name.clone(), cdn_loop: CdnLoop::new(&config.name) };
        let (this_node, connector) =
            (Arc::new(this_node), Arc::new(peer::connector(config.upstream.ca_file.as_deref())?));
        let member = |known: &config::UpstreamPeer| {
            Ok(Member {
                peer: Peer::new(&known.url, &config.upstream, connector.clone(), this_node.clone())?,
                url: known.url.clone(),
                weight: known.weight,
                metrics: metrics.peers.of(&known.url),
                given_up: watch::channel(()).0,
            })
        };
        let rules = Rules { rise: shields.rise, fall: shields.fall };
        let budgets = Budgets {
            retries: Budget::new(shields.retry_percent),
            hedges: Budget::new(shields.hedge_percent),
            looks: Budget::new(shields.retry_percent),
        };
        Ok(Self {
            members: peers.iter().map(member).collect::<Result<_, _>>()?,
            health: Mutex::new(vec![Health::new(rules); peers.len()]),
            budgets: Mutex::new(budgets),
            found: Found::new(shields.looks_per_s, metrics.clone()),
            patience: config.hold_max,
            probing: Probing {
                path: shields.health_path.clone(),
                interval: shields.health_interval,
                timeout: shields.health_timeout,
            },
            this_node,
            metrics,
        })
    }

    pub fn cdn_loop(&self) -> &CdnLoop {
        &self.this_node.cdn_loop
    }

    /// How an upstream is known in the configuration.
    pub fn url(&self, id: PeerId) -> &str {
        self.members.get(id.index()).map_or("", |member| &member.url)
    }

    /// Whether there is a choice at all.
    pub fn are_several(&self) -> bool {
        self.members.len() > 1
    }

    /// The first choice for what lies at `path`, among those that are well.
    pub fn home(&self, path: &str) -> PeerId {
        self.ranked(&self.health.lock(), path, None, Instant::now())[0]
    }

    /// Whom to ask for what lies at `path`, and whom if that one fails: those that are well first, among them `from`, and
    /// then by their claims. All are named: where none is well, the first choice is asked all the same.
    pub fn order(&self, path: &str, from: Option<PeerId>) -> Vec<PeerId> {
        let now = Instant::now();
        let mut health = self.health.lock();
        let order = self.ranked(&health, path, from, now);
        health[order[0].index()].try_once(now);
        order
    }

    fn ranked(&self, health: &[Health], path: &str, from: Option<PeerId>, now: Instant) -> Vec<PeerId> {
        let key = rendezvous::stream(path);
        let rank = |(index, member): (usize, &Member)| {
            let id = PeerId(index as u8);
            let down = health[index].standing(now) == Standing::Down;
            ((down, from != Some(id)), rendezvous::claim(key, &member.url, member.weight), id)
        };
        let mut ranked: Vec<_> = self.members.iter().enumerate().map(rank).collect();
        ranked.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.total_cmp(&one.1)));
        ranked.into_iter().map(|(.., id)| id).collect()
    }

    /// Asks for an object and waits for the header of the answer; of several upstreams, the first good one's.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout` or `UpstreamBroken`; `LooksFull` for a recording.
    pub async fn get(self: &Arc<Self>, errand: &Errand<'_>) -> Result<Answer, Refusal> {
        if let (None, true, Some(recording)) =
            (errand.promise, self.are_several(), rendezvous::recording(errand.target))
        {
            let sought = timeout(self.patience, self.seek(recording, errand)).await;
            return sought.unwrap_or(Err(Refusal::UpstreamTimeout));
        }
        let order = self.order(errand.target, errand.promise.map(|promise| promise.source));
        // What a playlist names exists; and a playlist that one origin does not know may be another's.
        let exists = errand.promise.is_some_and(|promise| !promise.is_early()) || errand.class.is_manifest();
        let judge = |(got, readable): &(Result<Answer, Refusal>, bool)| match got {
            _ if !readable => Verdict::Bad(Second::Failed),
            Err(Refusal::Malformed) => Verdict::Good,
            Err(_) => Verdict::Bad(Second::Failed),
            Ok(answer) if is_failure(answer.status) => Verdict::Bad(Second::Failed),
            Ok(answer) if exists && is_missing(answer.status) => Verdict::Bad(Second::Missing),
            Ok(_) => Verdict::Good,
        };
        // Who asks for a hint after it was due has the time of whoever asked before.
        let late = errand.promise.and_then(|promise| promise.late).filter(|late| *late > Instant::now());
        let attempt = |id| self.ask_readable(id, errand);
        let won = self.first_good(&order, late, attempt, judge).await;
        won.map_or(Err(Refusal::UpstreamTimeout), |(got, _)| got)
    }

    /// Asks one upstream.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn ask(self: &Arc<Self>, id: PeerId, errand: &Errand<'_>) -> Result<Answer, Refusal> {
        self.budgets.lock().earn();
        if let Some(requests) = errand.requests {
            requests.fetch_add(1, Ordering::Relaxed);
        }
        let Member { peer, given_up, .. } = &self.members[id.index()];
        let held = errand.target.contains("_HLS_msn=") || errand.promise.is_some_and(|promise| promise.may_be_held());
        let sought = rendezvous::recording(errand.target).is_some();
        let tally = Tally::new(self.clone(), (id, errand.class), held, sought);
        let ask = Ask { target: errand.target, passed: errand.passed, fields: errand.fields };
        let mut others_are_well = given_up.subscribe();
        tokio::select! {
            biased;
            got = peer.get(&ask, tally, given_up.subscribe()) => got,
            Ok(()) = others_are_well.changed() => Err(Refusal::UpstreamUnreachable),
        }
    }

    /// Asks for the rest of an object, of others first and then of the one that broke off, if it was one of these.
    ///
    /// # Errors
    /// If none continues it.
    pub async fn resume(
        self: &Arc<Self>,
        errand: &Errand<'_>,
        torn: &Torn,
        broke_off: Option<PeerId>,
        attempt: usize,
    ) -> Result<(Answer, Joint), Refusal> {
        let answer = self.ask_for_rest(&Errand { fields: &torn.fields(), ..*errand }, broke_off, attempt).await?;
        match torn.joint(answer.status, &answer.headers) {
            Ok(joint) => Ok((answer, joint)),
            Err(mismatch) => {
                let upstream = self.url(answer.peer);
                tracing::debug!(%upstream, target = errand.target, %mismatch, "not continued");
                Err(Refusal::UpstreamBroken)
            }
        }
    }

    /// Asks others first and then the one that broke off, one with each attempt. What comes is for the caller to judge.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn ask_for_rest(
        self: &Arc<Self>,
        rest: &Errand<'_>,
        broke_off: Option<PeerId>,
        attempt: usize,
    ) -> Result<Answer, Refusal> {
        let mut order = self.order(rest.target, rest.promise.map(|promise| promise.source));
        if let Some(broke_off) = broke_off {
            order.retain(|id| *id != broke_off);
            order.push(broke_off);
        }
        self.metrics.peers.asked_second(Second::Torn);
        let asked = timeout(self.patience, self.ask(order[attempt % order.len()], rest)).await;
        asked.unwrap_or(Err(Refusal::UpstreamTimeout))
    }

    /// Takes in what a request on behalf of viewers showed.
    fn judge(&self, id: PeerId, sign: Sign) {
        self.change(id, |health, now| health.requested(sign, now));
    }

    fn change(&self, id: PeerId, change: impl FnOnce(&mut Health, Instant)) {
        let mut all = self.health.lock();
        let was_up = all[id.index()].is_up();
        change(&mut all[id.index()], Instant::now());
        let is_up = all[id.index()].is_up();
        if was_up == is_up {
            return;
        }
        let Member { url, metrics, given_up, .. } = &self.members[id.index()];
        metrics.healthy.set(i64::from(is_up));
        if is_up {
            tracing::info!(upstream = %url, "upstream is well again");
            return;
        }
        tracing::warn!(upstream = %url, "upstream is not well");
        if all.iter().any(Health::is_up) {
            // Nobody may be waiting, and then nobody has to go elsewhere.
            let _ = given_up.send(());
        }
    }

    fn count(&self, id: PeerId, class: Class, outcome: Asked) {
        self.metrics.asked(class, outcome);
        self.members[id.index()].metrics.asked(outcome);
    }
}

impl PeerId {
    fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Budgets {
    fn earn(&mut self) {
        self.retries.earn();
        self.hedges.earn();
        self.looks.earn();
    }
}

pub(crate) fn is_missing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 404 | 410)
}
