//! A country by its code, and a point on the globe with its distance to others.

use std::fmt;

/// ISO 3166-1 alpha-2, upper case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

/// A point on the globe, kept as the unit vector that points there: comparing distances then takes no trigonometry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place([f64; 3]);

/// Mean radius of the earth (IUGG). Taken for a sphere, distances are wrong by at most 0.6 %.
const EARTH_RADIUS_KM: f64 = 6371.0088;

impl Country {
    /// Two letters in any case.
    pub fn new(code: &str) -> Option<Self> {
        let letters: [u8; 2] = code.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_alphabetic).then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }
}

impl Place {
    /// From degrees north and east (WGS 84); `None` for what is no point on the globe.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return None;
        }
        let (north, east) = (latitude.to_radians(), longitude.to_radians());
        Some(Self([north.cos() * east.cos(), north.cos() * east.sin(), north.sin()]))
    }

    /// Along the surface, in kilometres.
    pub fn distance_km(self, other: Self) -> f64 {
        let chord = self.0.iter().zip(other.0).map(|(one, other)| (one - other) * (one - other)).sum::<f64>().sqrt();
        2.0 * EARTH_RADIUS_KM * (chord / 2.0).min(1.0).asin()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&letter| write!(f, "{}", char::from(letter)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_two_letters() {
        assert_eq!(Country::new("de").map(|country| country.to_string()), Some("DE".to_owned()));
        for bad in ["", "d", "deu", "d1", "é"] {
            assert_eq!(Country::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn distances_are_those_of_an_atlas() {
        let place = |latitude, longitude| Place::new(latitude, longitude).unwrap();
        let (paris, london, auckland) = (place(48.8566, 2.3522), place(51.5074, -0.1278), place(-36.85, 174.76));
        for (one, other, km) in [
            (paris, london, 343.6),
            (paris, auckland, 18_534.0),
            (place(0.0, 179.9), place(0.0, -179.9), 22.2),
            (place(90.0, 0.0), place(-90.0, 77.0), 20_015.1),
            (paris, paris, 0.0),
        ] {
            let found = one.distance_km(other);
            assert!((found - km).abs() <= km * 0.002 + 1e-6, "{found} is not {km}");
            assert_eq!(found, other.distance_km(one));
        }
    }

    #[test]
    fn what_is_no_point_on_the_globe_has_no_place() {
        for (latitude, longitude) in [(90.1, 0.0), (-91.0, 0.0), (0.0, 180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Place::new(latitude, longitude), None, "{latitude}, {longitude}");
        }
    }
}
