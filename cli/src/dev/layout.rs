//! Which processes `vivid dev` runs, on which ports, with which configuration. Pure.

use anyhow::Context;
use std::path::Path;
use toml::{Table, Value};

/// The highest first port that leaves room for the five after it.
pub(super) const BASE_PORT_MAX: i64 = 65_530;

/// A process of `vivid dev`, in the order in which they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Origin,
    Shield,
    CdnA,
    CdnB,
    Router,
    Source,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    http_base: u16,
    rtmp: u16,
    base: Table,
    source: bool,
    /// Where the origin keeps its windows.
    disk: Option<String>,
}

impl Role {
    const ALL: [Self; 6] = [Self::Origin, Self::Shield, Self::CdnA, Self::CdnB, Self::Router, Self::Source];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Shield => "shield",
            Self::CdnA => "cdn-a",
            Self::CdnB => "cdn-b",
            Self::Router => "router",
            Self::Source => "source",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl Layout {
    /// `base` is the text of a configuration file that applies to every tier.
    pub(super) fn new(base_port: Option<u16>, base: &str, source: bool) -> anyhow::Result<Self> {
        let (http_base, rtmp) = match base_port {
            Some(port) => (port, port.saturating_add(5)),
            None => (8080, 1935),
        };
        let base = base.parse().context("the file given with --config is not TOML")?;
        Ok(Self { http_base, rtmp, base, source, disk: None })
    }

    /// The origin finds its windows here again when it is started again.
    pub(super) fn keeping(self, disk: &Path) -> Self {
        Self { disk: disk.to_str().map(str::to_owned), ..self }
    }

    pub(super) fn roles(&self) -> impl Iterator<Item = Role> + use<> {
        let source = self.source;
        Role::ALL.into_iter().filter(move |role| *role != Role::Source || source)
    }

    /// Where a role is reached: its HTTP address, or where the source publishes.
    pub(super) fn url(&self, role: Role) -> String {
        match role {
            Role::Source => self.publish_url("demo"),
            _ => format!("http://{}", self.listen(role)),
        }
    }

    pub(super) fn publish_url(&self, stream: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{stream}", self.rtmp)
    }

    /// Every address that must be free, with who wants it.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Role, String)> {
        let http = self.roles().filter(|role| *role != Role::Source).map(|role| (role, self.listen(role)));
        http.chain([(Role::Origin, format!("127.0.0.1:{}", self.rtmp))])
    }

    /// The configuration file of a tier; the source has none.
    pub(super) fn config(&self, role: Role) -> String {
        let mut table = self.base.clone();
        for (key, value) in self.settings(role) {
            set(&mut table, key, value);
        }
        // A file configures one tier: the sections of the others would be validated for nothing.
        let section = match role {
            Role::Origin => "origin",
            Role::Router => "router",
            _ => "edge",
        };
        table.retain(|name, _| name == section || name == "log");
        table.to_string()
    }

    /// What differs from the defaults. Loopback only: anyone may publish here.
    fn settings(&self, role: Role) -> Vec<(&'static str, Value)> {
        let listen = Value::from(self.listen(role));
        match role {
            Role::Origin => {
                let mut settings = vec![
                    ("origin.http_listen", listen),
                    ("origin.rtmp_listen", Value::from(format!("127.0.0.1:{}", self.rtmp))),
                    ("origin.ingest.open", Value::from(true)),
                ];
                settings.extend(self.disk.clone().map(|disk| ("origin.disk.path", Value::from(disk))));
                settings
            }
            Role::Router => vec![
                ("router.listen", listen),
                ("router.origin_url", Value::from(self.url(Role::Origin))),
                ("router.cdns", Value::from(vec![self.cdn(Role::CdnA), self.cdn(Role::CdnB)])),
            ],
            Role::Shield => self.edge(role, Role::Origin, (13_000, 14_000)),
            Role::CdnA | Role::CdnB => self.edge(role, Role::Shield, (15_000, 16_000)),
            Role::Source => Vec::new(),
        }
    }

