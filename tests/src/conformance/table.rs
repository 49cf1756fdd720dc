//! Reports beside each other, as docs/conformance.md shows them.

use super::{DASH_RULES, RULES, Report, Rule};
use anyhow::ensure;
use std::fmt::Write;

/// What was watched, by the name of its column.
pub type Named = (String, Report);

/// Between these a page has the tables.
const BEGIN: &str = "<!-- conformance -->\n";
const END: &str = "<!-- /conformance -->\n";

/// How much was watched, a table of HLS and one of DASH, as there was any, and what was broken first of each rule.
pub fn tables(watched: &[Named]) -> String {
    let mut out = String::new();
    let (dash, hls): (Vec<_>, Vec<_>) = watched.iter().partition(|(_, report)| report.is_of_dash());
    for (rules, watched) in [(RULES, hls), (DASH_RULES, dash)] {
        if !watched.is_empty() {
            table(rules, &watched, &mut out);
        }
    }
    let broken: Vec<_> =
        watched.iter().flat_map(|(name, report)| report.found.iter().map(move |found| (name, found))).collect();
    out.push_str(if broken.is_empty() { "Nothing was broken.\n" } else { "Broken were:\n\n" });
    for (name, (rule, (count, first))) in broken {
        let _ = writeln!(out, "- {name}, *{}* ({}): {count} times, the first: `{first}`", rule.says, rule.section);
    }
    out
}

/// The page with these tables in place of those that it had.
///
/// # Errors
/// It has no place for them.
pub fn written(page: &str, tables: &str) -> anyhow::Result<String> {
    let at = page.find(BEGIN).map(|at| at + BEGIN.len()).zip(page.find(END)).filter(|(begin, end)| begin <= end);
    ensure!(
        at.is_some(),
        "the page has no line {BEGIN:?} with a line {END:?} behind it; write both where the tables are to be"
    );
    let (begin, end) = at.unwrap_or_default();
    Ok(format!("{}\n{tables}\n{}", &page[..begin], &page[end..]))
}

fn table(rules: &[Rule], watched: &[&Named], out: &mut String) {
    for (name, Report { playlists, reloads, segments, .. }) in watched {
        let _ = writeln!(out, "- {name}: {playlists} playlists, {reloads} reloads, {segments} segments read");
    }
    let names: String = watched.iter().map(|(name, _)| format!(" {name} |")).collect();
    let _ = writeln!(out, "\n| rule | section | level |{names}\n|---|---|---|{}", "---:|".repeat(watched.len()));
    for rule in rules {
        let level = if rule.must { "MUST" } else { "SHOULD" };
        let cells = watched.iter().map(|(_, report)| {
            let checked = report.checked.get(rule).copied().unwrap_or(0);
            format!(" {checked} / {} |", report.found.get(rule).map_or(0, |(broken, _)| *broken))
        });
        let _ = writeln!(out, "| {} | {} | {level} |{}", rule.says, rule.section, cells.collect::<String>());
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_a_column_and_what_is_broken_a_line() {
        let mut hls = Report { playlists: 3, ..Report::default() };
        hls.checked.insert(RULES[0], 7);
        hls.found.insert(RULES[0], (2, "http://h/a.m3u8: no".to_owned()));
        let mut dash = Report::default();
        dash.checked.insert(DASH_RULES[0], 5);
        let tables = tables(&[("origin".to_owned(), hls), ("mpd".to_owned(), dash)]);
        assert!(
            tables.starts_with(
                "- origin: 3 playlists, 0 reloads, 0 segments read\n\n| rule | section | level | origin |\n"
            )
        );
        assert!(tables.contains(&format!("| {} | {} | MUST | 7 / 2 |\n", RULES[0].says, RULES[0].section)));
        assert!(tables.contains("| level | mpd |\n") && tables.contains("| MUST | 5 / 0 |\n"), "{tables}");
        assert!(tables.contains("2 times, the first: `http://h/a.m3u8: no`\n"));
        let page = format!("before\n{BEGIN}old\n{END}behind\n");
        assert_eq!(written(&page, "new\n").unwrap(), format!("before\n{BEGIN}\nnew\n\n{END}behind\n"));
        assert!(written("before\n", "new\n").is_err());
    }
}
