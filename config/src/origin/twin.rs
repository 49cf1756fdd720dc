//! `[origin.twin]`: the other of two origins that one encoder publishes to.

use crate::bounded::{base_url, token, within};
use crate::{Problem, Token};
use serde::Deserialize;
use std::time::Duration;

/// Where the other one is, and what both know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// Its HTTP address, without a trailing slash; plain HTTP.
    pub url: String,
    /// What both send each other as `Authorization: Bearer`.
    pub token: Token,
    /// How long an epoch waits for the other's word before it begins alone.
    pub deadline: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    url: Option<String>,
    token: Option<String>,
    deadline_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { url: None, token: None, deadline_ms: 1000 }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Option<Twin> {
        let deadline = Duration::from_millis(within(problems, "origin.twin.deadline_ms", self.deadline_ms, 50..=5000));
        token(problems, "origin.twin.token", self.token.as_deref());
        let url = base_url(problems, "origin.twin.url", &self.url?);
        if url.starts_with("https://") {
            let text = "twins speak plain HTTP; write \"http://HOST:PORT\" of origin.http_listen there";
            problems.push(Problem::new("origin.twin.url", text));
        }
        if self.token.is_none() {
            let text =
                "is missing; write the same secret at both origins, for example what `openssl rand -hex 24` prints";
            problems.push(Problem::new("origin.twin.token", text));
        }
        Some(Twin { url, token: self.token.unwrap_or_default().into(), deadline })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Hardware};

    #[test]
    fn twins_encode_on_no_device() {
        let hardware = |twin: &str, hardware: &str| {
            let text = format!("[origin.worker]\nhardware = \"{hardware}\"\n{twin}");
            Config::parse(&text, []).map(|config| config.origin.unwrap().worker.hardware)
        };
        let twin = "[origin.twin]\nurl = \"http://b:1\"\ntoken = \"0123456789abcdef\"\n";
        assert_eq!(hardware("", "nvenc"), Ok(Hardware::Nvenc));
        assert_eq!(hardware("", "auto"), Ok(Hardware::Auto));
        assert_eq!([hardware(twin, "auto"), hardware(twin, "off")], [Ok(Hardware::Off), Ok(Hardware::Off)]);
        let told = hardware(twin, "vaapi").expect_err("is valid")[0].to_string();
        assert!(told.starts_with("line 2: origin.worker.hardware: must be \"off\" or \"auto\""), "{told}");
        let told = hardware("", "cuda").expect_err("is valid")[0].to_string();
        assert!(told.contains("`auto`, `off`, `nvenc`, `vaapi`, `qsv`") || told.contains("expected one of"), "{told}");
    }

    #[test]
    fn a_twin_has_an_address_and_a_secret_or_there_is_none() {
        let twin = |text: &str| Config::parse(&format!("[origin.twin]\n{text}"), []).map(|c| c.origin.unwrap().twin);
        assert_eq!(twin(""), Ok(None));
        let good = twin("url = \"http://b:8081/\"\ntoken = \"0123456789abcdef\"\n").unwrap().unwrap();
        assert_eq!((good.url.as_str(), good.deadline.as_millis()), ("http://b:8081", 1000));
        for (text, told) in [
            ("url = \"http://b:8081\"\n", "origin.twin.token: is missing"),
            ("url = \"http://b\"\ntoken = \"short\"\n", "origin.twin.token: must be 16 to 256"),
            ("url = \"https://b\"\ntoken = \"0123456789abcdef\"\n", "origin.twin.url: twins speak plain HTTP"),
        ] {
            let problem = twin(text).expect_err("is valid")[0].to_string();
            assert!(problem.contains(told), "{problem}");
        }
    }
}
