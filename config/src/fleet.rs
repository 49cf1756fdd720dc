//! The fleet file: which edges there are, where they stand and what each takes. A file of its own, so that the same one goes
//! to every edge and is read anew while they run.

use crate::bounded::{base_url, name, within};
use crate::{ConfigError, Problem, environment};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;

/// All edges of a fleet, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetFile {
    pub edges: Vec<FleetEdge>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FleetEdge {
    /// Its `edge.name`.
    pub name: String,
    /// How viewers reach it, without a trailing slash.
    pub url: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Connections of viewers at which it is full.
    pub viewers_max: u64,
    /// It is to take no new viewers.
    pub drain: bool,
    /// ISO 3166-1 alpha-2. Empty: it serves viewers of all countries.
    pub countries: Vec<String>,
}

/// A file of this length names far more edges than [`EDGES_MAX`].
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Every edge polls every other: beyond a thousand, a fleet wants a directory and not a file.
const EDGES_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    edges: Vec<RawEdge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEdge {
    name: String,
    url: String,
    latitude: f64,
    longitude: f64,
    viewers_max: u64,
    #[serde(default)]
    drain: bool,
    #[serde(default)]
    countries: Vec<String>,
}

impl FleetFile {
    /// # Errors
    /// `Unreadable`, or `Invalid` with all that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
            return Err(unreadable(std::io::ErrorKind::FileTooLarge.into()));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text).map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })
    }

    /// # Errors
    /// All that is wrong, each with its line.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let raw: Raw = environment::read(text)?;
        let mut problems = Vec::new();
        if !(1..=EDGES_MAX).contains(&raw.edges.len()) {
            problems.push(Problem::new("edges", format!("must list 1 to {EDGES_MAX} edges, each under [[edges]]")));
        }
        let edges: Vec<_> =
            raw.edges.into_iter().enumerate().map(|(index, edge)| edge.valid(index, &mut problems)).collect();
        let mut names = HashSet::new();
        for (index, edge) in edges.iter().enumerate() {
            if !names.insert(&edge.name) {
                let message = format!("{:?} names two edges; give each its own edge.name", edge.name);
                problems.push(Problem::new(format!("edges[{index}].name"), message));
            }
        }
        if problems.is_empty() { Ok(Self { edges }) } else { Err(Problem::locate(problems, text)) }
    }
}

impl RawEdge {
    fn valid(self, index: usize, problems: &mut Vec<Problem>) -> FleetEdge {
        let key = |name: &str| format!("edges[{index}].{name}");
        let is_code = |code: &String| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
        if let Some(code) = self.countries.iter().find(|code| !is_code(code)) {
            let message = format!("{code:?} is no country of ISO 3166-1; write two letters, as \"FR\"");
            problems.push(Problem::new(key("countries"), message));
        }
        FleetEdge {
            name: name(problems, &key("name"), self.name),
            url: base_url(problems, &key("url"), &self.url),
            latitude: within(problems, &key("latitude"), self.latitude, -90.0..=90.0),
            longitude: within(problems, &key("longitude"), self.longitude, -180.0..=180.0),
            viewers_max: within(problems, &key("viewers_max"), self.viewers_max, 1..=100_000_000),
            drain: self.drain,
            countries: self.countries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARIS: &str = "[[edges]]\nname = \"par1\"\nurl = \"https://par1.example/\"\nlatitude = 48.9\nlongitude = 2.4\n\
        viewers_max = 1000\n";

    fn problems(text: &str) -> Vec<String> {
        FleetFile::parse(text).expect_err("is valid").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_lists_edges() {
        let text = format!("{PARIS}drain = true\ncountries = [\"FR\", \"be\"]\n");
        let edges = FleetFile::parse(&text).unwrap().edges;
        assert_eq!((edges.len(), edges[0].url.as_str(), edges[0].drain), (1, "https://par1.example", true));
        assert_eq!(edges[0].countries, ["FR", "be"]);
    }

    #[test]
    fn the_sample_of_the_documentation_is_valid() {
        let text = include_str!("../../docs/edge.md");
        let sample = text.split("```toml\n").filter_map(|rest| rest.split("```").next());
        let fleets: Vec<_> = sample.filter(|block| block.contains("[[edges]]")).map(FleetFile::parse).collect();
        assert_eq!(fleets.len(), 1);
        assert_eq!(fleets[0].as_ref().map(|fleet| fleet.edges.len()), Ok(3));
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        let text = format!("{PARIS}\n{PARIS}").replacen("48.9", "148.9", 1);
        assert_eq!(
            problems(&text),
            [
                "line 4: edges[0].latitude: 148.9 is out of range; write a value from -90 to 90",
                "line 9: edges[1].name: \"par1\" names two edges; give each its own edge.name",
            ]
        );
        for (from, to, told) in [
            ("par1\"\nurl", "p r\"\nurl", "line 2: edges[0].name: must be 1 to 64"),
            ("https://par1.example/", "par1.example", "line 3: edges[0].url: \"par1.example\" is not a base URL"),
            ("2.4", "nan", "line 5: edges[0].longitude: NaN is out of range"),
            ("= 1000", "= 0", "line 6: edges[0].viewers_max: 0 is out of range"),
            ("= 1000", "= 1000\ncountries = [\"France\"]", "line 7: edges[0].countries: \"France\" is no country"),
            ("viewers_max", "capacity", "line 6: edges[0].capacity: unknown field"),
        ] {
            let found = problems(&PARIS.replacen(from, to, 1));
            assert!(found[0].starts_with(told), "{found:?}");
        }
        assert!(problems("")[0].starts_with("edges: must list 1 to 1000 edges"));
        assert!(problems("[[edges]]\n")[0].contains("missing field"));
    }

    #[test]
    fn damaged_files_never_panic() {
        let mut state = 3_u64;
        for _ in 0..5000 {
            let mut bytes = PARIS.repeat(2).into_bytes();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = (state >> 24) as u8;
            }
            let _ = FleetFile::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
