//! One database in memory: what it says of an address, in either of the layouts in use.

use crate::Lookup;
use crate::address::is_public;
use crate::place::{Country, Place};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use maxminddb::{MaxMindDbError, PathElement, Reader};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::time::SystemTime;

/// A database that answers.
pub struct Database {
    reader: Reader<Vec<u8>>,
}

/// Why a file is no database to use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("it cannot be read: {0}; check path and permissions")]
    Unreadable(#[from] std::io::Error),
    #[error("it is no regular file; give the path of a .mmdb file")]
    NoFile,
    #[error("it has {0} bytes, more than any database; give the path of a .mmdb file")]
    TooLarge(u64),
    #[error("it is being written; move a new file into place whole")]
    Changing,
    #[error("it is no MaxMind database: {0}; fetch it again")]
    Format(Box<MaxMindDbError>),
    #[error("it is damaged: what it says of {0} cannot be read; fetch it again")]
    Damaged(IpAddr),
}

/// Beyond this radius a place is the middle of a country and no place of a viewer.
const ACCURACY_KM_MAX: f64 = 200.0;
/// Addresses looked up before a database is used. Damage that this many do not meet concerns few viewers, who are then
/// unplaced.
const SAMPLES: u32 = 4096;

impl Database {
    /// Opens the bytes of a file.
    ///
    /// # Errors
    /// `Format` if they are no database.
    pub fn open(bytes: Vec<u8>) -> Result<Self, Unusable> {
        let reader = Reader::from_source(bytes).map_err(|error| Unusable::Format(Box::new(error)))?;
        Ok(Self { reader })
    }

    /// Looks up addresses all over it: one that opens may still have no record that can be read.
    ///
    /// # Errors
    /// `Damaged`, with an address that shows it.
    pub fn check(&self) -> Result<(), Unusable> {
        match (0..SAMPLES).flat_map(sample).find(|address| self.is_damaged_at(*address)) {
            Some(address) => Err(Unusable::Damaged(address)),
            None => Ok(()),
        }
    }

    pub fn country(&self, address: IpAddr) -> Lookup<Country> {
        // MaxMind nests the code; DB-IP's files are flat.
        self.lookup(address, |record| {
            // A flat file may have a text where the nested one has a map; real damage shows in the second look.
            let nested = record.value::<&str, _>(["country", "iso_code"]).unwrap_or_default();
            let code = nested.or(record.value::<&str, _>(["country_code"])?);
            Ok(code.and_then(Country::new))
        })
    }

    pub fn asn(&self, address: IpAddr) -> Lookup<u32> {
        self.lookup(address, |record| record.value::<u32, _>(["autonomous_system_number"]))
    }

    /// The place of a city database; the middle of a country is none.
    pub fn place(&self, address: IpAddr) -> Lookup<Place> {
        self.lookup(address, |record| Ok(record.whole::<Whereabouts>()?.and_then(Whereabouts::place)))
    }

    /// What kind of database it says it is.
    pub fn name(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// When it was made, as it says itself.
    pub fn built(&self) -> Option<SystemTime> {
        self.reader.metadata().build_time().ok()
    }

    fn lookup<'a, T>(
        &'a self,
        address: IpAddr,
        find: impl FnOnce(Record<'a>) -> Result<Option<T>, Damage>,
    ) -> Lookup<T> {
        let address = address.to_canonical();
        // A tree of IPv4 addresses only is no damage to a viewer on IPv6.
        if !is_public(address) || (address.is_ipv6() && self.reader.metadata().ip_version == 4) {
            return Lookup::Unknown;
        }
        match self.reader.lookup(address).map_err(|_| Damage).and_then(|found| find(Record(found))) {
            Ok(Some(value)) => Lookup::Found(value),
            Ok(None) => Lookup::Unknown,
            Err(Damage) => Lookup::Broken,
        }
    }

    fn is_damaged_at(&self, address: IpAddr) -> bool {
        self.lookup(address, |record| record.whole::<IgnoredAny>()) == Lookup::Broken
    }
}

/// What the database has for an address.
struct Record<'a>(maxminddb::LookupResult<'a, Vec<u8>>);

struct Damage;

