//! One publisher's connection without its socket: bytes in, events and bytes to write out.
//!
//! **After each [`Session::receive`], call [`Session::poll`] until it returns `None`; write what
//! [`Session::take_output`] holds before waiting for more bytes.** [`Event::PublishRequested`] stops the session until
//! [`Session::accept`] or [`Session::refuse`].

use crate::rtmp::amf::{self, AmfError};
use crate::rtmp::chunk::{ChunkError, ChunkLimits, ChunkReader, Message};
use crate::rtmp::command::{Command, announced};
use crate::rtmp::cue_point::cue_point;
use crate::rtmp::media_reader::MediaReader;
use crate::rtmp::protocol::{self, Protocol, ProtocolError};
use crate::rtmp::text_data::text_data;
use crate::{Ingested, PublishRequest, Refusal};
use media::flv::FlvError;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};

#[cfg(test)]
mod tests;

/// What happened.
#[derive(Debug)]
pub enum Event {
    PublishRequested(PublishRequest),
    Item(Ingested),
    /// A message was passed over; the connection lives on.
    Dropped(Dropped),
    /// Nothing more comes. Write the output, then close the socket.
    Closed(Closed),
}

/// Why a message was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Frames and metadata outside a publish.
    NotPublishing,
    /// Metadata that is no AMF0, too large, or not what `onMetaData` holds.
    Metadata,
    /// A command that is no AMF0, or lacks what it needs.
    Command,
    /// A frame before its sequence header.
    NoSequenceHeader,
    /// An audio or video tag that breaks its format.
    Malformed,
    /// A message type that ingest does not read: AMF3, shared objects, aggregates.
    Unsupported,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    #[error("the RTMP handshake failed: {0}")]
    Handshake(String),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("a command is not usable: {0}")]
    Command(#[from] AmfError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("more than {COMMANDS_MAX} commands came before a publish")]
    TooManyCommands,
    #[error("players are not served over RTMP; watch http://HOST/live/STREAM/index.m3u8")]
    Play,
    #[error("the publish was refused: {0}")]
    Refused(Refusal),
    #[error(transparent)]
    Unsupported(FlvError),
    #[error("the publisher ended its stream")]
    Finished,
}

pub struct Session {
    stage: Stage,
    chunks: ChunkReader,
    /// In force from the accepted publish.
    limits: ChunkLimits,
    output: Vec<u8>,
    commands: usize,
}

enum Stage {
    Handshake(Box<Handshake>),
    /// Until `connect`.
    Greeting,
    Connected(Connection),
    /// A publish waits for its answer. The number is the message stream it came on.
    Asked(Connection, u32),
    Publishing(MediaReader, u32),
    /// The reason is told once.
    Ended(Option<Closed>),
}

struct Connection {
    protocol: Box<Protocol>,
    app: String,
    key: Option<String>,
}

impl Session {
    /// `message_bytes_max` holds from the accepted publish; before it a message has at most 64 KiB.
    pub fn new(message_bytes_max: usize) -> Self {
        let limits = |message_bytes_max| ChunkLimits {
            message_bytes_max,
            // One audio message inside one video message is all the interleaving that encoders do.
            buffered_bytes_max: 2 * message_bytes_max,
            chunk_streams_max: CHUNK_STREAMS_MAX,
        };
        Self {
            stage: Stage::Handshake(Box::new(Handshake::new(PeerType::Server))),
            chunks: ChunkReader::new(limits(message_bytes_max.min(COMMAND_BYTES_MAX))),
            limits: limits(message_bytes_max),
            output: Vec::new(),
            commands: 0,
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        let Stage::Handshake(handshake) = &mut self.stage else {
            self.chunks.push(bytes);
            return;
        };
        match handshake.process_bytes(bytes) {
            Ok(HandshakeProcessResult::InProgress { response_bytes }) => self.output.extend(response_bytes),
            Ok(HandshakeProcessResult::Completed { response_bytes, remaining_bytes }) => {
                self.output.extend(response_bytes);
                self.stage = Stage::Greeting;
                self.chunks.push(&remaining_bytes);
            }
            Err(error) => self.end(Closed::Handshake(error.to_string())),
        }
    }

    pub fn poll(&mut self) -> Option<Event> {
        loop {
            match &mut self.stage {
                Stage::Handshake(_) | Stage::Asked(..) => return None,
                Stage::Ended(reason) => return reason.take().map(Event::Closed),
                Stage::Greeting | Stage::Connected(_) | Stage::Publishing(..) => {}
            }
            match self.chunks.next() {
                Ok(Some(message)) => {
                    if let Some(event) = self.message(message) {
                        return Some(event);
                    }
                }
                Ok(None) => {
                    self.acknowledge();
                    return None;
                }
                Err(error) => self.end(error.into()),
            }
        }
    }

    /// Answers [`Event::PublishRequested`] with yes.
    pub fn accept(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended(None)) {
            Stage::Asked(mut connection, stream) => match connection.protocol.accept(&mut self.output) {
                Ok(()) => {
                    self.chunks.set_limits(self.limits);
                    Stage::Publishing(MediaReader::default(), stream)
                }
                Err(error) => Stage::Ended(Some(error.into())),
            },
            other => other,
        };
    }

