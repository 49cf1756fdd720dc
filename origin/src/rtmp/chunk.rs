//! The chunk guard: whole RTMP messages out of a byte stream nobody vouches for, at a bounded cost (RTMP 1.0, clause 5.3).
//!
//! **After each [`ChunkReader::push`], call [`ChunkReader::next`] until it returns `None` or an error.** An error ends the
//! connection: the position of the next chunk is unknown from then on.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::HashMap;

#[cfg(test)]
mod tests;

/// What one connection may make us hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkLimits {
    /// The longest message, in bytes.
    pub(crate) message_bytes_max: usize,
    /// All unfinished messages together, in bytes.
    pub(crate) buffered_bytes_max: usize,
    /// Chunk stream ids with state. The protocol allows 65,597; encoders use up to 8.
    pub(crate) chunk_streams_max: usize,
}

/// One whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Message type id: 8 is audio, 9 video, 20 a command.
    pub(crate) kind: u8,
    /// Message stream id.
    pub(crate) stream: u32,
    /// Milliseconds modulo 2^32.
    pub(crate) timestamp: u32,
    pub(crate) payload: Bytes,
}

/// Why the byte stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("a message of {bytes} bytes is longer than the {max} allowed here")]
    MessageTooLong { bytes: usize, max: usize },
    #[error("unfinished messages hold more than the {max} bytes allowed")]
    TooMuchBuffered { max: usize },
    #[error("more than {max} chunk streams are in use")]
    TooManyChunkStreams { max: usize },
    #[error("a chunk size of {0} bytes is not allowed; it is 1 to 2147483647")]
    ChunkSize(u32),
    #[error("a chunk refers to a header that was never sent")]
    NoHeader,
    #[error("a message starts before the last one on its chunk stream has ended")]
    Unfinished,
    #[error("a protocol control message ends too early")]
    ShortControl,
}

/// Reads chunks of any interleaving. Handles Set Chunk Size, Abort, Acknowledgement, Window Acknowledgement Size and
/// Set Peer Bandwidth itself; hands out every other message.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    /// At most one header and what was pushed last.
    input: BytesMut,
    streams: HashMap<u32, ChunkStream>,
    /// The chunk whose payload is being read.
    open: Option<OpenChunk>,
    chunk_size: usize,
    limits: ChunkLimits,
    buffered: usize,
    received: Received,
}

/// What later headers on the same chunk stream may leave out.
#[derive(Debug, Default)]
struct ChunkStream {
    timestamp: u32,
    /// What a type 3 chunk adds when it starts a message.
    delta: u32,
    /// The last header's extended timestamp field, which type 3 chunks repeat.
    extended: Option<u32>,
    length: usize,
    kind: u8,
    stream: u32,
    unfinished: Option<BytesMut>,
}

#[derive(Debug)]
struct OpenChunk {
    id: u32,
    remaining: usize,
}

/// Counts bytes for acknowledgements (clause 5.4.3).
#[derive(Debug)]
struct Received {
    total: u64,
    acknowledged: u64,
    window: u64,
}

/// A chunk header in full, not yet applied.
struct Header {
    format: u8,
    id: u32,
    /// Timestamp (type 0) or delta (types 1 and 2), extended field resolved.
    time: u32,
    extended: Option<u32>,
    length: usize,
    kind: u8,
    stream: u32,
    /// Bytes of the header itself.
    size: usize,
}

impl ChunkReader {
    pub(crate) fn new(limits: ChunkLimits) -> Self {
        Self {
            input: BytesMut::new(),
            streams: HashMap::new(),
            open: None,
            chunk_size: CHUNK_SIZE_INITIAL,
            limits,
            buffered: 0,
            received: Received { total: 0, acknowledged: 0, window: WINDOW_DEFAULT },
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.received.total += bytes.len() as u64;
        self.input.extend_from_slice(bytes);
    }

    /// The next whole message; `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Message>, ChunkError> {
        loop {
            if self.open.is_none() && !self.start_chunk()? {
                return Ok(None);
            }
            let Some(message) = self.read_payload()? else {
                if self.open.is_some() {
                    return Ok(None);
                }
                continue;
            };
            if !self.control(&message)? {
                return Ok(Some(message));
            }
        }
    }