impl<'a> Record<'a> {
    fn value<T: Deserialize<'a>, const N: usize>(&self, path: [&str; N]) -> Result<Option<T>, Damage> {
        self.0.decode_path(&path.map(PathElement::Key)).map_err(|_| Damage)
    }

    fn whole<T: Deserialize<'a>>(&self) -> Result<Option<T>, Damage> {
        self.0.decode().map_err(|_| Damage)
    }
}

/// An IPv4 address and an IPv6 one, each spread evenly over what is assigned.
fn sample(number: u32) -> [IpAddr; 2] {
    // Multiples of 2^32 over the golden ratio leave no gap twice as wide as another.
    let spread = number.wrapping_mul(0x9e37_79b9);
    let v6 = 0x2000_u128 << 112 | u128::from(spread) << 93 | u128::from(spread);
    [Ipv4Addr::from(spread).into(), Ipv6Addr::from(v6).into()]
}

/// What both layouts say of a place: `location` and a map for the city, or all of it flat.
#[derive(Deserialize)]
struct Whereabouts {
    location: Option<Location>,
    latitude: Option<Number>,
    longitude: Option<Number>,
    city: Option<Named>,
}

#[derive(Deserialize)]
struct Location {
    latitude: Option<Number>,
    longitude: Option<Number>,
    accuracy_radius: Option<Number>,
}

impl Whereabouts {
    fn place(self) -> Option<Place> {
        let has_city = self.city.is_some_and(|city| city.0);
        let (latitude, longitude, radius_km) = match self.location {
            Some(nested) => (nested.latitude, nested.longitude, nested.accuracy_radius),
            None => (self.latitude, self.longitude, None),
        };
        let exact = radius_km.map_or(has_city, |radius| radius.0 <= ACCURACY_KM_MAX);
        let (latitude, longitude) = (latitude?.0, longitude?.0);
        // Nobody lives in the Gulf of Guinea: there lie those that a maker of databases knew nothing of.
        let said = exact && (latitude, longitude) != (0.0, 0.0);
        said.then(|| Place::new(latitude, longitude)).flatten()
    }
}

/// A number in any of the types that databases have for one; some write it as text.
struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Numbers;
        impl Visitor<'_> for Numbers {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Number, E> {
                // What is no number is no place either.
                Ok(Number(value.parse().unwrap_or(f64::NAN)))
            }
        }
        deserializer.deserialize_any(Numbers)
    }
}

