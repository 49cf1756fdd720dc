//! `[edge.geo]` and `[router.geo]`: the databases that say where viewers are.

use crate::Problem;
use crate::bounded::within;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geo {
    pub country_database: Option<PathBuf>,
    /// Knows countries too.
    pub city_database: Option<PathBuf>,
    pub asn_database: Option<PathBuf>,
    /// How often the files are looked at for changes.
    pub check_interval: Duration,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    country_database: Option<PathBuf>,
    city_database: Option<PathBuf>,
    asn_database: Option<PathBuf>,
    check_interval_ms: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { country_database: None, city_database: None, asn_database: None, check_interval_ms: 10_000 }
    }
}

impl Raw {
    pub(crate) fn valid(self, problems: &mut Vec<Problem>, table: &str) -> Geo {
        let key = format!("{table}.check_interval_ms");
        let check_interval = Duration::from_millis(within(problems, &key, self.check_interval_ms, 100..=3_600_000));
        Geo {
            country_database: self.country_database,
            city_database: self.city_database,
            asn_database: self.asn_database,
            check_interval,
        }
    }
}