    /// Bounds from the next header on.
    pub(crate) fn set_limits(&mut self, limits: ChunkLimits) {
        self.limits = limits;
    }

    /// The sequence number to acknowledge, once half a window came in since the last one: senders that stop at a full
    /// window never have to.
    pub(crate) fn acknowledgement_due(&mut self) -> Option<u32> {
        let received = &mut self.received;
        if received.total - received.acknowledged < received.window / 2 {
            return None;
        }
        received.acknowledged = received.total;
        // The field counts modulo 2^32.
        Some(received.total as u32)
    }

    /// Reads one header, if it is here in full.
    fn start_chunk(&mut self) -> Result<bool, ChunkError> {
        let Some(header) = self.header()? else {
            return Ok(false);
        };
        self.input.advance(header.size);
        let stream = self.streams.entry(header.id).or_default();
        if stream.unfinished.is_none() {
            stream.start_message(&header);
            if stream.length > self.limits.message_bytes_max {
                return Err(ChunkError::MessageTooLong { bytes: stream.length, max: self.limits.message_bytes_max });
            }
        }
        let held = stream.unfinished.get_or_insert_default().len();
        let remaining = self.chunk_size.min(stream.length - held);
        self.open = Some(OpenChunk { id: header.id, remaining });
        Ok(true)
    }

    fn header(&self) -> Result<Option<Header>, ChunkError> {
        let Some((format, id, size)) = basic_header(&self.input) else {
            return Ok(None);
        };
        let stream = self.streams.get(&id);
        match stream {
            None if self.streams.len() >= self.limits.chunk_streams_max => {
                return Err(ChunkError::TooManyChunkStreams { max: self.limits.chunk_streams_max });
            }
            // Type 1 opens a chunk stream in some encoders: it lacks the message stream id alone, which is then 0.
            None if format >= 2 => return Err(ChunkError::NoHeader),
            Some(stream) if format != 3 && stream.unfinished.is_some() => return Err(ChunkError::Unfinished),
            _ => {}
        }
        let mut rest = &self.input[size..];
        let previous = stream.unwrap_or(const { &ChunkStream::NEW });
        let header = previous.header(format, &mut rest);
        Ok(header.map(|header| Header { id, size: self.input.len() - rest.len(), ..header }))
    }

    /// Moves payload to its message. Returns the message once it is whole.
    fn read_payload(&mut self) -> Result<Option<Message>, ChunkError> {
        let Some(chunk) = &mut self.open else {
            return Ok(None);
        };
        let id = chunk.id;
        let part = self.input.split_to(chunk.remaining.min(self.input.len()));
        chunk.remaining -= part.len();
        self.buffered += part.len();
        if self.buffered > self.limits.buffered_bytes_max {
            return Err(ChunkError::TooMuchBuffered { max: self.limits.buffered_bytes_max });
        }
        if chunk.remaining == 0 {
            self.open = None;
        }
        let Some(message) = self.streams.get_mut(&id).and_then(|stream| stream.append(&part)) else {
            return Ok(None);
        };
        self.buffered -= message.payload.len();
        Ok(Some(message))
    }

    /// Clause 5.4. Whether the message was for this layer.
    fn control(&mut self, message: &Message) -> Result<bool, ChunkError> {
        if !(KIND_SET_CHUNK_SIZE..=KIND_SET_PEER_BANDWIDTH).contains(&message.kind) || message.kind == KIND_USER_CONTROL
        {
            return Ok(false);
        }
        let value = message.payload.first_chunk::<4>().ok_or(ChunkError::ShortControl)?;
        let value = u32::from_be_bytes(*value);
        match message.kind {
            KIND_SET_CHUNK_SIZE if value == 0 || value > i32::MAX as u32 => return Err(ChunkError::ChunkSize(value)),
            // No message is longer than 2^24 - 1, so any larger size means the same.
            KIND_SET_CHUNK_SIZE => self.chunk_size = (value as usize).min(0xFF_FFFF),
            KIND_ABORT => {
                let stream = self.streams.get_mut(&value);
                let discarded = stream.and_then(|stream| stream.unfinished.take());
                self.buffered -= discarded.map_or(0, |bytes| bytes.len());
            }
            KIND_WINDOW_SIZE => self.received.window = u64::from(value.max(WINDOW_MIN)),
            _ => {}
        }
        Ok(true)
    }
}

