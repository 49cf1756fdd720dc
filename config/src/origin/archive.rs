//! `[origin.archive]`: what is kept of streams that have ended, for how long, and where.

use super::Disk;
use crate::Problem;
use crate::bounded::{base_url, token, within};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Recordings stay in origin.disk.path until a tier takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Without it nothing of a stream is kept beyond its window.
    pub enabled: bool,
    /// A recording is removed so long after its end.
    pub keep: Duration,
    /// Of all recordings together; past it the oldest are removed.
    pub bytes_max: u64,
    /// Of a stream that does not end, so much is kept.
    pub length_max: Duration,
    /// Whoever sends it as `Authorization: Bearer` may remove recordings. Without one nobody may.
    pub token: Option<String>,
    /// How often it is looked for what is to be moved or removed, and a store that failed is tried again.
    pub sweep: Duration,
    /// How long a recording that has moved is kept where it was: answers that began there come to their end.
    pub grace: Duration,
    /// Objects on their way from one tier to another at once.
    pub copies_max: usize,
    /// Answers that read from a tier's store at once.
    pub reads_max: usize,
    /// Longest wait for a store's next bytes, a place among the readers included.
    pub read_timeout: Duration,
    /// Where recordings go as they grow old, in the order in which they do.
    pub tiers: Vec<Tier>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    pub name: String,
    /// Since the recording's end.
    pub after: Duration,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Folder(PathBuf),
    S3(S3),
}

/// What is not given comes from the environment, as every tool for S3 reads it: `AWS_ACCESS_KEY_ID` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3 {
    pub bucket: String,
    /// In front of every key, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Amazon's own where there is none.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
}

/// What the folder of the origin itself is called among the tiers.
pub const HOT: &str = "hot";

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    enabled: bool,
    keep_s: u64,
    bytes_max: u64,
    length_max_s: u64,
    token: Option<String>,
    sweep_s: u64,
    grace_s: u64,
    copies_max: usize,
    reads_max: usize,
    read_timeout_ms: u64,
    tiers: Vec<RawTier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTier {
    name: String,
    after_s: u64,
    url: String,
    endpoint: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    #[serde(default)]
    allow_http: bool,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            enabled: false,
            keep_s: 30 * DAY_S,
            bytes_max: 1 << 40,
            length_max_s: DAY_S,
            token: None,
            sweep_s: 10,
            grace_s: 60,
            copies_max: 8,
            reads_max: 64,
            read_timeout_ms: 5000,
            tiers: Vec::new(),
        }
    }
}

const DAY_S: u64 = 86_400;
const TIERS_MAX: usize = 4;

impl Raw {
    pub(super) fn valid(self, disk: &Disk, problems: &mut Vec<Problem>) -> Archive {
        if self.enabled && disk.path.is_none() {
            let text = "needs origin.disk.path, the folder in which recordings begin; write for example \"/var/lib/vivid/origin\"";
            problems.push(Problem::new("origin.archive.enabled", text));
        }
        token(problems, "origin.archive.token", self.token.as_deref());
        if self.tiers.len() > TIERS_MAX {
            problems.push(Problem::new("origin.archive.tiers", format!("are more than {TIERS_MAX}; name fewer")));
        }
        let mut seconds = |name: &str, value, range| Duration::from_secs(within(problems, name, value, range));
        let keep = seconds("origin.archive.keep_s", self.keep_s, 60..=100 * 366 * DAY_S);
        let length_max = seconds("origin.archive.length_max_s", self.length_max_s, 60..=7 * DAY_S);
        let sweep = seconds("origin.archive.sweep_s", self.sweep_s, 1..=3600);
        let grace = seconds("origin.archive.grace_s", self.grace_s, 1..=DAY_S);
        let tiers: Vec<Tier> =
            self.tiers.into_iter().enumerate().map(|(index, raw)| raw.valid(index, problems)).collect();
        for (index, tier) in tiers.iter().enumerate() {
            let before = &tiers[..index];
            if tier.name == HOT || before.iter().any(|other| other.name == tier.name) {
                let text = format!("{:?} is taken; give each tier a name of its own", tier.name);
                problems.push(Problem::new(format!("origin.archive.tiers[{index}].name"), text));
            }
            if before.last().is_some_and(|other| other.after >= tier.after) {
                let text = "must be more than that of the tier before it: recordings go from one to the next";
                problems.push(Problem::new(format!("origin.archive.tiers[{index}].after_s"), text));
            }
        }
        Archive {
            enabled: self.enabled,
            keep,
            bytes_max: within(problems, "origin.archive.bytes_max", self.bytes_max, 1 << 20..=1 << 60),
            length_max,
            token: self.token,
            sweep,
            grace,
            copies_max: within(problems, "origin.archive.copies_max", self.copies_max, 1..=64),
            reads_max: within(problems, "origin.archive.reads_max", self.reads_max, 1..=1024),
            read_timeout: Duration::from_millis(within(
                problems,
                "origin.archive.read_timeout_ms",
                self.read_timeout_ms,
                100..=60_000,
            )),
            tiers,
        }
    }
}

