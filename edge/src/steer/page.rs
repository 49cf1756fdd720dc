//! Two pages: `/_vivid/fleet`, what this node thinks of each edge, and `/_vivid/load`, what it says of itself to them.

use super::Steering;
use super::fleet::Edge;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    /// Whether a fleet file is configured.
    configured: bool,
    margin_km: f64,
    edges: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    url: &'a str,
    /// `this`, or as polls found: `up`, `down`, `unknown`.
    standing: &'a str,
    /// How the last poll ended.
    last_poll: Option<&'a str>,
    /// Age of its last answer.
    answered_ms_ago: Option<u128>,
    draining: bool,
    full: bool,
    viewers: Option<u64>,
    viewers_max: u64,
    /// Viewers sent there since its last answer.
    sent: u64,
    countries: Vec<String>,
}

impl Steering {
    pub fn load_page(&self) -> String {
        json(&self.load())
    }

    pub fn fleet_page(&self, now: Instant) -> String {
        let load = self.load();
        let fleet = self.fleet.read();
        let rows = fleet.iter().flat_map(|fleet| {
            let own = fleet.own();
            fleet.edges().iter().map(|edge| {
                let row = row(edge, now);
                if std::ptr::eq(edge, own) {
                    Row {
                        standing: "this",
                        draining: load.draining,
                        full: load.full,
                        viewers: Some(load.viewers),
                        ..row
                    }
                } else {
                    row
                }
            })
        });
        let (configured, margin_km) = (self.rules.file.is_some(), self.rules.margin_km);
        let page = Page { name: &self.name, configured, margin_km, edges: rows.collect() };
        json(&page)
    }
}

fn json(page: &impl Serialize) -> String {
    // Numbers, booleans and texts are always JSON.
    serde_json::to_string_pretty(page).map(|text| text + "\n").unwrap_or_default()
}

fn row(edge: &Edge, now: Instant) -> Row<'_> {
    let answer = edge.health.load.as_ref();
    Row {
        name: &edge.name,
        url: &edge.url,
        standing: edge.health.standing.label(),
        last_poll: edge.health.last.map(crate::metrics::word),
        answered_ms_ago: answer.map(|(_, at)| now.saturating_duration_since(*at).as_millis()),
        draining: edge.is_draining(),
        full: edge.is_full(),
        viewers: answer.map(|(load, _)| load.viewers),
        viewers_max: edge.viewers_max,
        sent: edge.sent(),
        countries: edge.countries.iter().map(ToString::to_string).collect(),
    }
}
