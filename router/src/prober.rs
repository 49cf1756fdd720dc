//! The prober: asks every CDN for the streams that viewers ask for, round after round, and publishes what it learned.

use crate::evidence::Evidence;
use crate::fetch;
use crate::round::{Edge, Finding, Outcome, Seen, judge};
use crate::sample::Failure;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::stream::StreamName;
use futures_util::future::select_ok;
use manifest::follow::{self, Followed};
use manifest::steering::PathwayId;
use reqwest::{Client, Url};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

pub(crate) struct Prober {
    asker: Asker,
    evidence: Evidence,
}

/// Asks one CDN for one stream.
#[derive(Clone)]
struct Asker {
    state: Arc<State>,
    client: Client,
    room: Arc<Semaphore>,
}

impl Prober {
    pub(crate) fn new(state: Arc<State>, client: Client) -> Self {
        let evidence = Evidence::new(state.config.probe.half_life);
        Self { asker: Asker { state, client, room: Arc::new(Semaphore::new(PROBES_AT_ONCE)) }, evidence }
    }

    /// Probes until it is dropped; each wait within has its deadline.
    pub(crate) async fn run(mut self) {
        let mut rounds = interval(self.asker.state.config.probe.interval);
        // A round that took long is followed by one whole pause, not by a burst.
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.round().await;
        }
    }

    async fn round(&mut self) {
        let state = self.asker.state.clone();
        let streams = state.watched.lock().recent(state.now());
        state.metrics.watched_streams.set(streams.len() as f64);
        let outcomes = self.ask_all(&streams).await;
        let now = state.now();
        for (stream, outcomes) in outcomes {
            match judge(&outcomes) {
                Finding::Samples(samples) => samples.iter().for_each(|sample| self.evidence.absorb(sample, now)),
                Finding::Gone => {
                    debug!(%stream, "no cdn has the stream, it is probed no longer");
                    state.watched.lock().gone(&stream);
                }
            }
        }
        self.evidence.forget(now);
        let snapshot = Snapshot::take(&self.evidence, &state.rules, &state.snapshot.load(), now);
        state.publish(snapshot, self.evidence.refused());
    }

    /// Every stream through every CDN; the tasks end with the round, however it ends.
    async fn ask_all(&self, streams: &[StreamName]) -> HashMap<StreamName, Vec<Outcome>> {
        let state = &self.asker.state;
        let mut probes = JoinSet::new();
        for stream in streams {
            for (id, cdn) in state.rules.ids().zip(&state.config.cdns) {
                let (asker, stream, id, url) = (self.asker.clone(), stream.clone(), id.clone(), cdn.url.clone());
                probes.spawn(async move {
                    let outcome = asker.ask(&stream, id, &url).await;
                    (stream, outcome)
                });
            }
        }
        let mut by_stream: HashMap<StreamName, Vec<Outcome>> = HashMap::new();
        while let Some(answer) = probes.join_next().await {
            if let Ok((stream, outcome)) = answer {
                by_stream.entry(stream).or_default().push(outcome);
            }
        }
        by_stream
    }
}

impl Asker {
    async fn ask(&self, stream: &StreamName, cdn: PathwayId, base_url: &str) -> Outcome {
        let _room = self.room.acquire().await;
        let began = Instant::now();
        let attempts = self.attempts(stream, base_url).await;
        let metrics = &self.state.metrics;
        for attempt in &attempts {
            let outcome = attempt.as_ref().map_or_else(|failure| failure.label(), |_| "ok");
            metrics.probes.with_label_values(&[cdn.as_str(), outcome]).inc();
        }
        metrics.probe_duration.with_label_values(&[cdn.as_str()]).observe(began.elapsed().as_secs_f64());
        Outcome { cdn, attempts }
    }

    /// A probe that fails is repeated at once, and one that is silent is doubled at half its time, so that a round ends
    /// within two timeouts, and within one when a CDN just says nothing. Two failures are an outage; one may be a lost
    /// packet or a dead connection of ours.
    async fn attempts(&self, stream: &StreamName, base_url: &str) -> Vec<Result<Seen, Failure>> {
        let limit = self.state.config.probe.timeout;
        let half = limit / 2;
        let mut first = Box::pin(self.probe(stream, base_url));
        match timeout(half, &mut first).await {
            Ok(Ok(seen)) => vec![Ok(seen)],
            Ok(Err(failure)) => {
                let second = timeout(limit, self.probe(stream, base_url)).await;
                vec![Err(failure), second.unwrap_or(Err(Failure::Timeout))]
            }
            Err(_) => {
                let second = Box::pin(self.probe(stream, base_url));
                match timeout(half, select_ok([first, second])).await {
                    // Whichever it was, a viewer would have waited this long.
                    Ok(Ok((seen, _))) => vec![Ok(Seen { ttfb: seen.ttfb.max(half), ..seen })],
                    Ok(Err(failure)) => vec![Err(failure); 2],
                    Err(_) => vec![Err(Failure::Timeout); 2],
                }
            }
        }
    }

    /// The multivariant playlist and the first media playlist in it, as a player would fetch them at its start.
    async fn probe(&self, stream: &StreamName, base_url: &str) -> Result<Seen, Failure> {
        let bytes_max = self.state.config.manifest.bytes_max;
        let url = Url::parse(&format!("{base_url}/live/{stream}/index.m3u8")).map_err(|_| Failure::Unreachable)?;
        let multivariant = fetch::text(&self.client, url, bytes_max).await?;
        let Ok(Followed::Multivariant(found)) = follow::read(&multivariant.text) else {
            return Err(Failure::Unreadable);
        };
        let first = found.playlists.first().ok_or(Failure::Unreadable)?;
        let url = multivariant.url.join(first).map_err(|_| Failure::Unreadable)?;
        let playlist = fetch::text(&self.client, url, bytes_max).await?;
        let arrived = self.state.now();
        let Ok(Followed::Media(media)) = follow::read(&playlist.text) else { return Err(Failure::Unreadable) };
        // The slower of the two is what a viewer waits for.
        Ok(Seen { ttfb: multivariant.ttfb.max(playlist.ttfb), arrived, edge: Edge::of(&media) })
    }
}

/// Enough for 16 streams on 4 CDNs in one go; more would measure the router's own uplink.
const PROBES_AT_ONCE: usize = 64;