    /// Answers [`Event::PublishRequested`] with no, in words the encoder shows, and ends the session.
    pub fn refuse(&mut self, refusal: Refusal) {
        if let Stage::Asked(_, stream) = self.stage {
            protocol::write_error_status(stream, CODE_BAD_NAME, &refusal.to_string(), &mut self.output);
            self.end(Closed::Refused(refusal));
        }
    }

    /// Tells a publisher why its stream ends now, in words the encoder shows.
    pub fn fail(&mut self, description: &str) {
        if let Stage::Publishing(_, stream) = self.stage {
            protocol::write_error_status(stream, CODE_FAILED, description, &mut self.output);
        }
    }

    /// Bytes to write to the publisher.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn end(&mut self, reason: Closed) {
        self.stage = Stage::Ended(Some(reason));
    }

    /// After the publish only: before it, `rml_rtmp` writes on the same chunk stream and few bytes come in.
    fn acknowledge(&mut self) {
        if let Stage::Publishing(..) = self.stage
            && let Some(total) = self.chunks.acknowledgement_due()
        {
            protocol::write_acknowledgement(total, &mut self.output);
        }
    }

    fn message(&mut self, message: Message) -> Option<Event> {
        match message.kind {
            KIND_AUDIO | KIND_VIDEO | KIND_DATA | KIND_DATA_AMF3 => self.media(&message),
            KIND_COMMAND | KIND_COMMAND_AMF3 => self.command(&message),
            KIND_USER_CONTROL => {
                self.user_control(&message.payload);
                None
            }
            _ => Some(Event::Dropped(Dropped::Unsupported)),
        }
    }

    fn media(&mut self, message: &Message) -> Option<Event> {
        let Stage::Publishing(reader, _) = &mut self.stage else {
            return Some(Event::Dropped(Dropped::NotPublishing));
        };
        let read = match message.kind {
            KIND_AUDIO => reader.audio(message),
            KIND_VIDEO => reader.video(message),
            _ => {
                let metadata = amf::read(without_amf3_prefix(&message.payload)).ok();
                let read = metadata.and_then(|values| {
                    let announced = announced(&values).map(Ingested::Announced);
                    let announced = announced.or_else(|| cue_point(&values, reader.time(message)).map(Ingested::Cue));
                    announced.or_else(|| text_data(&values, reader.time(message)).map(Ingested::Text))
                });
                let Some(read) = read else { return Some(Event::Dropped(Dropped::Metadata)) };
                Ok(Some(read))
            }
        };
        match read {
            Ok(item) => item.map(Event::Item),
            Err(FlvError::NoSequenceHeader) => Some(Event::Dropped(Dropped::NoSequenceHeader)),
            Err(error) if error.is_lasting() => {
                self.fail(&error.to_string());
                self.end(Closed::Unsupported(error));
                None
            }
            Err(_) => Some(Event::Dropped(Dropped::Malformed)),
        }
    }

    fn command(&mut self, message: &Message) -> Option<Event> {
        let values = match amf::read(without_amf3_prefix(&message.payload)) {
            Ok(values) => values,
            Err(_) if matches!(self.stage, Stage::Publishing(..)) => return Some(Event::Dropped(Dropped::Command)),
            Err(error) => {
                self.end(error.into());
                return None;
            }
        };
        let Some(command) = Command::read(&values) else {
            return Some(Event::Dropped(Dropped::Command));
        };
        self.commands += 1;
        self.obey(command, message.stream).unwrap_or_else(|reason| {
            self.end(reason);
            None
        })
    }

    /// One command in the stage the session is in. What does not fit the stage is ignored, as encoders expect.
    fn obey(&mut self, command: Command, stream: u32) -> Result<Option<Event>, Closed> {
        if self.commands > COMMANDS_MAX && !matches!(self.stage, Stage::Publishing(..)) {
            return Err(Closed::TooManyCommands);
        }
        let output = &mut self.output;
        match (&mut self.stage, command) {
            (_, Command::Play) => return Err(Closed::Play),
            (_, Command::Courtesy { transaction }) => protocol::write_result(transaction, output),
            (Stage::Greeting, Command::Connect { transaction, app, key }) => {
                let named: String = app.chars().take(APP_CHARS_MAX).collect();
                let protocol = Box::new(Protocol::connect(&named, transaction, output)?);
                self.stage = Stage::Connected(Connection { protocol, app: named, key });
            }
            (Stage::Connected(connection), Command::CreateStream { transaction }) => {
                connection.protocol.create_stream(transaction, output)?;
            }
            (Stage::Connected(connection), Command::Publish { stream: name, key }) => {
                // The library keeps the name for its answer: a name that is refused anyway need not be long.
                let shown: String = name.chars().take(NAME_CHARS_SHOWN).collect();
                connection.protocol.publish(stream, &shown, output)?;
                let key = key.or_else(|| connection.key.clone());
                let request = PublishRequest { app: connection.app.clone(), stream: name, key };
                self.ask(stream);
                return Ok(Some(Event::PublishRequested(request)));
            }
            (Stage::Publishing(..), Command::Finish) => return Err(Closed::Finished),
            _ => {}
        }
        Ok(None)
    }

    fn ask(&mut self, stream: u32) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended(None)) {
            Stage::Connected(connection) => Stage::Asked(connection, stream),
            other => other,
        };
    }

    fn user_control(&mut self, payload: &[u8]) {
        if let (Stage::Publishing(..), [0, PING_REQUEST, timestamp @ ..]) = (&self.stage, payload)
            && let Some(timestamp) = timestamp.first_chunk()
        {
            protocol::write_ping_response(*timestamp, &mut self.output);
        }
    }
}

