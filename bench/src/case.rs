//! The cases by name, and what is to be reached in each.

use crate::table;
use clap::ValueEnum;
use serde::Serialize;

/// The names are those under which the project speaks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
pub(crate) enum Case {
    /// Cached objects, plain
    #[value(alias = "e2")]
    E1,
    /// Cached objects over TLS, with HTTP/1.1 and HTTP/2
    E3,
    /// Viewers that wait for one next playlist
    E4,
    /// The same, with requests spelt in many ways
    E6,
    /// A live stream through a shield and two edges
    E7,
    /// An object that grows under its readers
    E8,
    /// An upstream that dies within a body
    E9,
    /// Memory per connection
    E12,
    /// A live stream beside films that do not fit into the cache
    E15,
}

/// One aim, and whether it was reached.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) case: &'static str,
    pub(crate) aim: String,
    pub(crate) found: String,
    /// `None` where what it is compared with is not here.
    pub(crate) reached: Option<bool>,
}

impl Verdict {
    /// `found` at most `bound`.
    pub(crate) fn at_most(case: &'static str, aim: String, found: Option<f64>, bound: f64, unit: &str) -> Self {
        let text =
            found.map_or_else(|| "no figure".to_owned(), |found| format!("{}{unit}", crate::stats::number(found)));
        Self { case, aim, found: text, reached: found.map(|found| found <= bound) }
    }
}

pub(crate) fn markdown(verdicts: &[Verdict]) -> String {
    let reached = |verdict: &Verdict| match verdict.reached {
        Some(true) => "yes".to_owned(),
        Some(false) => "**no**".to_owned(),
        None => "not known".to_owned(),
    };
    let row =
        |verdict: &Verdict| vec![verdict.case.to_owned(), verdict.aim.clone(), verdict.found.clone(), reached(verdict)];
    let rows: Vec<Vec<String>> = verdicts.iter().map(row).collect();
    format!("### Aims\n\n{}", table::render(&["case", "to reach", "found (median)", "reached"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_without_a_figure_is_neither_reached_nor_missed() {
        let verdict = |found| Verdict::at_most("E1", "x".to_owned(), found, 1.3, " x");
        assert_eq!(verdict(Some(1.3)).reached, Some(true));
        assert_eq!((verdict(Some(1.31)).reached, verdict(Some(1.31)).found.as_str()), (Some(false), "1.31 x"));
        let text = markdown(&[verdict(None), verdict(Some(2.0))]);
        assert!(text.contains("| not known |") && text.contains("| **no**    |"), "{text}");
    }
}
