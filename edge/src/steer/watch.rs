//! Reads the fleet file anew as it changes, and asks the other edges how they are.

use super::Steering;
use super::fleet::Fleet;
use super::health::Standing;
use super::load::{Load, PAGE_BYTES_MAX};
use crate::metrics::{Polled, word};
use config::FleetFile;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Client;
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

impl Steering {
    /// Follows the file and polls the others, until dropped.
    pub async fn watch(&self) {
        let client = match (&self.rules.file, client()) {
            (None, _) => return std::future::pending().await,
            (_, Ok(client)) => client,
            (_, Err(error)) => {
                tracing::error!(%error, "other edges cannot be asked, so nobody is sent to them; install ca-certificates");
                return std::future::pending().await;
            }
        };
        let gate = Semaphore::new(self.rules.polls_max);
        let mut tick = interval(self.rules.check_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read = None;
        let mut polls = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let found = self.read().await;
                    if read.as_ref() == Some(&found) {
                        continue;
                    }
                    if let Some(others) = self.take(found.clone()) {
                        polls = others.into_iter().map(|(name, url)| self.poll(&client, &gate, name, url)).collect();
                    }
                    read = Some(found);
                }
                Some(()) = polls.next() => {}
            }
        }
    }

    /// The file as it is now, or what is wrong with it.
    async fn read(&self) -> Result<FleetFile, String> {
        let path = self.rules.file.clone().unwrap_or_default();
        match spawn_blocking(move || FleetFile::load(&path)).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Puts a file that has changed in the place of the one before; names and URLs of the others if it is of use.
    fn take(&self, found: Result<FleetFile, String>) -> Option<Vec<(String, String)>> {
        let mut fleet = self.fleet.write();
        let next = found.and_then(|file| {
            Fleet::new(file, &self.name, fleet.as_ref()).map_err(|error| format!("fleet file: {error}"))
        });
        self.metrics.fleet.stale.set(next.is_err().into());
        match next {
            Ok(next) => {
                tracing::info!(edges = next.edges().len(), "fleet file read");
                self.metrics.fleet.listed.set(next.edges().len() as i64);
                let others = next.others().map(|edge| (edge.name.clone(), edge.url.clone())).collect();
                *fleet = Some(next);
                Some(others)
            }
            Err(problem) => {
                let serves = if fleet.is_some() { "the last good one" } else { "none" };
                tracing::error!(%problem, serves, "fleet file unusable");
                None
            }
        }
    }

    async fn poll(&self, client: &Client, gate: &Semaphore, name: String, url: String) {
        let page = format!("{url}/_vivid/load");
        // A fleet that starts at once is not to poll at once.
        sleep(self.rules.poll_interval.mul_f64(random())).await;
        loop {
            let end = {
                // It is never closed, and a permit more would do no harm.
                let _permit = gate.acquire().await;
                let asked = timeout(self.rules.poll_timeout, ask(client, &page)).await.unwrap_or(Err(Polled::Timeout));
                asked.and_then(|load| if load.name == name { Ok(load) } else { Err(Polled::Mistaken) })
            };
            self.polled(&name, end);
            sleep(self.rules.poll_interval.mul_f64(0.8 + 0.4 * random())).await;
        }
    }

    fn polled(&self, name: &str, end: Result<Load, Polled>) {
        let told = end.as_ref().err().copied().unwrap_or(Polled::Ok);
        self.metrics.fleet.polled(told);
        let mut fleet = self.fleet.write();
        let Some(fleet) = fleet.as_mut() else { return };
        let standing = |fleet: &Fleet| fleet.others().find(|edge| edge.name == name).map(|edge| edge.health.standing);
        let before = standing(fleet);
        fleet.polled(name, end, Instant::now());
        let after = standing(fleet);
        if before != after {
            self.metrics.fleet.up.set(fleet.others().filter(|edge| edge.health.is_up()).count() as i64);
            match after {
                Some(Standing::Down) => tracing::warn!(edge = name, last_poll = word(told), "edge is down"),
                _ => tracing::info!(edge = name, "edge is up"),
            }
        }
    }
}

/// It ignores the environment's proxies: what is asked is whether viewers reach the edge.
fn client() -> Result<Client, reqwest::Error> {
    // Another part of the process may have installed the same provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().user_agent("vivid-edge").no_proxy().redirect(reqwest::redirect::Policy::none()).build()
}

async fn ask(client: &Client, page: &str) -> Result<Load, Polled> {
    let mut answer = client.get(page).send().await.map_err(|_| Polled::Unreachable)?;
    if !answer.status().is_success() {
        return Err(Polled::Refused);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Polled::Unreachable)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > PAGE_BYTES_MAX {
            return Err(Polled::Unreadable);
        }
    }
    Load::read(&bytes).ok_or(Polled::Unreadable)
}

/// From 0 to 1; different for each call, and no secret.
fn random() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
