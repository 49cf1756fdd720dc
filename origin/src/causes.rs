//! What is behind an error, in one line: libraries often say no more than that something failed. Pure.

use std::error::Error;

/// The error and its causes, without those that say the same again.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !told.ends_with(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failed {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn each_cause_is_said_once() {
        let failed = |text, source: Option<Failed>| Failed { text, source: source.map(Box::new) };
        let refused = failed("connection refused", None);
        let again = failed("connection refused", Some(refused));
        assert_eq!(causes(&failed("cannot ask", Some(again))), "cannot ask: connection refused");
    }
}