    /// Deadlines rise from tier to tier, so that a late answer is noticed nearest to its cause.
    fn edge(&self, role: Role, upstream: Role, (response_ms, hold_ms): (i64, i64)) -> Vec<(&'static str, Value)> {
        vec![
            ("edge.name", Value::from(role.name())),
            ("edge.listen", Value::from(self.listen(role))),
            ("edge.upstream.url", Value::from(self.url(upstream))),
            ("edge.upstream.response_timeout_ms", Value::from(response_ms)),
            ("edge.hold_max_ms", Value::from(hold_ms)),
        ]
    }

    fn cdn(&self, role: Role) -> Value {
        let mut table = Table::new();
        table.insert("id".to_owned(), Value::from(role.name()));
        table.insert("url".to_owned(), Value::from(self.url(role)));
        Value::Table(table)
    }

    fn listen(&self, role: Role) -> String {
        let offset = match role {
            Role::Router | Role::Source => 0,
            Role::Origin => 1,
            Role::Shield => 2,
            Role::CdnA => 3,
            Role::CdnB => 4,
        };
        format!("127.0.0.1:{}", self.http_base + offset)
    }
}

/// Sets a dotted key; what stands in the way of a table is replaced.
fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Config;

    fn config(layout: &Layout, role: Role) -> Config {
        Config::parse(&layout.config(role), []).unwrap()
    }

    #[test]
    fn ports_are_the_promised_ones() {
        let layout = Layout::new(None, "", true).unwrap();
        assert_eq!(layout.url(Role::Router), "http://127.0.0.1:8080");
        assert_eq!(layout.url(Role::CdnB), "http://127.0.0.1:8084");
        assert_eq!(layout.publish_url("x"), "rtmp://127.0.0.1:1935/live/x");
        let moved = Layout::new(Some(20_000), "", true).unwrap();
        assert_eq!(moved.url(Role::Origin), "http://127.0.0.1:20001");
        assert_eq!(moved.publish_url("x"), "rtmp://127.0.0.1:20005/live/x");
        assert_eq!(u16::try_from(BASE_PORT_MAX + 5), Ok(u16::MAX));
    }

    #[test]
    fn every_tier_gets_a_valid_file_of_its_own() {
        let layout = Layout::new(None, "", true).unwrap();
        for role in layout.roles().filter(|role| *role != Role::Source) {
            let config = config(&layout, role);
            let sections = [config.origin.is_some(), config.edge.is_some(), config.router.is_some()];
            assert_eq!(sections.iter().filter(|present| **present).count(), 1, "{role:?}");
        }
    }

    #[test]
    fn deadlines_rise_from_tier_to_tier() {
        let layout = Layout::new(None, "", true).unwrap();
        let origin = config(&layout, Role::Origin).origin.unwrap();
        let shield = config(&layout, Role::Shield).edge.unwrap();
        let edge = config(&layout, Role::CdnA).edge.unwrap();
        // A source's GOPs can make segments twice as long as configured.
        let held = 2 * origin.segment.segment * origin.window.hold_target_durations;
        assert!(held < shield.upstream.response_timeout);
        assert!(shield.hold_max < edge.upstream.response_timeout);
    }

    #[test]
    fn windows_are_kept_where_they_are_found_again() {
        let layout = Layout::new(None, "", true).unwrap().keeping(Path::new("/tmp/x"));
        assert_eq!(config(&layout, Role::Origin).origin.unwrap().disk.path.unwrap(), Path::new("/tmp/x"));
    }

    #[test]
    fn settings_of_the_user_reach_every_tier() {
        let layout = Layout::new(None, "[log]\nfilter = \"warn\"\n[origin.window]\nlength_s = 9\n", true).unwrap();
        assert_eq!(config(&layout, Role::Router).log.filter, "warn");
        assert_eq!(config(&layout, Role::Origin).origin.unwrap().window.length.as_secs(), 9);
    }
}
