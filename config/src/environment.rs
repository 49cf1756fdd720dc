//! Overrides by environment: `VIVID__EDGE__LISTEN=0.0.0.0:80` sets `edge.listen`.

use crate::{Problem, Raw};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

const PREFIX: &str = "VIVID__";

/// Parses the text, lays the variables over it, and gives the raw form with the variables that were used.
///
/// # Errors
/// One problem: the first thing that is no TOML, no key, or not of its key's type.
pub(crate) fn overlay(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Raw, Overrides), Problem> {
    let overrides = Overrides(
        environment
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| (key(&name), name, value))
            .collect(),
    );
    if overrides.0.is_empty() {
        return Ok((read(text)?, overrides));
    }
    let mut table: Table = text.parse().map_err(|error| syntax(text, &error))?;
    for (key, name, value) in &overrides.0 {
        if !set(&mut table, &key.split('.').collect::<Vec<_>>(), value) {
            let message = format!("{name} sets a key below something that is not a table; unset the variable");
            return Err(Problem::new(key, message));
        }
    }
    match serde_path_to_error::deserialize(table) {
        Ok(raw) => Ok((raw, overrides)),
        Err(error) => Err(overrides.name(misfit(text, &error))),
    }
}

/// Reads a form straight from a text, so that errors carry their place in it.
///
/// # Errors
/// As [`overlay`].
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let file = toml::Deserializer::parse(text).map_err(|error| syntax(text, &error))?;
    serde_path_to_error::deserialize(file).map_err(|error| misfit(text, &error))
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let line = error.span().and_then(|span| Some(text.get(..span.start)?.matches('\n').count() + 1));
    Problem::new("", message(error)).at(line)
}

fn misfit(text: &str, error: &serde_path_to_error::Error<toml::de::Error>) -> Problem {
    Problem { key: path(error.path()), ..syntax(text, error.inner()) }
}

/// What the environment set: key, variable, value.
pub(crate) struct Overrides(Vec<(String, String, String)>);

impl Overrides {
    /// Says of a problem whose key came from the environment which variable to mend.
    pub(crate) fn name(&self, mut problem: Problem) -> Problem {
        let about =
            |key: &str| key.strip_prefix(&problem.key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if let Some((_, name, _)) = self.0.iter().rev().find(|(key, ..)| !problem.key.is_empty() && about(key)) {
            problem.message = format!("{} (set by {name})", problem.message);
            problem.line = None;
        }
        problem
    }
}

/// `VIVID__EDGE__HOLD_MAX_MS` is `edge.hold_max_ms`.
fn key(name: &str) -> String {
    name[PREFIX.len()..].to_lowercase().replace("__", ".")
}

/// As keys are written in a file; empty for the root, which is no key.
fn path(path: &serde_path_to_error::Path) -> String {
    path.to_string().trim_start_matches('.').to_owned()
}

fn message(error: &toml::de::Error) -> String {
    // Serde names Rust's types; people write numbers.
    let message = error.message().replace('\n', " ");
    ["u16", "u32", "u64", "usize"]
        .iter()
        .fold(message, |message, kind| message.replace(&format!("expected {kind}"), "expected a whole number"))
}

fn set(table: &mut Table, keys: &[&str], value: &str) -> bool {
    match keys {
        [] => false,
        [key] => {
            table.insert((*key).to_owned(), scalar(value));
            true
        }
        [key, rest @ ..] => match table.entry(*key).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => set(inner, rest, value),
            _ => false,
        },
    }
}

/// TOML where it parses as a TOML value (numbers, booleans, arrays), a plain string otherwise.
fn scalar(value: &str) -> Value {
    format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(value.to_owned()))
}