impl Closed {
    /// The value of the `reason` label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "handshake",
            Self::Chunk(_) => "chunk",
            Self::Command(_) => "command",
            Self::Protocol(_) => "protocol",
            Self::TooManyCommands => "too_many_commands",
            Self::Play => "play",
            Self::Refused(_) => "refused",
            Self::Unsupported(_) => "unsupported",
            Self::Finished => "finished",
        }
    }
}

impl Dropped {
    /// The value of the `reason` label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotPublishing => "not_publishing",
            Self::Metadata => "metadata",
            Self::Command => "command",
            Self::NoSequenceHeader => "no_sequence_header",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Messages of the AMF3 kinds hold AMF0 behind a zero, or AMF0 alone. No message starts with a number, which is what a
/// zero would mean.
fn without_amf3_prefix(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(&[0]).unwrap_or(payload)
}

const KIND_USER_CONTROL: u8 = 4;
const KIND_AUDIO: u8 = 8;
const KIND_VIDEO: u8 = 9;
const KIND_DATA_AMF3: u8 = 15;
const KIND_COMMAND_AMF3: u8 = 17;
const KIND_DATA: u8 = 18;
const KIND_COMMAND: u8 = 20;
const PING_REQUEST: u8 = 6;
const CODE_BAD_NAME: &str = "NetStream.Publish.BadName";
const CODE_FAILED: &str = "NetStream.Publish.Failed";
/// Of one message before a publish is accepted: the `connect` of an encoder has some 500.
const COMMAND_BYTES_MAX: usize = 64 << 10;
/// Encoders send 5 before they publish.
const COMMANDS_MAX: usize = 32;
/// Encoders use up to 8.
const CHUNK_STREAMS_MAX: usize = 64;
const APP_CHARS_MAX: usize = 128;
const NAME_CHARS_SHOWN: usize = 64;
