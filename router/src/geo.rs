//! Where a viewer is: country and network of an address, from MaxMind databases in either of the layouts in use.

use crate::sample::{Country, Scope};
use maxminddb::{PathElement, Reader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use tracing::{error, info};

/// The databases that could be loaded. Without one, that part of a scope stays unknown and all viewers are alike.
#[derive(Default)]
pub struct Geo {
    country: Option<Database>,
    asn: Option<Database>,
}

struct Database {
    reader: Reader<Vec<u8>>,
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

impl Geo {
    /// Loads what is configured. A database that is missing or broken is an error in the log and in the metrics, and
    /// not the end of the router: viewers are better served alike than not at all.
    pub fn load(config: &config::Geo) -> Self {
        let load = |kind: &str, path: &Option<PathBuf>| path.as_deref().and_then(|path| Database::load(kind, path));
        Self { country: load("country", &config.country_database), asn: load("asn", &config.asn_database) }
    }

    /// From the bytes of databases.
    pub fn from_bytes(country: Option<Vec<u8>>, asn: Option<Vec<u8>>) -> Self {
        let open = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| Database::open(bytes).ok());
        Self { country: open(country), asn: open(asn) }
    }

    /// Whether the country and the network database are in use.
    pub fn loaded(&self) -> (bool, bool) {
        (self.country.is_some(), self.asn.is_some())
    }

    pub fn country(&self, address: IpAddr) -> Lookup<Country> {
        // MaxMind nests the code; DB-IP's country files are flat.
        lookup(self.country.as_ref(), address, |database, address| {
            // A flat file may have a text where the nested one has a map; real damage shows in the second look.
            let nested = database.value::<&str>(address, &["country", "iso_code"]).unwrap_or_default();
            let code = nested.or(database.value::<&str>(address, &["country_code"])?);
            Ok(code.and_then(Country::new))
        })
    }

    pub fn asn(&self, address: IpAddr) -> Lookup<u32> {
        lookup(self.asn.as_ref(), address, |database, address| {
            database.value::<u32>(address, &["autonomous_system_number"])
        })
    }

    pub fn scope(&self, address: IpAddr) -> Scope {
        Scope { country: self.country(address).found(), asn: self.asn(address).found() }
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
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Found(_) => "found",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
        }
    }
}

impl Database {
    fn load(kind: &str, path: &Path) -> Option<Self> {
        let opened = std::fs::read(path).map_err(|error| error.to_string()).and_then(Self::open);
        match opened {
            Ok(database) => {
                let metadata = database.reader.metadata();
                info!(kind, path = %path.display(), of = %metadata.database_type, "geo database loaded");
                Some(database)
            }
            Err(problem) => {
                error!(kind, path = %path.display(), %problem, "geo database unusable, viewers stay unplaced");
                None
            }
        }
    }

    fn open(bytes: Vec<u8>) -> Result<Self, String> {
        let reader = Reader::from_source(bytes).map_err(|error| error.to_string())?;
        Ok(Self { reader })
    }

    fn value<'a, T: serde::Deserialize<'a>>(&'a self, address: IpAddr, path: &[&'a str]) -> Result<Option<T>, Damage> {
        let path: Vec<_> = path.iter().map(|key| PathElement::Key(key)).collect();
        let found = self.reader.lookup(address).map_err(|_| Damage)?;
        found.decode_path(&path).map_err(|_| Damage)
    }
}

struct Damage;

fn lookup<'a, T>(
    database: Option<&'a Database>,
    address: IpAddr,
    find: impl FnOnce(&'a Database, IpAddr) -> Result<Option<T>, Damage>,
) -> Lookup<T> {
    let Some(database) = database else { return Lookup::Off };
    let address = address.to_canonical();
    // A tree of IPv4 addresses only is no damage to a viewer on IPv6.
    if !public(address) || (address.is_ipv6() && database.reader.metadata().ip_version == 4) {
        return Lookup::Unknown;
    }
    match find(database, address) {
        Ok(Some(value)) => Lookup::Found(value),
        Ok(None) => Lookup::Unknown,
        Err(Damage) => Lookup::Broken,
    }
}

/// Whether an address can be somewhere: private, local and shared ones are not, whatever a database says.
fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let carrier_grade_nat = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            let nowhere = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified();
            !(nowhere || carrier_grade_nat || v4 == Ipv4Addr::BROADCAST || v4.is_multicast())
        }
        IpAddr::V6(v6) => {
            let local = v6.is_unique_local() || v6.is_unicast_link_local();
            !(v6.is_loopback() || v6.is_unspecified() || local || v6.is_multicast())
        }
    }
}
