//! What is wrong with a configuration: where, and what to write instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as a dotted path: `edge.upstream_timeout_ms`. Empty where the text is not TOML at all.
    pub key: String,
    /// Line of the file, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong and what to write, in one sentence.
    pub message: String,
}

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {source}; {advice}", path = path.display(), advice = advice(source))]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} has {count} to mend:{list}", path = path.display(), count = count(problems), list = list(problems))]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

fn advice(unreadable: &std::io::Error) -> &'static str {
    match unreadable.kind() {
        std::io::ErrorKind::InvalidData => "save it as UTF-8 text",
        _ => "give the path of a TOML file",
    }
}

impl ConfigError {
    /// What was found wrong with a file after it was read.
    pub fn of(path: &Path, mut problems: Vec<Problem>) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for problem in &mut problems {
            problem.line = line_of_or_around(&problem.key, &text);
        }
        Self::Invalid { path: path.to_owned(), problems }
    }
}

impl Problem {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), line: None, message: message.into() }
    }

    pub(crate) fn at(self, line: Option<usize>) -> Self {
        Self { line, ..self }
    }

    /// Finds the line of each key in the text. A key set by the environment, or left out, has none.
    pub(crate) fn locate(mut problems: Vec<Self>, text: &str) -> Vec<Self> {
        for problem in &mut problems {
            problem.line = problem.line.or_else(|| line_of(&problem.key, text));
        }
        problems
    }

    /// As the file has them; those that are in no line come last.
    pub(crate) fn in_order(mut problems: Vec<Self>) -> Vec<Self> {
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }

    /// Both are about one key, or one about a key that lies in the other.
    pub(crate) fn is_of_the_same(&self, other: &Self) -> bool {
        let lies_in = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        lies_in(&self.key, &other.key) || lies_in(&other.key, &self.key)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The line of the key, or of the nearest one that holds it: what is written within a line has none of its own.
pub(crate) fn line_of_or_around(key: &str, text: &str) -> Option<usize> {
    let mut key = key;
    loop {
        if let Some(line) = line_of(key, text) {
            return Some(line);
        }
        key = &key[..key.rfind(['.', '['])?];
    }
}

/// Walks the table headers of the text: a key is found under the header that holds its parents.
fn line_of(key: &str, text: &str) -> Option<usize> {
    let mut table = String::new();
    let mut seen = std::collections::HashMap::<String, usize>::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.split("]]").next()) {
            let index = seen.entry(name.trim().to_owned()).and_modify(|n| *n += 1).or_insert(0);
            table = format!("{}[{index}]", name.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.trim().clone_into(&mut table);
        } else if let Some((name, _)) = line.split_once('=') {
            let full = if table.is_empty() { name.trim().to_owned() } else { format!("{table}.{}", name.trim()) };
            if full == key {
                return Some(number + 1);
            }
            continue;
        }
        if table == key {
            return Some(number + 1);
        }
    }
    None
}

fn count(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "one thing".to_owned(),
        n => format!("{n} things"),
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
