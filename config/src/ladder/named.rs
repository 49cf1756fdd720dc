//! `rungs`: a list of one's own, or the name of a ladder that is there.

use super::RawRung;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;

#[derive(Clone)]
pub(super) enum Rungs {
    Named(Named),
    Own(Vec<RawRung>),
}

#[derive(Clone, Copy)]
pub(super) enum Named {
    Mobile,
    Standard,
    Uhd,
}

/// Height in pixels, frames per second at most, bits per second.
type Step = (u32, Option<u32>, u32);

const NAMES: [(&str, Named); 3] = [("mobile", Named::Mobile), ("standard", Named::Standard), ("uhd", Named::Uhd)];

const MOBILE: [Step; 3] = [(540, Some(30), 1_600_000), (360, Some(30), 800_000), (240, Some(30), 300_000)];
const STANDARD: [Step; 5] = [
    (1080, Some(60), 6_000_000),
    (1080, Some(30), 4_500_000),
    (720, None, 3_000_000),
    (480, None, 1_500_000),
    (360, None, 800_000),
];
const UHD: [Step; 2] = [(2160, Some(60), 20_000_000), (1440, Some(60), 11_000_000)];

impl Named {
    pub(super) fn rungs(self) -> Vec<RawRung> {
        let steps = match self {
            Self::Mobile => MOBILE.to_vec(),
            Self::Standard => STANDARD.to_vec(),
            Self::Uhd => [&UHD[..], &STANDARD[..]].concat(),
        };
        steps.into_iter().map(RawRung::plain).collect()
    }
}

impl<'de> Deserialize<'de> for Rungs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

impl Serialize for Rungs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Named(named) => named.rungs().serialize(serializer),
            Self::Own(rungs) => rungs.serialize(serializer),
        }
    }
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Rungs;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("\"mobile\", \"standard\", \"uhd\" or a list such as [{ height = 360, bitrate = 800000 }]")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Rungs, E> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, named)| Rungs::Named(*named))
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(name), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rungs, A::Error> {
        let mut rungs = Vec::new();
        while let Some(rung) = list.next_element()? {
            rungs.push(rung);
        }
        Ok(Rungs::Own(rungs))
    }
}
