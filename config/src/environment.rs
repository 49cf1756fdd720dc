//! Overrides by environment: `VIVID__EDGE__LISTEN=0.0.0.0:80` sets `edge.listen`.

use crate::problem::line_of_or_around;
use crate::{Problem, Raw};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::{Table, Value};

const PREFIX: &str = "VIVID__";

/// What a text says with the variables laid over it.
pub(crate) struct Overlaid {
    /// Without what does not fit; `None` where nothing can be read so.
    pub(crate) raw: Option<Raw>,
    pub(crate) overrides: Overrides,
    /// All that is no key or not of its key's type.
    pub(crate) misfits: Vec<Problem>,
}

/// Parses the text, and lays the variables over it.
///
/// # Errors
/// The first thing that is no TOML, or a variable that has no place.
pub(crate) fn overlay(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Overlaid, Vec<Problem>> {
    let overrides = Overrides(
        environment
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| (key(&name), name, value))
            .collect(),
    );
    if overrides.0.is_empty() {
        let (raw, misfits) = fitting(text)?;
        return Ok(Overlaid { raw, overrides, misfits });
    }
    let mut table: Table = text.parse().map_err(|error| vec![syntax(text, &error)])?;
    for (key, name, value) in &overrides.0 {
        if !set(&mut table, &key.split('.').collect::<Vec<_>>(), value) {
            let message = format!("{name} sets a key below something that is not a table; unset the variable");
            return Err(vec![Problem::new(key, message)]);
        }
    }
    let (raw, misfits) = match serde_path_to_error::deserialize(table.clone()) {
        Ok(raw) => (Some(raw), Vec::new()),
        Err(error) => misfits(text, table, &error),
    };
    let misfits = misfits.into_iter().map(|problem| overrides.name(problem)).collect();
    Ok(Overlaid { raw, overrides, misfits })
}

/// Reads a form straight from a text, so that errors carry their place in it.
///
/// # Errors
/// The first thing that is no TOML, or all that is no key or not of its key's type.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Vec<Problem>> {
    match fitting(text)? {
        (Some(form), misfits) if misfits.is_empty() => Ok(form),
        (_, misfits) => Err(Problem::in_order(misfits)),
    }
}

/// The same, without what does not fit, which is told.
fn fitting<T: DeserializeOwned>(text: &str) -> Result<(Option<T>, Vec<Problem>), Vec<Problem>> {
    let file = toml::Deserializer::parse(text).map_err(|error| vec![syntax(text, &error)])?;
    Ok(match serde_path_to_error::deserialize(file) {
        Ok(form) => (Some(form), Vec::new()),
        Err(error) => misfits(text, text.parse().unwrap_or_default(), &error),
    })
}

/// More are not read at once.
const MISFITS_MAX: usize = 20;

/// The first thing that fits no key, and those that come to light as each is taken out; and what is left then.
fn misfits<T: DeserializeOwned>(text: &str, mut table: Table, first: &Misfit) -> (Option<T>, Vec<Problem>) {
    let mut problems = vec![misfit(text, first)];
    let mut path = first.path().clone();
    while problems.len() < MISFITS_MAX && take_out(&mut table, &path) {
        let error = match serde_path_to_error::deserialize(table.clone()) {
            Ok(left) => return (Some(left), problems),
            Err(error) => error,
        };
        let problem = misfit(text, &error);
        // What was taken out is missing now.
        if !problems.iter().any(|told| told.key.strip_prefix(&problem.key).is_some_and(|rest| rest.starts_with('.'))) {
            let line = problem.line.or_else(|| line_of_or_around(&problem.key, text));
            problems.push(problem.at(line));
        }
        path = error.path().clone();
    }
    (None, problems)
}

/// Takes out the key at the end of the path, with the whole array if an entry of one is meant: the others keep their places.
fn take_out(table: &mut Table, path: &serde_path_to_error::Path) -> bool {
    let mut keys: Vec<_> = path.iter().collect();
    while matches!(keys.last(), Some(Segment::Seq { .. })) {
        keys.pop();
    }
    let Some((Segment::Map { key: last }, keys)) = keys.split_last() else { return false };
    let mut keys = keys.iter();
    let mut within = table;
    while let Some(segment) = keys.next() {
        let Segment::Map { key } = segment else { return false };
        let mut value = within.get_mut(key);
        while let Some(Segment::Seq { index }) = keys.as_slice().first() {
            value = value.and_then(|value| value.as_array_mut()?.get_mut(*index));
            keys.next();
        }
        match value {
            Some(Value::Table(inner)) => within = inner,
            _ => return false,
        }
    }
    within.remove(last).is_some()
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let line = error.span().and_then(|span| Some(text.get(..span.start)?.matches('\n').count() + 1));
    let unquoted = line.and_then(|line| unquoted(text.lines().nth(line - 1)?));
    Problem::new("", message(error) + &unquoted.unwrap_or_default()).at(line)
}

/// What to write, where a line gives an address or a path as it is.
fn unquoted(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let is_text = value.contains(['.', ':', '/']) && !value.contains(['"', '\'', '[', '{', ',']);
    is_text.then(|| format!("; write text in quotes: {key} = \"{value}\""))
}

type Misfit = serde_path_to_error::Error<toml::de::Error>;

fn misfit(text: &str, error: &Misfit) -> Problem {
    let key = path(error.path());
    let Problem { line, mut message, .. } = syntax(text, error.inner());
    if message.contains("invalid type") {
        message += shape(&key).unwrap_or_default();
    }
    Problem { key, line, message }
}

/// How a key is written that is often taken for a simpler one.
fn shape(key: &str) -> Option<&'static str> {
    match key.split('[').next()? {
        "edge.upstream" => Some("; write upstream = { url = \"http://127.0.0.1:8081\" }"),
        "edge.upstreams" => {
            Some("; write upstreams = [{ url = \"http://one:8081\" }, { url = \"http://other:8081\" }]")
        }
        _ => None,
    }
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
    // Serde names Rust's types; people write numbers, tables and lists.
    let message = error.message().replace('\n', " ");
    let message = ["u16", "u32", "u64", "usize"]
        .iter()
        .fold(message, |message, kind| message.replace(&format!("expected {kind}"), "expected a whole number"));
    let message = message.replace("expected a sequence", "expected a list in [ ]");
    let message = match message.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected a table"),
        None => message,
    };
    near(&message).unwrap_or(message)
}

/// Of an unknown key that a known one is near to: which one.
fn near(message: &str) -> Option<String> {
    let mut names = message.strip_prefix("unknown field `")?.split('`').step_by(2);
    let unknown = names.next()?;
    let (distance, known) = names.map(|known| (strsim::damerau_levenshtein(unknown, known), known)).min()?;
    let near = distance <= (unknown.len() / 3).max(1) && !known.is_empty();
    near.then(|| format!("unknown field `{unknown}`; did you mean `{known}`?"))
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
