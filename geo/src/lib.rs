//! Where viewers are: country, network and place of an address, from MaxMind databases that are read anew as they change.
//!
//! [`database`] answers from bytes in memory; [`Geo`] holds the files of a node and follows their changes. Nothing here
//! panics on a hostile file: what cannot be used is said in the log, and a viewer is then unplaced, not refused.

mod address;
pub mod database;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod place;
mod slot;

pub use database::{Database, Unusable};
pub use place::{Country, Place};
pub use slot::State;

use slot::Slot;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The databases of a node. Without one, that part of a viewer's whereabouts stays unknown.
pub struct Geo {
    country: Slot,
    city: Slot,
    asn: Slot,
}

/// The files to use, each in MaxMind's layout or in the flat one of DB-IP.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub country: Option<PathBuf>,
    /// Knows countries too, for a node that has no country database.
    pub city: Option<PathBuf>,
    pub asn: Option<PathBuf>,
}

/// What a look-up came to, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// There is no such database.
    Off,
    Found(T),
    /// The database does not know the address, or it is a private one.
    Unknown,
    /// The database is damaged here.
    Broken,
}

/// How one database stands, for metrics and pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `country`, `city` or `asn`.
    pub database: &'static str,
    pub state: State,
    /// When the one in use was made, as it says itself.
    pub built: Option<SystemTime>,
}

/// Reads a file as a node would.
///
/// # Errors
/// Why it is of no use.
pub fn check(path: &Path) -> Result<(), Unusable> {
    slot::check(path)
}

impl Geo {
    /// Reads what is configured. A file that is missing or broken is an error in the log and no reason not to start:
    /// viewers are better served alike than not at all.
    pub fn load(files: Files) -> Self {
        let geo = Self {
            country: Slot::new("country", files.country),
            city: Slot::new("city", files.city),
            asn: Slot::new("asn", files.asn),
        };
        geo.refresh();
        geo
    }

    /// Reads the files that have changed, and swaps in each that is whole and sound; else the last good one stays. Reads
    /// from the disk, for as long as that takes: not for a thread that serves viewers.
    pub fn refresh(&self) {
        for slot in self.slots() {
            slot.refresh();
        }
    }

    pub fn country(&self, address: IpAddr) -> Lookup<Country> {
        let database = self.country.database().or_else(|| self.city.database());
        database.map_or(Lookup::Off, |database| database.country(address))
    }

    /// Number of the autonomous system.
    pub fn asn(&self, address: IpAddr) -> Lookup<u32> {
        self.asn.database().map_or(Lookup::Off, |database| database.asn(address))
    }

    pub fn place(&self, address: IpAddr) -> Lookup<Place> {
        self.city.database().map_or(Lookup::Off, |database| database.place(address))
    }

    pub fn standings(&self) -> [Standing; 3] {
        self.slots().map(Slot::standing)
    }

    fn slots(&self) -> [&Slot; 3] {
        [&self.country, &self.city, &self.asn]
    }
}

impl<T> Lookup<T> {
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Off | Self::Unknown | Self::Broken => None,
        }
    }

    /// A word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Found(_) => "found",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
        }
    }
}
