//! A bounded walk over AMF0, which RTMP commands and metadata are written in (AMF 0 specification, December 2007).
//!
//! Every command and data message passes here first. What `rml_rtmp` sees afterwards is written by us, so that its own
//! reader, which recurses without a limit, never meets bytes from outside.

/// A value, with the kinds nobody asks for folded into `Null`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Boolean(bool),
    Text(String),
    /// Objects, ECMA arrays and typed objects, in the order they were sent.
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    Null,
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmfError {
    #[error("an AMF0 message is longer than {BYTES_MAX} bytes")]
    TooLong,
    #[error("AMF0 values are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("an AMF0 message holds more than {VALUES_MAX} values")]
    TooMany,
    #[error("an AMF0 value ends too early")]
    Truncated,
    #[error("AMF0 marker {0:#04x} is not supported")]
    UnknownMarker(u8),
}

impl Value {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The last property of this name, if this is an object: a later one overwrites an earlier one.
    pub(crate) fn property(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(properties) => properties.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }
}

/// All values of a message.
pub(crate) fn read(payload: &[u8]) -> Result<Vec<Value>, AmfError> {
    if payload.len() > BYTES_MAX {
        return Err(AmfError::TooLong);
    }
    let mut walk = Walk { rest: payload, values: 0 };
    let mut values = Vec::new();
    while !walk.rest.is_empty() {
        values.push(walk.value(0)?);
    }
    Ok(values)
}

struct Walk<'a> {
    rest: &'a [u8],
    /// Values read so far, at every depth.
    values: usize,
}

impl Walk<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, AmfError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(AmfError::TooMany);
        }
        if depth > DEPTH_MAX {
            return Err(AmfError::TooDeep);
        }
        let [marker] = self.array()?;
        Ok(match marker {
            0x00 => Value::Number(f64::from_be_bytes(self.array()?)),
            0x01 => Value::Boolean(self.array::<1>()? != [0]),
            0x02 => Value::Text(self.text()?),
            0x03 => self.object(depth)?,
            // Null, undefined, unsupported.
            0x05 | 0x06 | 0x0D => Value::Null,
            // A reference; what it refers to is not kept.
            0x07 => self.array::<2>().map(|_| Value::Null)?,
            // An ECMA array; its count is a hint that encoders get wrong.
            0x08 => self.array::<4>().and_then(|_| self.object(depth))?,
            0x0A => self.strict_array(depth)?,
            // A date and its time zone.
            0x0B => self.array::<10>().map(|_| Value::Null)?,
            // Long text and XML.
            0x0C | 0x0F => Value::Text(self.long_text()?),
            // A typed object: its class name says nothing to us.
            0x10 => self.text().and_then(|_| self.object(depth))?,
            unknown => return Err(AmfError::UnknownMarker(unknown)),
        })
    }

    /// Properties up to the empty name with the object end marker (clause 2.5).
    fn object(&mut self, depth: usize) -> Result<Value, AmfError> {
        let mut properties = Vec::new();
        loop {
            let name = self.text()?;
            if name.is_empty() && self.rest.first() == Some(&MARKER_OBJECT_END) {
                self.array::<1>()?;
                return Ok(Value::Object(properties));
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }

    /// Each turn reads a value or fails, so that the count, which the sender chose, bounds nothing and allocates nothing.
    fn strict_array(&mut self, depth: usize) -> Result<Value, AmfError> {
        let count = u32::from_be_bytes(self.array()?);
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(values))
    }

    fn text(&mut self) -> Result<String, AmfError> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length))
    }

    fn long_text(&mut self) -> Result<String, AmfError> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(length as usize)
    }

    /// Encoders also send names in other encodings; what is not UTF-8 is replaced, not refused.
    fn take(&mut self, length: usize) -> Result<String, AmfError> {
        let (text, rest) = self.rest.split_at_checked(length).ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AmfError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(AmfError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }
}

/// The metadata of an encoder with every field filled has some 2,000 bytes.
const BYTES_MAX: usize = 64 << 10;
/// Real messages nest twice.
const DEPTH_MAX: usize = 16;
/// Real messages hold about 30.
const VALUES_MAX: usize = 1024;
const MARKER_OBJECT_END: u8 = 0x09;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marker_of_the_standard_has_its_value() {
        let bytes = [
            &[0, 0x40, 0x45, 0, 0, 0, 0, 0, 0][..],
            &[1, 1],
            &[2, 0, 2, b'h', b'i'],
            &[3, 0, 1, b'k', 5, 0, 0, 9],
            &[6, 7, 0, 1],
            &[8, 0, 0, 0, 99, 0, 1, b'k', 1, 0, 0, 0, 9],
            &[0x0A, 0, 0, 0, 2, 5, 0x0D],
            &[0x0B, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x0C, 0, 0, 0, 1, b'l'],
            &[0x10, 0, 1, b'C', 0, 0, 9],
        ]
        .concat();
        let object = |value| Value::Object(vec![("k".into(), value)]);
        assert_eq!(
            read(&bytes).unwrap(),
            [
                Value::Number(42.0),
                Value::Boolean(true),
                Value::Text("hi".into()),
                object(Value::Null),
                Value::Null,
                Value::Null,
                object(Value::Boolean(false)),
                Value::Array(vec![Value::Null, Value::Null]),
                Value::Null,
                Value::Text("l".into()),
                Value::Object(vec![]),
            ]
        );
    }

    #[test]
    fn nests_are_refused_at_their_seventeenth_level() {
        let nest = |depth: usize| [[0x0A, 0, 0, 0, 1].repeat(depth), vec![5]].concat();
        assert!(read(&nest(DEPTH_MAX)).is_ok());
        assert_eq!(read(&nest(DEPTH_MAX + 1)), Err(AmfError::TooDeep));
        let objects = [3, 0, 1, b'k'].repeat(BYTES_MAX / 4);
        assert_eq!(read(&objects), Err(AmfError::TooDeep));
        assert_eq!(read(&vec![3; BYTES_MAX + 1]), Err(AmfError::TooLong));
    }

    #[test]
    fn counts_and_lengths_are_not_believed() {
        assert_eq!(read(&[0x0A, 255, 255, 255, 255]), Err(AmfError::Truncated));
        assert_eq!(read(&[0x0C, 255, 255, 255, 255, b'a']), Err(AmfError::Truncated));
        assert_eq!(read(&[2, 0, 5, b'a']), Err(AmfError::Truncated));
        assert_eq!(read(&[3]), Err(AmfError::Truncated));
        assert_eq!(read(&vec![5; VALUES_MAX + 1]), Err(AmfError::TooMany));
    }

    #[test]
    fn markers_outside_the_standard_are_refused() {
        for marker in [0x04, 0x09, 0x0E, 0x11, 0xFF] {
            assert_eq!(read(&[marker]), Err(AmfError::UnknownMarker(marker)));
        }
    }

    #[test]
    fn a_later_property_overwrites_an_earlier_one() {
        let object = Value::Object(vec![("a".into(), Value::Number(1.0)), ("a".into(), Value::Number(2.0))]);
        assert_eq!(object.property("a").and_then(Value::number), Some(2.0));
        assert_eq!(object.property("b"), None);
    }
}
