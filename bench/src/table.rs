//! Markdown: tables, and the place in a page where results are written.

/// A table with its columns padded, so that it reads well as text too.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |text| text.chars().count());
    let widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, title)| rows.iter().map(|row| cell(row, column)).fold(title.chars().count().max(3), usize::max))
        .collect();
    let line = |texts: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = texts.zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = line(&mut header.iter().copied());
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    out.push_str(&line(&mut rules.iter().map(String::as_str)));
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// Around those of the edge.
pub(crate) const RESULTS: (&str, &str) = ("<!-- bench:results -->", "<!-- /bench:results -->");

/// Puts `results` between two marks of a page. `None` where the page does not have them, in order.
pub(crate) fn replace_between(page: &str, (begin, end): (&str, &str), results: &str) -> Option<String> {
    let begin = page.find(begin)? + begin.len();
    let end = begin + page[begin..].find(end)?;
    Some(format!("{}\n{}\n{}", &page[..begin], results.trim(), &page[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["nginx".to_owned(), "1–2".to_owned()], vec!["ü".to_owned(), String::new()]];
        let expected = "| server | ms  |\n| ------ | --- |\n| nginx  | 1–2 |\n| ü      |     |\n";
        assert_eq!(render(&["server", "ms"], &rows), expected);
    }

    #[test]
    fn results_replace_results_and_nothing_else() {
        let (begin, end) = RESULTS;
        let page = format!("# Page\n{begin}\nold\n{end}\nrest\n");
        let expected = format!("# Page\n{begin}\nnew\n{end}\nrest\n");
        assert_eq!(replace_between(&page, RESULTS, "\nnew\n\n").as_deref(), Some(expected.as_str()));
        assert_eq!(replace_between(&expected, RESULTS, "new").as_deref(), Some(expected.as_str()));
    }

    #[test]
    fn a_page_without_marks_is_left_alone() {
        let (begin, end) = RESULTS;
        for page in ["", "no marks", begin, end, &format!("{end} {begin}")] {
            assert_eq!(replace_between(page, RESULTS, "x"), None, "{page}");
        }
    }
}
