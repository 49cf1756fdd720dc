//! `[edge.tls]`: HTTPS beside the plain listener.

use crate::Problem;
use crate::bounded::{address, within};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Empty: no TLS.
    pub listen: Vec<SocketAddr>,
    /// The first one is for clients that name no host, or one that none of the others is for.
    pub certificates: Vec<CertificateFiles>,
    pub min_version: TlsVersion,
    /// From an accepted connection to the end of its handshake, the wait for its turn included.
    pub handshake_timeout: Duration,
    /// Handshakes at once; one more waits for its turn.
    pub handshakes_max: usize,
    /// How often the files are looked at.
    pub reload: Duration,
}

/// Two PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain, the node's own certificate first.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    listen: Vec<String>,
    certificates: Vec<CertificateFiles>,
    min_version: TlsVersion,
    handshake_timeout_ms: u64,
    handshakes_max: usize,
    reload_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            certificates: Vec::new(),
            min_version: TlsVersion::Tls12,
            handshake_timeout_ms: 5000,
            handshakes_max: 1000,
            reload_ms: 10_000,
        }
    }
}

impl Raw {
    pub(super) fn valid(self, problems: &mut Vec<Problem>) -> Tls {
        let example = "[{ certificate = \"/etc/vivid/fullchain.pem\", key = \"/etc/vivid/privkey.pem\" }]";
        if !self.listen.is_empty() && self.certificates.is_empty() {
            problems.push(Problem::new(
                "edge.tls.certificates",
                format!("must name a certificate and its key for edge.tls.listen; write for example {example}"),
            ));
        }
        for (index, files) in self.certificates.iter().enumerate() {
            if files.certificate.as_os_str().is_empty() || files.key.as_os_str().is_empty() {
                problems.push(Problem::new(
                    format!("edge.tls.certificates[{index}]"),
                    format!("needs both files; write for example {example}"),
                ));
            }
        }
        let mut ms = |name: &str, value, range| Duration::from_millis(within(problems, name, value, range));
        let handshake_timeout = ms("edge.tls.handshake_timeout_ms", self.handshake_timeout_ms, 100..=60_000);
        let reload = ms("edge.tls.reload_ms", self.reload_ms, 100..=86_400_000);
        Tls {
            listen: self.listen.iter().map(|listen| address(problems, "edge.tls.listen", listen)).collect(),
            certificates: self.certificates,
            min_version: self.min_version,
            handshake_timeout,
            handshakes_max: within(problems, "edge.tls.handshakes_max", self.handshakes_max, 1..=1_000_000),
            reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn told(text: &str) -> Vec<String> {
        Config::parse(text, []).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn tls_needs_certificates_and_each_needs_its_key() {
        let bare = told("[edge]\n[edge.tls]\nlisten = [\"0.0.0.0:8443\"]\n");
        assert!(bare[0].contains("edge.tls.certificates: must name a certificate"), "{bare:?}");
        let keyless =
            told("[edge]\n[edge.tls]\nlisten = [\"0.0.0.0:8443\"]\ncertificates = [{ certificate = \"a.pem\" }]\n");
        assert!(keyless[0].contains("edge.tls.certificates[0]: needs both files"), "{keyless:?}");
        let whole = "[edge]\n[edge.tls]\nlisten = [\"0.0.0.0:8443\", \"[::]:8443\"]\nmin_version = \"1.3\"\n\
                     certificates = [{ certificate = \"a.pem\", key = \"b.pem\" }]\n";
        assert_eq!(told(whole), [""; 0]);
    }

    #[test]
    fn versions_that_nobody_should_speak_are_unknown() {
        let old = told("[edge]\n[edge.tls]\nmin_version = \"1.1\"\n");
        assert!(old[0].contains("expected `1.2` or `1.3`"), "{old:?}");
    }
}
