//! A body in chunks (RFC 9112, 7.1), put together as it comes in.

use super::HttpError;

#[derive(Debug, Default)]
pub(super) struct Chunks {
    body: Vec<u8>,
    at: At,
    /// Of the line that is being read; its end is not looked at.
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Data {
        left: usize,
    },
    DataEnd,
    Trailer,
    End,
}

/// Longer than any size with extensions, or trailer.
const LINE_BYTES_MAX: usize = 4096;

impl Chunks {
    /// Takes bytes in; true once the last chunk and its trailer are there.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<bool, HttpError> {
        while !bytes.is_empty() && self.at != At::End {
            if let At::Data { left } = self.at {
                let (data, rest) = bytes.split_at(left.min(bytes.len()));
                self.body.extend_from_slice(data);
                self.at = if left > data.len() { At::Data { left: left - data.len() } } else { At::DataEnd };
                bytes = rest;
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                return if self.line.len() > LINE_BYTES_MAX { Err(HttpError::Malformed) } else { Ok(false) };
            };
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.at = self.after_line()?;
            self.line.clear();
        }
        Ok(self.at == At::End)
    }

    fn after_line(&self) -> Result<At, HttpError> {
        let line = std::str::from_utf8(&self.line).map_err(|_| HttpError::Malformed)?.trim_end();
        match self.at {
            At::Size => {
                let size = line.split(';').next().unwrap_or_default().trim();
                let left = usize::from_str_radix(size, 16).map_err(|_| HttpError::Malformed)?;
                Ok(if left > 0 { At::Data { left } } else { At::Trailer })
            }
            At::DataEnd if line.is_empty() => Ok(At::Size),
            At::Trailer if line.is_empty() => Ok(At::End),
            At::Trailer => Ok(At::Trailer),
            At::DataEnd | At::Data { .. } | At::End => Err(HttpError::Malformed),
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn drain(&mut self) {
        self.body.clear();
    }

    /// Keeps the memory.
    pub(super) fn clear(&mut self) {
        self.body.clear();
        self.line.clear();
        self.at = At::Size;
    }
}
