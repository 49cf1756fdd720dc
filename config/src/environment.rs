//! Overrides by environment: `VIVID__EDGE__LISTEN=0.0.0.0:80` sets `edge.listen`.

use crate::{Problem, Raw};
use toml::{Table, Value};

const PREFIX: &str = "VIVID__";

/// Parses the text, lays the variables over it, and gives the raw form.
pub(crate) fn overlay(
    text: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Raw, Vec<Problem>> {
    let overrides: Vec<_> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_lowercase(), value)))
        .collect();
    if overrides.is_empty() {
        // Straight from the text, so that errors carry their place in it.
        return toml::from_str(text).map_err(|error| vec![syntax(&error, text)]);
    }
    let mut table: Table = text.parse().map_err(|error| vec![syntax(&error, text)])?;
    for (path, value) in overrides {
        let keys: Vec<_> = path.split("__").collect();
        if !set(&mut table, &keys, &value) {
            let message = "the environment sets a key below something that is not a table; unset the variable";
            return Err(vec![Problem::new(keys.join("."), message)]);
        }
    }
    table.try_into().map_err(|error: toml::de::Error| vec![syntax(&error, text)])
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

fn syntax(error: &toml::de::Error, text: &str) -> Problem {
    let line = error.span().and_then(|span| Some(text.get(..span.start)?.matches('\n').count() + 1));
    Problem { key: String::new(), line, message: error.message().replace('\n', " ") }
}