/// Whether something has a name: a map of names, or a text that is not empty.
struct Named(bool);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Named;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a map of names")
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Named, E> {
                Ok(Named(!value.is_empty()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                let mut named = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    named = true;
                }
                Ok(Named(named))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Value, database};

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn open(bytes: Vec<u8>) -> Database {
        let database = Database::open(bytes).unwrap();
        database.check().unwrap();
        database
    }

    fn germany_nested() -> Value {
        Value::map([("country", Value::map([("iso_code", Value::Text("DE"))])), ("continent", Value::map([]))])
    }

    fn flat(code: &'static str) -> Value {
        Value::map([("country_code", Value::Text(code)), ("city", Value::Text("x"))])
    }

    /// Paris in MaxMind's layout.
    fn nested(radius_km: u16) -> Value {
        let (latitude, longitude) = (Value::F64(48.8566), Value::F64(2.3522));
        let location = [("accuracy_radius", Value::U16(radius_km)), ("latitude", latitude), ("longitude", longitude)];
        Value::map([("city", Value::map([("geoname_id", Value::U32(1))])), ("location", Value::map(location))])
    }

    /// A flat one.
    fn flat_city(city: &'static str, latitude: Value, longitude: Value) -> Value {
        Value::map([("city", Value::Text(city)), ("latitude", latitude), ("longitude", longitude)])
    }

    #[test]
    fn both_layouts_give_the_country() {
        for value in [germany_nested(), flat("DE")] {
            let database = open(database(6, &[("203.0.113.0", 24, value)]));
            assert_eq!(database.country(address("203.0.113.77")).found(), Country::new("DE"));
            assert_eq!(database.country(address("::ffff:203.0.113.77")).found(), Country::new("DE"));
            assert_eq!(database.country(address("203.0.114.1")), Lookup::Unknown);
            assert_eq!(database.place(address("203.0.113.77")), Lookup::Unknown);
        }
    }

    #[test]
    fn the_network_has_its_number() {
        let network = Value::map([
            ("autonomous_system_number", Value::U32(15_169)),
            ("autonomous_system_organization", Value::Text("An AS")),
        ]);
        let database = open(database(6, &[("8.8.8.0", 24, network.clone()), ("2001:db8::", 33, network)]));
        assert_eq!(database.asn(address("8.8.8.8")), Lookup::Found(15_169));
        assert_eq!(database.asn(address("8.8.9.8")), Lookup::Unknown);
        assert_eq!(database.asn(address("2001:db8::1")), Lookup::Found(15_169));
        assert_eq!(database.asn(address("2001:db8:8000::1")), Lookup::Unknown);
    }

    #[test]
    fn both_layouts_give_the_place() {
        let text = |text| Value::Text(text);
        for value in [
            nested(5),
            flat_city("Paris", Value::F64(48.8566), Value::F64(2.3522)),
            flat_city("Paris", Value::F32(48.8566), Value::F32(2.3522)),
            flat_city("Paris", text("48.8566"), text("2.3522")),
        ] {
            let found = open(database(6, &[("8.0.0.0", 8, value)])).place(address("8.8.8.8")).found().unwrap();
            assert!(found.distance_km(Place::new(48.8566, 2.3522).unwrap()) < 0.01);
        }
    }

    #[test]
    fn the_middle_of_a_country_is_no_place() {
        let text = |text| Value::Text(text);
        for value in [
            nested(1000),
            flat_city("", Value::F64(48.8566), Value::F64(2.3522)),
            flat_city("Nowhere", Value::F64(0.0), Value::F64(0.0)),
            flat_city("Paris", text("north"), text("east")),
            flat_city("Paris", Value::F64(f64::NAN), Value::F64(2.3522)),
            flat_city("Paris", Value::F64(148.0), Value::F64(2.3522)),
            Value::map([("city", text("Paris")), ("latitude", Value::F64(48.0))]),
            germany_nested(),
        ] {
            assert_eq!(open(database(6, &[("8.0.0.0", 8, value)])).place(address("8.8.8.8")), Lookup::Unknown);
        }
    }

    #[test]
    fn private_addresses_are_nowhere_whatever_a_database_says() {
        let everywhere = open(database(6, &[("::", 0, flat("US"))]));
        assert_eq!(everywhere.country(address("1.2.3.4")).found(), Country::new("US"));
        for private in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(everywhere.country(address(private)), Lookup::Unknown, "{private}");
        }
    }

    #[test]
    fn an_ipv4_database_does_not_know_ipv6() {
        let database = open(database(4, &[("9.0.0.0", 8, flat("US"))]));
        assert_eq!(database.country(address("9.9.9.9")).found(), Country::new("US"));
        assert_eq!(database.country(address("2001:db8::1")), Lookup::Unknown);
    }

    #[test]
    fn samples_are_spread_over_what_is_assigned() {
        let mut eighths = [0; 8];
        for number in 0..SAMPLES {
            let [IpAddr::V4(v4), IpAddr::V6(v6)] = sample(number) else { panic!("one of each") };
            eighths[usize::from(v4.octets()[0] >> 5)] += 1;
            assert_eq!(v6.octets()[0] >> 5, 1, "{v6} is not in 2000::/3");
        }
        assert!(eighths.iter().all(|count| (500..=524).contains(count)), "{eighths:?}");
    }

    #[test]
    fn damaged_databases_never_panic() {
        let whole = database(
            6,
            &[("8.8.0.0", 16, germany_nested()), ("9.0.0.0", 8, nested(5)), ("2001:db8::", 32, flat("FR"))],
        );
        let mut state = 5_u64;
        let mut below = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let (mut opened, mut damaged) = (0, 0);
        for round in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..=below(3) {
                let at = below(bytes.len());
                bytes[at] = below(256) as u8;
            }
            if below(10) == 0 {
                bytes.truncate(below(bytes.len()));
            }
            let Ok(database) = Database::open(bytes) else { continue };
            opened += 1;
            damaged += u32::from(round % 50 == 0 && database.check().is_err());
            for viewer in ["8.8.8.8", "9.9.9.9", "2001:db8::1"].map(address) {
                let _ = (database.country(viewer), database.place(viewer), database.asn(viewer), database.built());
            }
        }
        assert!(opened > 1000, "only {opened} damaged databases could be opened");
        assert!(damaged > 10, "only {damaged} were found out");
    }
}