impl RawTier {
    fn valid(self, index: usize, problems: &mut Vec<Problem>) -> Tier {
        let key = |name: &str| format!("origin.archive.tiers[{index}].{name}");
        let name = crate::bounded::name(problems, &key("name"), self.name);
        let after = within(problems, &key("after_s"), self.after_s, 0..=100 * 366 * DAY_S);
        let place = if let Some(path) = self.url.strip_prefix("file://").filter(|path| path.starts_with('/')) {
            Place::Folder(path.into())
        } else {
            let (bucket, prefix) = bucket(&self.url).unwrap_or_else(|| {
                let text =
                    "must be a folder or a bucket; write for example \"file:///mnt/warm\" or \"s3://BUCKET/PREFIX\"";
                problems.push(Problem::new(key("url"), text));
                Default::default()
            });
            let endpoint = self.endpoint.map(|url| base_url(problems, &key("endpoint"), &url));
            if endpoint.as_ref().is_some_and(|url| url.starts_with("http://")) && !self.allow_http {
                let text = "is not encrypted; write https://, or set allow_http = true where the network is your own";
                problems.push(Problem::new(key("endpoint"), text));
            }
            if self.access_key_id.is_some() != self.secret_access_key.is_some() {
                let text = "and access_key_id go together; write both, or neither to take them from the environment";
                problems.push(Problem::new(key("secret_access_key"), text));
            }
            let (access_key_id, secret_access_key) = (self.access_key_id, self.secret_access_key);
            Place::S3(S3 { bucket, prefix, endpoint, region: self.region, access_key_id, secret_access_key })
        };
        Tier { name, after: Duration::from_secs(after), place }
    }
}

/// Bucket and prefix of `s3://BUCKET[/PREFIX]`.
fn bucket(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("s3://")?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let prefix = prefix.trim_end_matches('/');
    let steps = prefix.is_empty()
        || prefix.split('/').all(|step| !step.is_empty() && step != "." && step != ".." && plain(step));
    (!bucket.is_empty() && plain(bucket) && steps).then(|| (bucket.to_owned(), prefix.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn archive(text: &str) -> Result<Archive, String> {
        let head = "[origin]\n[origin.disk]\npath = \"/x\"\n[origin.archive]\nenabled = true\n";
        match Config::parse(&format!("{head}{text}\n"), []) {
            Ok(config) => Ok(config.origin.unwrap().archive),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    #[test]
    fn tiers_are_folders_and_buckets() {
        let tiers = "tiers = [{ name = \"warm\", after_s = 0, url = \"file:///mnt/warm\" }, { name = \"cold\", after_s = 9, \
            url = \"s3://tape/a/b/\", endpoint = \"http://h:9000\", allow_http = true }]";
        let tiers = archive(tiers).unwrap().tiers;
        assert_eq!(tiers[0].place, Place::Folder("/mnt/warm".into()));
        let Place::S3(s3) = &tiers[1].place else { panic!("a bucket") };
        assert_eq!((&*s3.bucket, &*s3.prefix, s3.endpoint.as_deref()), ("tape", "a/b", Some("http://h:9000")));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let tier = |tier: &str| archive(&format!("tiers = [{{ {tier} }}]")).expect_err("is valid");
        assert!(
            tier("name = \"a\", after_s = 1, url = \"/mnt\"").contains("tiers[0].url: must be a folder or a bucket")
        );
        for url in ["s3://", "s3://b/../c", "s3://b//c", "file://mnt", "gs://b", "s3://b/ü"] {
            assert!(tier(&format!("name = \"a\", after_s = 1, url = \"{url}\"")).contains("tiers[0].url"), "{url}");
        }
        let s3 = "name = \"a\", after_s = 1, url = \"s3://b\"";
        assert!(tier(&format!("{s3}, endpoint = \"http://h\"")).contains("allow_http = true"));
        assert!(tier(&format!("{s3}, access_key_id = \"k\"")).contains("write both"));
        assert!(tier("name = \"hot\", after_s = 1, url = \"s3://b\"").contains("tiers[0].name: \"hot\" is taken"));
        let two = format!("tiers = [{{ {s3} }}, {{ {} }}]", s3.replace("\"a\"", "\"c\""));
        assert!(archive(&two).expect_err("is valid").contains("tiers[1].after_s: must be more"));
        let bare = Config::parse("[origin]\n[origin.archive]\nenabled = true\n", []).expect_err("is valid");
        assert!(bare[0].to_string().contains("origin.archive.enabled: needs origin.disk.path"));
    }
}
