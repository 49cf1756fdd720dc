//! Every knob of Vivid with its unit, bound, default and reason. Text in, valid values out.
//!
//! Two steps: the `raw` module mirrors the TOML file (serde, unknown keys refused), and each section turns its raw form
//! into a valid one or says which key is wrong and what to write instead. Nothing here knows another crate of Vivid.

mod bounded;
mod deadlines;
mod edge;
mod environment;
mod fleet;
mod geo;
mod ladder;
mod listeners;
mod log;
mod origin;
mod problem;
mod router;
mod streams;
mod token;
mod transcode;

pub use edge::{
    Access, AccessLog, Addresses, Admin, CatKey, Countries, Disk, Limits, Secret, UnknownCountry, UrlKey, Verifier,
};
pub use edge::{
    Cache, CertificateFiles, Edge, Fleet, Pacing, Purge, Qoe, Shields, Slices, SteerMode, Tls, TlsVersion, Upstream,
    UpstreamPeer, UpstreamProtocol,
};
pub use edge::{LogTarget, LoggedAddresses, SampleBy};
pub use fleet::{FleetEdge, FleetFile};
pub use geo::Geo;
pub use ladder::{Audio, AudioCodec, Coding, Ladder, LadderEdit, LadderRule, LadderWords, Rung, VideoCodec};
pub use log::{Log, LogFormat};
pub use origin::{
    ANY_STREAM, Admin as OriginAdmin, Archive, Disk as OriginDisk, EncryptedStreams, Encryption, EncryptionMethod,
    ExpectedTrack, HOT, HlsKeys, Ingest, KeyServer, KeySource, Markers, Origin, Pausing, Place, Profile, PublishRule,
    Quality, RemoteWorkers, S3, Subtitles, Thumbnails, Tier, Twin, WhileAway, Window, fill_key_uri, is_stream_name,
};
pub use problem::{ConfigError, Problem};
pub use router::{Cdn, Manifest, Probe, Router, Steering};
pub use streams::Streams;
pub use token::Token;
pub use transcode::{Hardware, Segmenting, Worker};

use environment::Overlaid;
use serde::Deserialize;
use std::path::Path;

/// The reference file: every key with its default and an explanation. A test holds it equal to the defaults.
pub const REFERENCE: &str = include_str!("../reference.toml");

/// A valid configuration. A tier whose section is absent does not run from this file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub log: Log,
    pub origin: Option<Origin>,
    pub edge: Option<Edge>,
    pub router: Option<Router>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    log: log::Raw,
    origin: Option<origin::Raw>,
    edge: Option<edge::Raw>,
    router: Option<router::Raw>,
}

