//! `[edge.upstream]`, `[[edge.upstreams]]` and `[edge.shields]`: whom an edge asks, and how it chooses among several.

use crate::Problem;
use crate::bounded::{base_url, within};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Whom this node asks: shields, or origins.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// At least one, each URL once.
    pub peers: Vec<UpstreamPeer>,
    pub protocol: UpstreamProtocol,
    /// PEM certificates of the authorities that an upstream's certificate may be from, instead of the machine's own.
    pub ca_file: Option<PathBuf>,
    pub connect_timeout: Duration,
    /// Longest wait for the first byte of an answer; a blocking reload may take all of it.
    pub response_timeout: Duration,
    pub shields: Shields,
}

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPeer {
    pub url: String,
    /// Its share of the streams is its weight's share of all weights.
    pub weight: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum UpstreamProtocol {
    #[default]
    #[serde(rename = "http1")]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    #[serde(rename = "h2c")]
    H2c,
    /// HTTP/2 over TLS, agreed on by ALPN.
    #[serde(rename = "h2")]
    H2,
}

/// How one of several upstreams is chosen, and when a second one is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Shields {
    /// `None`: only requests on behalf of viewers tell whether an upstream is well.
    pub health_path: Option<String>,
    pub health_interval: Duration,
    pub health_timeout: Duration,
    /// Good probes in a row after which an upstream counts as well.
    pub rise: u32,
    /// Failures in a row after which it does not.
    pub fall: u32,
    /// Requests asked again elsewhere because the first choice failed, at most, as a share of all.
    pub retry_percent: u32,
    /// The same because the first choice is late.
    pub hedge_percent: u32,
    /// Recordings looked for at another upstream because the first choice has not got them, on average. 0: none is.
    pub looks_per_s: u32,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    url: Option<String>,
    protocol: UpstreamProtocol,
    ca_file: Option<PathBuf>,
    connect_timeout_ms: u64,
    response_timeout_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPeer {
    url: String,
    #[serde(default = "one")]
    weight: f64,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawShields {
    health_path: String,
    health_interval_ms: u64,
    health_timeout_ms: u64,
    rise: u32,
    fall: u32,
    retry_percent: u32,
    hedge_percent: u32,
    looks_per_s: u32,
}

const URL: &str = "http://127.0.0.1:8081";
/// More are no choice of a stream's shield but a mistake, and each is probed by every edge.
const PEERS_MAX: usize = 16;

fn one() -> f64 {
    1.0
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            url: None,
            protocol: UpstreamProtocol::Http1,
            ca_file: None,
            connect_timeout_ms: 2000,
            response_timeout_ms: 13_000,
        }
    }
}

