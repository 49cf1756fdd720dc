//! The servers under test as data: how each is found, configured and started.

/// A server that keeps copies of what an origin says. Texts and arguments are templates.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Where Debian puts it, beside the `PATH`.
    pub(crate) program: &'static str,
    pub(crate) version_argument: &'static str,
    pub(crate) when_absent: &'static str,
    /// Files of its directory by name.
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) folders: &'static [&'static str],
    /// Arguments, divided by white space.
    pub(crate) arguments: &'static str,
    /// Whether it serves HTTPS, with HTTP/1.1 and HTTP/2.
    pub(crate) tls: bool,
}

pub(crate) const PEERS: [Peer; 4] = [VIVID, NGINX, VARNISH, ATS];

pub(crate) const VIVID: Peer = Peer {
    name: "vivid",
    program: "vivid",
    version_argument: "--version",
    when_absent: "not built (cargo build --release --bin vivid, or name one with --vivid)",
    files: &[("vivid.toml", include_str!("../peers/vivid.toml"))],
    folders: &[],
    arguments: "edge --config @dir@/vivid.toml",
    tls: true,
};

const NGINX: Peer = Peer {
    name: "nginx",
    program: "nginx",
    version_argument: "-v",
    when_absent: "not installed (apt-get install nginx)",
    files: &[("nginx.conf", include_str!("../peers/nginx.conf"))],
    folders: &[],
    arguments: "-p @dir@ -e stderr -c @dir@/nginx.conf",
    tls: true,
};

const VARNISH: Peer = Peer {
    name: "varnish",
    program: "varnishd",
    version_argument: "-V",
    when_absent: "not installed (apt-get install varnish)",
    files: &[("varnish.vcl", include_str!("../peers/varnish.vcl"))],
    folders: &[],
    arguments: include_str!("../peers/varnish.args"),
    tls: false,
};

const ATS: Peer = Peer {
    name: "ats",
    program: "traffic_server",
    version_argument: "-V",
    when_absent: "not installed (apt-get install trafficserver)",
    files: &[
        ("runroot.yaml", include_str!("../peers/ats/runroot.yaml")),
        ("records.config", include_str!("../peers/ats/records.config")),
        ("remap.config", include_str!("../peers/ats/remap.config")),
        ("storage.config", include_str!("../peers/ats/storage.config")),
        ("ip_allow.yaml", include_str!("../peers/ats/ip_allow.yaml")),
        ("ssl_multicert.config", include_str!("../peers/ats/ssl_multicert.config")),
    ],
    folders: &["run", "log", "cache"],
    arguments: "--run-root=@dir@/runroot.yaml",
    tls: true,
};

/// The first version number in what a program says of itself.
pub(crate) fn version(said: &str) -> Option<String> {
    let number = |word: &str| {
        let digits = word.trim_start_matches(|letter: char| !letter.is_ascii_digit());
        let end = digits.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(digits.len());
        let number = digits[..end].trim_end_matches('.');
        number.contains('.').then(|| number.to_owned())
    };
    said.split_ascii_whitespace().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Values, fill};

    #[test]
    fn every_template_is_filled_by_the_values_that_servers_get() {
        let values = Values::from([
            ("dir", "/scratch".to_owned()),
            ("port", "20001".to_owned()),
            ("tls_port", "20003".to_owned()),
            ("origin_port", "20002".to_owned()),
            ("user", "root".to_owned()),
            ("name", "bench".to_owned()),
            ("cache_mb", "512".to_owned()),
            ("open_files", "20000".to_owned()),
        ]);
        for peer in &PEERS {
            let texts = peer.files.iter().map(|(_, text)| *text).chain([peer.arguments]);
            let filled: Vec<String> = texts.map(|text| fill(text, &values).unwrap()).collect();
            assert!(filled.iter().any(|text| text.contains("20001")), "{} never hears its port", peer.name);
            assert!(filled.iter().any(|text| text.contains("20002")), "{} never hears the origin's", peer.name);
            assert_eq!(filled.iter().any(|text| text.contains("20003")), peer.tls, "{}", peer.name);
        }
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, expected) in [
            ("nginx version: nginx/1.22.1\n", Some("1.22.1")),
            ("varnishd (varnish-7.1.1 revision 7cee1c5)\nCopyright (c) 2006", Some("7.1.1")),
            ("Traffic Server 9.2.9 Apr  4 2026 14:52:39 localhost\n", Some("9.2.9")),
            ("vivid 0.0.0\n", Some("0.0.0")),
            ("no number", None),
        ] {
            assert_eq!(version(said).as_deref(), expected, "{said}");
        }
    }
}
