//! Configuration templates of the servers under test: `@name@` stands for a value.

use std::collections::BTreeMap;

pub(crate) type Values = BTreeMap<&'static str, String>;

/// Fills a template. A name that has no value, or a mark that does not close, is an error that names it.
pub(crate) fn fill(template: &str, values: &Values) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        let (name, after) = after.split_once('@').ok_or(TemplateError::Unclosed)?;
        let value = values.get(name).ok_or_else(|| TemplateError::Unknown(name.chars().take(40).collect()))?;
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TemplateError {
    Unclosed,
    Unknown(String),
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unclosed => f.write_str("a template has an '@' without its partner; write names as @name@"),
            Self::Unknown(name) => write!(f, "a template asks for @{name}@, which has no value"),
        }
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_values() {
        let values = Values::from([("port", "20001".to_owned()), ("dir", "/d".to_owned())]);
        assert_eq!(fill("listen @port@;\nroot @dir@/@port@", &values).as_deref(), Ok("listen 20001;\nroot /d/20001"));
        assert_eq!(fill("none", &values).as_deref(), Ok("none"));
        assert_eq!(fill("@other@", &values), Err(TemplateError::Unknown("other".to_owned())));
        assert_eq!(fill("user@port", &values), Err(TemplateError::Unclosed));
    }
}