impl Config {
    /// Reads a file, applies `VIVID__SECTION__KEY` variables of the environment, and validates.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, std::env::vars())
            .map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })
    }

    /// Validates a text with overrides; all problems at once, each with the key it is about.
    pub fn parse(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Problem>> {
        let Overlaid { raw, overrides, misfits } = environment::overlay(text, environment)?;
        let Some(raw) = raw else { return Err(Problem::in_order(misfits)) };
        let mut problems = Vec::new();
        let config = Self {
            log: raw.log.valid(&mut problems),
            origin: raw.origin.map(|origin| origin.valid(&mut problems)),
            edge: raw.edge.map(|edge| edge.valid(&mut problems)),
            router: raw.router.map(|router| router.valid(&mut problems)),
        };
        listeners::check(&config, &mut problems);
        deadlines::check(config.origin.as_ref(), config.edge.as_ref(), &mut problems);
        if problems.is_empty() && misfits.is_empty() {
            return Ok(config);
        }
        // What does not fit is missing from the rest, which may be wrong for that alone.
        problems.retain(|problem| !misfits.iter().any(|misfit| problem.is_of_the_same(misfit)));
        let located = Problem::locate(problems, text).into_iter().map(|problem| overrides.name(problem));
        Err(Problem::in_order(located.chain(misfits).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        Config::parse(text, []).expect_err("is valid").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_reference_file_equals_the_defaults() {
        let defaults = Config::parse("[origin]\n[edge]\n[router]\n", []);
        assert_eq!(Config::parse(REFERENCE, []), defaults);
        assert!(defaults.is_ok());
    }

    #[test]
    fn every_key_of_the_reference_file_is_explained() {
        let mut explained = false;
        for (number, line) in REFERENCE.lines().enumerate() {
            let key = !line.starts_with(['#', '[', ' ', ']']) && line.contains('=');
            // One comment may explain a run of keys; a table header or a blank line ends it.
            explained = line.starts_with('#') || (explained && !line.is_empty() && !line.starts_with('['));
            let obvious = line.starts_with("listen") || line.starts_with("connect_timeout_ms");
            assert!(!key || explained || obvious, "line {}: {line}", number + 1);
        }
    }

    #[test]
    fn a_token_that_could_be_guessed_is_refused_without_being_told() {
        assert_eq!(problems("[edge]\n[edge.purge]\ntoken = \"secret\"\n").len(), 1);
        assert!(!problems("[edge]\n[edge.purge]\ntoken = \"secret\"\n")[0].contains("secret"));
        assert!(Config::parse("[edge]\n[edge.purge]\ntoken = \"0123456789abcdef\"\n", []).is_ok());
    }

    #[test]
    fn an_access_log_goes_to_a_file_or_to_standard_output() {
        let log = |text: &str| {
            let text = format!("[edge]\n[edge.access_log]\n{text}\n");
            Config::parse(&text, []).ok().and_then(|config| config.edge).map(|edge| edge.access_log)
        };
        assert_eq!(log("").and_then(|log| log.to), None);
        assert_eq!(log("path = \"stdout\"").and_then(|log| log.to), Some(LogTarget::Stdout));
        assert_eq!(log("path = \"/a\"").and_then(|log| log.to), Some(LogTarget::File("/a".into())));
        for bad in ["path = \"\"", "sample_percent = 101.0", "sample_by = \"viewer\"", "queue_lines_max = 1"] {
            assert_eq!(log(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_admin_address_is_read() {
        let admin = |text: &str| Config::parse(text, []).map(|config| config.edge.map(|edge| edge.admin.listen));
        assert_eq!(admin("[edge]\n"), Ok(Some(None)));
        let read = admin("[edge]\n[edge.admin]\nlisten = \"127.0.0.1:9083\"\n");
        assert_eq!(read, Ok(Some("127.0.0.1:9083".parse().ok())));
        assert!(problems("[edge]\n[edge.admin]\nlisten = \"9083\"\n")[0].contains("edge.admin.listen"));
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let found = problems("[edge]\nname = \"a\"\nlisten_port = 1\n");
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("line 3: edge.listen_port: unknown field `listen_port`, expected one of"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn an_unknown_key_that_is_near_to_a_known_one_is_named_with_it() {
        for (text, expected) in [
            ("[edge]\nlisen = 1\n", "line 2: edge.lisen: unknown field `lisen`; did you mean `listen`?"),
            ("[egde]\n", "line 1: egde: unknown field `egde`; did you mean `edge`?"),
            ("[edge]\n[edge.upstream]\nulr = 1\n", "did you mean `url`?"),
            ("[edge]\n[edge.cache]\nmedia_s = 1\n", "did you mean `media_ms`?"),
            ("[edge]\nx = 1\n", "unknown field `x`, expected one of"),
        ] {
            assert!(problems(text)[0].contains(expected), "{:?}", problems(text));
        }
    }

    #[test]
    fn all_that_fits_no_key_is_told_at_once() {
        let text = "[edge]\nlisten = 5\nlisen = 1\n[edge.cache]\nmedia_ms = \"x\"\nother_ms = -1\n\
                    [origin.ingest]\npublishers = [{ stream = 1, key = 2 }]\n[edge.tls]\nlisten = [1, 2]\n";
        let found = problems(text);
        let mut keys: Vec<_> = found.iter().filter_map(|told| told.split(": ").nth(1)).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "edge.cache.media_ms",
                "edge.cache.other_ms",
                "edge.lisen",
                "edge.listen",
                "edge.tls.listen[0]",
                "origin.ingest.publishers[0].key",
                "origin.ingest.publishers[0].stream",
            ]
        );
        assert!(found.iter().all(|told| told.starts_with("line ")), "{found:?}");
        let many: String = (0..200).map(|at| format!("key{at} = 1\n")).collect();
        assert_eq!(problems(&format!("[edge]\n{many}")).len(), 20, "and no more than can be read");
    }

    #[test]
    fn what_fits_no_key_hides_nothing_else() {
        let text = "[edge]\nholds_max = 0\nlisen = 1\n[edge.upstream]\nurl = \"a\"\nconnect_timeout_ms = \"x\"\n\
                    [edge.access]\ncountries_deny = [\"DE\"]\n[edge.geo]\ncountry_database = 5\n";
        let keys: Vec<_> =
            problems(text).iter().map(|told| told.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            keys,
            [
                "line 2 edge.holds_max",
                "line 3 edge.lisen",
                "line 5 edge.upstream.url",
                "line 6 edge.upstream.connect_timeout_ms",
                "line 10 edge.geo.country_database",
            ],
            "{:?}",
            problems(text)
        );
    }

    #[test]
    fn what_is_often_written_wrong_is_told_with_what_to_write() {
        for (text, expected) in [
            ("upstream = \"http://a\"", "expected a table; write upstream = { url = \"http://127.0.0.1:8081\" }"),
            ("upstreams = \"http://a\"", "expected a list in [ ]; write upstreams = [{ url = "),
            ("upstreams = [\"http://a\"]", "expected a table; write upstreams = [{ url = "),
            ("listen = 0.0.0.0:8083", "; write text in quotes: listen = \"0.0.0.0:8083\""),
            ("listen = localhost:8083 # here", "; write text in quotes: listen = \"localhost:8083\""),
            ("upstream.url = http://a:80", "; write text in quotes: upstream.url = \"http://a:80\""),
        ] {
            let found = problems(&format!("[edge]\n{text}\n"));
            assert!(found.len() == 1 && found[0].starts_with("line 2: ") && found[0].contains(expected), "{found:?}");
        }
        assert!(!problems("[edge]\nname = \"a\nb.c\"\n")[0].contains("in quotes"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let found = problems("[origin]\nhttp_listen = \"8081\"\n[origin.window]\nlength_s = 2\n[router]\ncdns = []\n");
        assert_eq!(
            found,
            [
                "line 2: origin.http_listen: \"8081\" is not an address with a port; write for example \"0.0.0.0:8080\"",
                "line 4: origin.window.length_s: 2 is out of range; write a value from 6 to 86400",
                "line 6: router.cdns: needs at least two entries: with one pathway, players switch off their own failover",
                "line 6: router.cdns: has no weight above 0; give at least one CDN a share",
            ]
        );
    }

    #[test]
    fn a_key_that_no_publisher_can_send_is_refused() {
        let found = |key: &str| {
            let rule = format!("{{ stream = \"*\", key = \"{key}\" }}");
            Config::parse(&format!("[origin.ingest]\npublishers = [{rule}]\n"), [])
                .map_err(|found| found[0].to_string())
        };
        for key in ["k", "a+b%20c=?ü"] {
            assert!(found(key).is_ok(), "{key}");
        }
        for key in ["", "a secret", "a&b", "a\\tb"] {
            assert!(found(key).unwrap_err().contains("publishers[0].key: "), "{key}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let vars =
            [("VIVID__EDGE__UPSTREAM__URL", "http://shield:80"), ("VIVID__EDGE__HOLD_MAX_MS", "14000"), ("HOME", "/")];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let edge = Config::parse("[edge]\n", vars).ok().and_then(|config| config.edge).expect("valid");
        assert_eq!(edge.upstream.peers[0].url, "http://shield:80");
        assert_eq!(edge.hold_max, std::time::Duration::from_secs(14));
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_key_and_its_line() {
        let found = problems("[edge]\n[edge.upstream]\nconnect_timeout_ms = \"fast\"\n");
        assert_eq!(
            found,
            ["line 3: edge.upstream.connect_timeout_ms: invalid type: string \"fast\", expected a whole number"]
        );
        let found = problems("[[origin.ingest.publishers]]\nstream = \"a\"\nkey = 5\n");
        assert!(found[0].starts_with("line 3: origin.ingest.publishers[0].key: invalid type"), "{found:?}");
    }

    #[test]
    fn a_bad_variable_is_named() {
        let told = |name: &str, value: &str| {
            let vars = [(name.to_owned(), value.to_owned())];
            Config::parse("[edge]\nhold_max_ms = 15000\n", vars).expect_err("is valid")[0].to_string()
        };
        assert_eq!(
            told("VIVID__EDGE__HOLD_MAX_MS", "soon"),
            "edge.hold_max_ms: invalid type: string \"soon\", expected a whole number (set by VIVID__EDGE__HOLD_MAX_MS)"
        );
        assert!(told("VIVID__EDGE__HOLD_MAX_MS", "7").ends_with("(set by VIVID__EDGE__HOLD_MAX_MS)"));
        assert!(told("VIVID__EDGE__HOLD_MAX", "7").contains("VIVID__EDGE__HOLD_MAX"));
        assert!(told("VIVID__EDGE__NAME__X", "7").contains("VIVID__EDGE__NAME__X"));
    }

    #[test]
    fn deadlines_out_of_order_are_refused() {
        let late = problems("[edge]\nhold_max_ms = 9000\n");
        assert!(late[0].contains("edge.upstream.response_timeout_ms: must be below edge.hold_max_ms"), "{late:?}");
        let early = problems("[origin]\n[edge.upstream]\nresponse_timeout_ms = 12000\n");
        assert!(early[0].contains("must be above 12000 ms"), "{early:?}");
    }

    #[test]
    fn nonsense_is_not_toml() {
        let found = problems("[edge\n");
        assert!(found[0].starts_with("line 1: "), "{found:?}");
    }

    #[test]
    fn damaged_files_never_panic() {
        let mut state = 7_u64;
        for _ in 0..2000 {
            let mut bytes = REFERENCE.as_bytes().to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            let _ = Config::parse(&String::from_utf8_lossy(&bytes), []);
        }
    }
}