impl ChunkStream {
    const NEW: Self = Self { timestamp: 0, delta: 0, extended: None, length: 0, kind: 0, stream: 0, unfinished: None };

    /// Clause 5.3.1.2 and 5.3.1.3. `None` when the bytes end before the header does; `rest` is then undefined.
    fn header(&self, format: u8, rest: &mut &[u8]) -> Option<Header> {
        let mut header = Header {
            format,
            id: 0,
            time: self.delta,
            extended: self.extended,
            length: self.length,
            kind: self.kind,
            stream: self.stream,
            size: 0,
        };
        if format == 3 {
            if let Some(extended) = self.extended {
                skip_repeated(extended, rest)?;
            }
            return Some(header);
        }
        header.time = rest.try_get_uint(3).ok()? as u32;
        if format <= 1 {
            header.length = rest.try_get_uint(3).ok()? as usize;
            header.kind = rest.try_get_u8().ok()?;
        }
        if format == 0 {
            header.stream = rest.try_get_u32_le().ok()?;
        }
        header.extended = None;
        if header.time == TIME_EXTENDED {
            header.time = rest.try_get_u32().ok()?;
            header.extended = Some(header.time);
        }
        Some(header)
    }

    fn start_message(&mut self, header: &Header) {
        if header.format == 0 {
            self.timestamp = header.time;
            // Clause 5.3.1.2.4 makes the timestamp itself the delta of a type 3 chunk that follows, and FFmpeg counts
            // on that for small ones. A delta of hours is nobody's intention: there, repeat the timestamp.
            self.delta = if header.extended.is_some() { 0 } else { header.time };
        } else {
            self.timestamp = self.timestamp.wrapping_add(header.time);
            self.delta = header.time;
        }
        self.extended = header.extended;
        self.length = header.length;
        self.kind = header.kind;
        self.stream = header.stream;
    }

    fn append(&mut self, part: &[u8]) -> Option<Message> {
        let unfinished = self.unfinished.get_or_insert_default();
        unfinished.extend_from_slice(part);
        if unfinished.len() < self.length {
            return None;
        }
        let payload = self.unfinished.take()?.freeze();
        Some(Message { kind: self.kind, stream: self.stream, timestamp: self.timestamp, payload })
    }
}

/// Clause 5.3.1.1: format, chunk stream id, bytes read.
fn basic_header(input: &[u8]) -> Option<(u8, u32, usize)> {
    let first = *input.first()?;
    let (id, size) = match first & 0x3F {
        0 => (64 + u32::from(*input.get(1)?), 2),
        1 => (64 + u32::from(*input.get(1)?) + 256 * u32::from(*input.get(2)?), 3),
        id => (u32::from(id), 1),
    };
    Some((first >> 6, id, size))
}

/// Type 3 chunks repeat the extended timestamp by clause 5.3.1.3, but not in every encoder. Payload equals it once in
/// 2^32 chunks. `None` while the bytes that are here leave both open.
fn skip_repeated(extended: u32, rest: &mut &[u8]) -> Option<()> {
    let expected = extended.to_be_bytes();
    let seen = rest.len().min(expected.len());
    if rest[..seen] == expected[..seen] {
        *rest = rest.get(expected.len()..)?;
    }
    Some(())
}

const CHUNK_SIZE_INITIAL: usize = 128;
const TIME_EXTENDED: u32 = 0xFF_FFFF;
const KIND_SET_CHUNK_SIZE: u8 = 1;
const KIND_ABORT: u8 = 2;
const KIND_USER_CONTROL: u8 = 4;
const KIND_WINDOW_SIZE: u8 = 5;
const KIND_SET_PEER_BANDWIDTH: u8 = 6;
/// For encoders that name no window, such as FFmpeg: about a second of a 20 Mbit/s stream.
const WINDOW_DEFAULT: u64 = 2_500_000;
/// A smaller window would cost more in acknowledgements than it carries.
const WINDOW_MIN: u32 = 8192;
