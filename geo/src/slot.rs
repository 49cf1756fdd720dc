//! One database file: read whole into memory, checked, and only then swapped in for the one before.
//!
//! A file is not mapped into memory: whoever edits a mapped file in place takes the process with it.

use crate::Standing;
use crate::database::{Database, Unusable};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{error, info};

/// How a database stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// None is configured.
    Off,
    /// What the file holds is in use.
    Current,
    /// The file is missing or broken, and the last good one is in use.
    Stale,
    /// The file is missing or broken, and there has been none before.
    Absent,
}

impl State {
    /// A word for pages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Absent => "absent",
        }
    }
}

pub(crate) struct Slot {
    name: &'static str,
    path: Option<PathBuf>,
    database: ArcSwapOption<Database>,
    /// As the file was at the last look; `None` before the first.
    seen: Mutex<Option<Stamp>>,
    /// What was seen is in use.
    current: AtomicBool,
}

/// By what a change of a file is known. The time of change is the kernel's, which no copying tool sets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Missing,
    File { inode: u64, bytes: u64, changed: (i64, i64) },
}

/// Far beyond any database: a wrong path must not fill the memory.
const FILE_BYTES_MAX: u64 = 2 << 30;

impl Slot {
    pub(crate) fn new(name: &'static str, path: Option<PathBuf>) -> Self {
        Self { name, path, database: ArcSwapOption::empty(), seen: Mutex::new(None), current: AtomicBool::new(false) }
    }

    pub(crate) fn database(&self) -> Option<Arc<Database>> {
        self.database.load_full()
    }

    pub(crate) fn standing(&self) -> Standing {
        let database = self.database();
        let state = match (&self.path, &database) {
            (None, _) => State::Off,
            (_, None) => State::Absent,
            (_, Some(_)) if self.current.load(Ordering::Relaxed) => State::Current,
            (_, Some(_)) => State::Stale,
        };
        Standing { database: self.name, state, built: database.and_then(|database| database.built()) }
    }

    pub(crate) fn refresh(&self) {
        let Some(path) = &self.path else { return };
        let mut seen = self.seen.lock();
        let stamp = Stamp::of(path);
        if *seen == Some(stamp) {
            return;
        }
        let read = read(path, stamp);
        self.current.store(read.is_ok(), Ordering::Relaxed);
        // One that was being written is looked at again, whatever it looks like then.
        *seen = (!matches!(read, Err(Unusable::Changing))).then_some(stamp);
        match read {
            Ok(database) => {
                info!(database = self.name, path = %path.display(), kind = database.name(), "geo database loaded");
                self.database.store(Some(Arc::new(database)));
            }
            Err(problem) => {
                let serves = if self.database.load().is_some() { "the last good one" } else { "none" };
                error!(database = self.name, path = %path.display(), %problem, serves, "geo database unusable");
            }
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Self {
        std::fs::metadata(path).map_or(Self::Missing, |metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Self::File { inode: metadata.ino(), bytes: metadata.len(), changed }
    }
}

pub(crate) fn check(path: &Path) -> Result<(), Unusable> {
    read(path, Stamp::of(path)).map(drop)
}

fn read(path: &Path, stamp: Stamp) -> Result<Database, Unusable> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(Unusable::NoFile);
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Unusable::TooLarge(metadata.len()));
    }
    let bytes = std::fs::read(path)?;
    if Stamp::of(path) != stamp {
        return Err(Unusable::Changing);
    }
    let database = Database::open(bytes)?;
    database.check()?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Value, database};
    use crate::{Country, Files, Geo, Lookup};
    use std::fs;
    use std::net::IpAddr;

    const VIEWER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8));

    fn of(code: &'static str) -> Vec<u8> {
        database(6, &[("::", 0, Value::map([("country_code", Value::Text(code))]))])
    }

    /// A database that opens and of which no record can be read.
    fn hollow() -> Vec<u8> {
        let mut bytes = of("DE");
        let record = bytes.windows(12).position(|window| window == b"country_code").unwrap() - 2;
        // An extended type that the format does not have (MaxMind DB 2.0, "Output Data Section").
        bytes[record..record + 2].copy_from_slice(&[0, 200]);
        bytes
    }

    /// As tools that care do it: written beside, then moved into place.
    fn place(path: &Path, bytes: &[u8]) {
        let beside = path.with_extension("new");
        fs::write(&beside, bytes).unwrap();
        fs::rename(&beside, path).unwrap();
    }

    fn state(geo: &Geo) -> State {
        geo.standings()[0].state
    }

    #[test]
    fn a_new_file_is_taken_and_a_bad_one_leaves_the_last_good_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("country.mmdb");
        place(&path, &of("DE"));
        let geo = Geo::load(Files { country: Some(path.clone()), ..Files::default() });
        let found = || geo.country(VIEWER).found();
        assert_eq!((found(), state(&geo)), (Country::new("DE"), State::Current));

        place(&path, &of("FR"));
        assert_eq!(found(), Country::new("DE"), "nothing changes by itself");
        geo.refresh();
        assert_eq!((found(), state(&geo)), (Country::new("FR"), State::Current));

        let cut = of("IT");
        for bad in [b"".to_vec(), b"\xab\xcd\xefMaxMind.com garbage".to_vec(), cut[..cut.len() / 2].to_vec(), hollow()]
        {
            place(&path, &bad);
            geo.refresh();
            assert_eq!((found(), state(&geo)), (Country::new("FR"), State::Stale));
        }
        fs::remove_file(&path).unwrap();
        geo.refresh();
        assert_eq!((found(), state(&geo)), (Country::new("FR"), State::Stale));
        fs::create_dir(&path).unwrap();
        geo.refresh();
        assert_eq!((found(), state(&geo)), (Country::new("FR"), State::Stale));
        fs::remove_dir(&path).unwrap();

        place(&path, &of("IT"));
        geo.refresh();
        assert_eq!((found(), state(&geo)), (Country::new("IT"), State::Current));
    }

    #[test]
    fn an_edit_in_place_is_a_change_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("country.mmdb");
        fs::write(&path, of("DE")).unwrap();
        let geo = Geo::load(Files { country: Some(path.clone()), ..Files::default() });
        // Of the same length, and perhaps within one tick of the clock: whoever looks again sees it at the latest.
        let before = Stamp::of(&path);
        while Stamp::of(&path) == before {
            fs::write(&path, of("FR")).unwrap();
        }
        geo.refresh();
        assert_eq!(geo.country(VIEWER).found(), Country::new("FR"));
    }

    #[test]
    fn without_a_good_file_there_is_none_until_one_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("city.mmdb");
        let geo = Geo::load(Files { city: Some(path.clone()), ..Files::default() });
        let standings = |geo: &Geo| geo.standings().map(|standing| standing.state);
        assert_eq!(standings(&geo), [State::Off, State::Absent, State::Off]);
        assert_eq!((geo.country(VIEWER), geo.place(VIEWER)), (Lookup::Off, Lookup::Off));
        place(&path, &hollow());
        geo.refresh();
        assert_eq!(standings(&geo), [State::Off, State::Absent, State::Off]);
        place(&path, &of("DE"));
        geo.refresh();
        assert_eq!(standings(&geo), [State::Off, State::Current, State::Off]);
        assert_eq!(geo.country(VIEWER).found(), Country::new("DE"), "a city database knows countries");
        assert!(geo.standings()[1].built.is_some());
    }
}