impl Default for RawShields {
    fn default() -> Self {
        Self {
            health_path: "/_vivid/readyz".to_owned(),
            health_interval_ms: 1000,
            health_timeout_ms: 1000,
            rise: 2,
            fall: 3,
            retry_percent: 20,
            hedge_percent: 10,
            looks_per_s: 50,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, peers: Vec<RawPeer>, shields: RawShields, problems: &mut Vec<Problem>) -> Upstream {
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let connect_timeout = ms("edge.upstream.connect_timeout_ms", self.connect_timeout_ms, 50..=30_000);
        let response_timeout = ms("edge.upstream.response_timeout_ms", self.response_timeout_ms, 500..=59_000);
        let peers = match (self.url, peers.is_empty()) {
            (Some(_), false) => {
                let message = "is one upstream beside several in edge.upstreams; leave out either";
                problems.push(Problem::new("edge.upstream.url", message));
                Vec::new()
            }
            (url, true) => {
                let url = base_url(problems, "edge.upstream.url", url.as_deref().unwrap_or(URL));
                vec![UpstreamPeer { url, weight: 1.0 }]
            }
            (None, false) => several(peers, problems),
        };
        check_tls(&peers, self.protocol, self.ca_file.is_some(), problems);
        Upstream {
            peers,
            protocol: self.protocol,
            ca_file: self.ca_file,
            connect_timeout,
            response_timeout,
            shields: shields.valid(problems),
        }
    }
}

/// One protocol is spoken with all of them.
fn check_tls(peers: &[UpstreamPeer], protocol: UpstreamProtocol, has_authorities: bool, problems: &mut Vec<Problem>) {
    let is_secure = |peer: &UpstreamPeer| peer.url.starts_with("https://");
    let mut problem = |key, message| problems.push(Problem::new(key, message));
    match protocol {
        UpstreamProtocol::H2 if !peers.iter().all(is_secure) => {
            problem("edge.upstream.protocol", "is HTTP/2 over TLS; write https:// URLs, or \"h2c\"");
        }
        UpstreamProtocol::H2c if peers.iter().any(is_secure) => {
            problem("edge.upstream.protocol", "is HTTP/2 without TLS; write http:// URLs, or \"h2\"");
        }
        _ => {}
    }
    if has_authorities && !peers.iter().any(is_secure) {
        problem("edge.upstream.ca_file", "has no effect on http:// URLs; leave it out, or write an https:// URL");
    }
}

fn several(peers: Vec<RawPeer>, problems: &mut Vec<Problem>) -> Vec<UpstreamPeer> {
    if peers.len() > PEERS_MAX {
        let message = format!("has {} entries; write at most {PEERS_MAX}", peers.len());
        problems.push(Problem::new("edge.upstreams", message));
    }
    let mut valid: Vec<UpstreamPeer> = Vec::with_capacity(peers.len());
    for (index, peer) in peers.into_iter().enumerate() {
        let key = |name: &str| format!("edge.upstreams[{index}].{name}");
        let url = base_url(problems, &key("url"), &peer.url);
        if valid.iter().any(|known| known.url == url) {
            problems.push(Problem::new(key("url"), format!("{url:?} is there already; name each upstream once")));
        }
        let weight = within(problems, &key("weight"), peer.weight, 0.001..=1000.0);
        valid.push(UpstreamPeer { url, weight });
    }
    valid
}

impl RawShields {
    fn valid(self, problems: &mut Vec<Problem>) -> Shields {
        let key = |name: &str| format!("edge.shields.{name}");
        let path = self.health_path;
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !path.is_empty() && !is_path {
            let message =
                format!("{path:?} is not a path; write for example \"/_vivid/readyz\", or \"\" for no probes");
            problems.push(Problem::new(key("health_path"), message));
        }
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, &key(name), value, range));
        let health_interval = ms("health_interval_ms", self.health_interval_ms, 100..=60_000);
        let health_timeout = ms("health_timeout_ms", self.health_timeout_ms, 50..=30_000);
        let mut number = |name: &str, value, range| within(problems, &key(name), value, range);
        Shields {
            health_interval,
            health_timeout,
            rise: number("rise", self.rise, 1..=100),
            fall: number("fall", self.fall, 1..=100),
            retry_percent: number("retry_percent", self.retry_percent, 0..=100),
            hedge_percent: number("hedge_percent", self.hedge_percent, 0..=100),
            looks_per_s: number("looks_per_s", self.looks_per_s, 0..=10_000),
            health_path: Some(path).filter(|path| !path.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn upstream(text: &str) -> Result<super::Upstream, Vec<String>> {
        let text = format!("[edge]\n{text}");
        match Config::parse(&text, []) {
            Ok(config) => Ok(config.edge.expect("an edge").upstream),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn one_upstream_or_several_with_weights() {
        let urls = |text: &str| {
            let peers = upstream(text).expect("valid").peers;
            peers.iter().map(|peer| format!("{} {}", peer.url, peer.weight)).collect::<Vec<_>>()
        };
        assert_eq!(urls(""), ["http://127.0.0.1:8081 1"]);
        assert_eq!(urls("[edge.upstream]\nurl = \"http://a/x/\""), ["http://a/x 1"]);
        let both = "upstreams = [{ url = \"http://a\", weight = 2.5 }, { url = \"http://b\" }]";
        assert_eq!(urls(both), ["http://a 2.5", "http://b 1"]);
        assert_eq!(urls("[[edge.upstreams]]\nurl = \"http://a\"\n[[edge.upstreams]]\nurl = \"http://b\"").len(), 2);
    }

    #[test]
    fn what_leaves_no_clear_choice_is_refused() {
        for (text, expected) in [
            ("upstreams = [{ url = \"http://a\" }]\n[edge.upstream]\nurl = \"http://b\"", "leave out either"),
            ("upstreams = [{ url = \"http://a\" }, { url = \"http://a/\" }]", "name each upstream once"),
            ("upstreams = [{ url = \"http://a\", weight = 0 }]", "out of range"),
            ("upstreams = [{ url = \"a\" }]", "is not a base URL"),
            ("[edge.shields]\nhealth_path = \"readyz\"", "is not a path"),
            ("[edge.shields]\nhedge_percent = 101", "out of range"),
        ] {
            let problems = upstream(text).expect_err(text);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{text}: {problems:?}");
        }
        let many: String = (0..17).map(|number| format!("[[edge.upstreams]]\nurl = \"http://h{number}\"\n")).collect();
        assert!(upstream(&many).expect_err("too many")[0].contains("write at most 16"));
    }

    #[test]
    fn protocol_and_authorities_go_with_the_urls() {
        let good = "[edge.upstream]\nurl = \"https://a\"\nprotocol = \"h2\"\nca_file = \"/a.pem\"";
        assert!(upstream(good).is_ok());
        for (text, expected) in [
            ("[edge.upstream]\nprotocol = \"h2\"", "write https:// URLs, or \"h2c\""),
            ("[edge.upstream]\nurl = \"https://a\"\nprotocol = \"h2c\"", "write http:// URLs, or \"h2\""),
            (
                "upstreams = [{ url = \"https://a\" }, { url = \"http://b\" }]\n[edge.upstream]\nprotocol = \"h2\"",
                "or \"h2c\"",
            ),
            ("[edge.upstream]\nca_file = \"/a.pem\"", "edge.upstream.ca_file: has no effect"),
        ] {
            let problems = upstream(text).expect_err(text);
            assert!(problems.len() == 1 && problems[0].contains(expected), "{text}: {problems:?}");
        }
    }

    #[test]
    fn probes_can_be_left_out() {
        assert_eq!(upstream("[edge.shields]\nhealth_path = \"\"").expect("valid").shields.health_path, None);
    }
}
