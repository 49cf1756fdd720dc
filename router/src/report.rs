//! `/_vivid/router`: what the router knows and how it would decide, for operators and the player page.

use crate::evidence::Account;
use crate::rank::{Viewer, rank};
use crate::sample::{Kind, Scope};
use crate::session::Session;
use crate::snapshot::Standing;
use crate::state::State;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Serialize)]
pub(crate) struct Report {
    snapshot: u64,
    snapshot_age_ms: u128,
    /// Streams that are probed.
    streams: Vec<String>,
    /// Why there is no evidence, when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    cdns: Vec<CdnReport>,
    geo: GeoReport,
}

#[derive(Serialize)]
struct CdnReport {
    id: String,
    url: String,
    weight: f64,
    state: &'static str,
    /// Expected share of watch time lost: 0 to 1, or null while unknown.
    loss: Option<f64>,
    reason: String,
    /// The decayed weight of all samples.
    evidence: f64,
    last_sample_age_ms: Option<u128>,
    last_sample: Option<String>,
}

#[derive(Serialize)]
struct GeoReport {
    country: &'static str,
    asn: &'static str,
}

impl Report {
    pub(crate) fn of(state: &State) -> Self {
        let now = state.now();
        let snapshot = state.snapshot.load();
        let streams: Vec<_> = state.watched.lock().recent(now).iter().map(ToString::to_string).collect();
        // Standings are the same for all viewers without a place; the lot of this one is of no account.
        let nobody = Session::of_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let ranking = rank(&snapshot, &Viewer { session: nobody, scope: Scope::EVERYWHERE }, &state.rules);
        let since = now.saturating_sub(snapshot.taken_at);
        let mut cdns = Vec::new();
        for (index, cdn) in state.config.cdns.iter().enumerate() {
            let ranked = ranking.order().iter().find(|ranked| ranked.index == index);
            let health = snapshot.healths(Scope::EVERYWHERE).iter().find(|health| health.cdn.as_str() == cdn.id);
            let account = health.and_then(|health| health.account.as_ref());
            cdns.push(CdnReport {
                id: cdn.id.clone(),
                url: cdn.url.clone(),
                weight: cdn.weight,
                state: health.map_or("unknown", |health| word(health.standing)),
                loss: account.map(|account| account.loss),
                reason: ranked.map(|ranked| ranked.reason.to_string()).unwrap_or_default(),
                evidence: account.map_or(0.0, |account| account.weight),
                last_sample_age_ms: account.map(|account| (account.age + since).as_millis()),
                last_sample: account.map(last_sample),
            });
        }
        let known = cdns.iter().any(|cdn| cdn.loss.is_some());
        let [country, _, asn] = state.geo.standings().map(|standing| standing.state.label());
        Self {
            snapshot: snapshot.version,
            snapshot_age_ms: since.as_millis(),
            note: (!known && streams.is_empty()).then_some(IDLE),
            streams,
            cdns,
            geo: GeoReport { country, asn },
        }
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::Good => "good",
        Standing::Worse => "worse",
        Standing::Down => "down",
    }
}

fn last_sample(account: &Account) -> String {
    match &account.last {
        Kind::Probe(Err(failure)) => format!("probe: {failure}"),
        Kind::Probe(Ok(delivery)) => {
            let behind =
                delivery.lag.map_or_else(String::new, |lag| format!(", {} ms behind the best", lag.as_millis()));
            format!("probe: first byte after {} ms{behind}", delivery.ttfb.as_millis())
        }
    }
}

const IDLE: &str = "no viewer asks for a stream, so nothing is probed and configured weights serve";
