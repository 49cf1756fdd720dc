//! The server's side of the command protocol: `rml_rtmp`'s session, fed with messages that we wrote ourselves.
//!
//! **`rml_rtmp` never reads bytes from outside here.** Its chunk reader shares one buffer among all chunk streams and its
//! AMF0 reader has no limits; so each request becomes one whole type 0 chunk with exactly the values it needs.

use rml_rtmp::chunk_io::{ChunkSerializationError, ChunkSerializer};
use rml_rtmp::messages::{MessagePayload, MessageSerializationError, RtmpMessage};
use rml_rtmp::rml_amf0::Amf0Value;
use rml_rtmp::sessions::{
    ServerSession, ServerSessionConfig, ServerSessionError, ServerSessionEvent, ServerSessionResult,
};
use rml_rtmp::time::RtmpTimestamp;
use std::collections::HashMap;

/// A connection whose `connect` was accepted. Everything it says goes to the `output` passed in, in order.
pub(super) struct Protocol {
    server: ServerSession,
    writer: ChunkSerializer,
    publish_request: Option<u32>,
    streams: usize,
}

/// The session library refused what it was given.
#[derive(Debug, thiserror::Error)]
#[error("the publisher broke the order of RTMP commands: {0}")]
pub struct ProtocolError(String);

impl Protocol {
    pub(super) fn connect(app: &str, transaction: f64, output: &mut Vec<u8>) -> Result<Self, ProtocolError> {
        let mut config = ServerSessionConfig::new();
        config.chunk_size = CHUNK_SIZE;
        config.send_on_bw_done_message_on_start = false;
        config.window_ack_size = WINDOW;
        config.peer_bandwidth = WINDOW;
        let (server, greeting) = ServerSession::new(config)?;
        let mut protocol = Self { server, writer: ChunkSerializer::new(), publish_request: None, streams: 0 };
        protocol.handle(greeting, output)?;
        // What we write to the session is never split: one message, one chunk.
        let size = protocol.writer.set_max_chunk_size(0xFF_FFFF, RtmpTimestamp::new(0))?;
        protocol.server.handle_input(&size.bytes)?;
        let properties = HashMap::from([("app".to_owned(), Amf0Value::Utf8String(app.to_owned()))]);
        protocol.say(command("connect", transaction, Amf0Value::Object(properties), vec![]), 0, output)?;
        Ok(protocol)
    }

    /// Ignored beyond the eighth: a publisher needs one.
    pub(super) fn create_stream(&mut self, transaction: f64, output: &mut Vec<u8>) -> Result<(), ProtocolError> {
        if self.streams >= STREAMS_MAX {
            return Ok(());
        }
        self.streams += 1;
        self.say(command("createStream", transaction, Amf0Value::Null, vec![]), 0, output)
    }

    /// Leaves the request open until [`Protocol::accept`].
    pub(super) fn publish(&mut self, stream: u32, name: &str, output: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let arguments = [name, "live"].map(|text| Amf0Value::Utf8String(text.to_owned()));
        self.say(command("publish", 0.0, Amf0Value::Null, arguments.into()), stream, output)
    }

    pub(super) fn accept(&mut self, output: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let request = self.publish_request.take().ok_or_else(|| ProtocolError("nothing was published".to_owned()))?;
        let answer = self.server.accept_request(request)?;
        self.handle(answer, output)
    }

    fn say(&mut self, message: RtmpMessage, stream: u32, output: &mut Vec<u8>) -> Result<(), ProtocolError> {
        let payload = message.into_message_payload(RtmpTimestamp::new(0), stream)?;
        let chunk = self.writer.serialize(&payload, true, false)?;
        let results = self.server.handle_input(&chunk.bytes)?;
        self.handle(results, output)
    }

    fn handle(&mut self, results: Vec<ServerSessionResult>, output: &mut Vec<u8>) -> Result<(), ProtocolError> {
        for result in results {
            match result {
                ServerSessionResult::OutboundResponse(packet) => output.extend_from_slice(&packet.bytes),
                ServerSessionResult::RaisedEvent(ServerSessionEvent::ConnectionRequested { request_id, .. }) => {
                    let answer = self.server.accept_request(request_id)?;
                    self.handle(answer, output)?;
                }
                ServerSessionResult::RaisedEvent(ServerSessionEvent::PublishStreamRequested { request_id, .. }) => {
                    self.publish_request = Some(request_id);
                }
                ServerSessionResult::RaisedEvent(_) | ServerSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(())
    }
}

/// `onStatus` with level error: what encoders show, where `rml_rtmp`'s own rejection (`_error`) is passed over.
pub(super) fn write_error_status(stream: u32, code: &str, description: &str, output: &mut Vec<u8>) {
    let properties = [("level", "error"), ("code", code), ("description", description)]
        .map(|(name, text)| (name.to_owned(), Amf0Value::Utf8String(text.to_owned())));
    let status = Amf0Value::Object(HashMap::from(properties));
    write(command("onStatus", 0.0, Amf0Value::Null, vec![status]), stream, output);
}

/// An empty `_result`.
pub(super) fn write_result(transaction: f64, output: &mut Vec<u8>) {
    write(command("_result", transaction, Amf0Value::Null, vec![Amf0Value::Undefined]), 0, output);
}

/// Only after [`Protocol::accept`]: from then on `rml_rtmp` is silent on the control chunk stream.
pub(super) fn write_acknowledgement(total: u32, output: &mut Vec<u8>) {
    write(RtmpMessage::Acknowledgement { sequence_number: total }, 0, output);
}

/// The answer to a ping with the same payload. Only after [`Protocol::accept`].
pub(super) fn write_ping_response(timestamp: [u8; 4], output: &mut Vec<u8>) {
    let [a, b, c, d] = timestamp;
    write_chunk(KIND_USER_CONTROL, 0, &[0, PING_RESPONSE, a, b, c, d], output);
}

fn command(name: &str, transaction: f64, object: Amf0Value, arguments: Vec<Amf0Value>) -> RtmpMessage {
    RtmpMessage::Amf0Command {
        command_name: name.to_owned(),
        transaction_id: transaction,
        command_object: object,
        additional_arguments: arguments,
    }
}

fn write(message: RtmpMessage, stream: u32, output: &mut Vec<u8>) {
    // Fails on texts above 65,535 bytes alone; what is written here is ours and short.
    if let Ok(MessagePayload { type_id, data, .. }) = message.into_message_payload(RtmpTimestamp::new(0), stream) {
        write_chunk(type_id, stream, &data, output);
    }
}

/// One type 0 chunk. Commands go out on a chunk stream that `rml_rtmp` does not use: it counts on being the only one
/// that writes headers on its own.
fn write_chunk(kind: u8, stream: u32, payload: &[u8], output: &mut Vec<u8>) {
    debug_assert!(payload.len() <= CHUNK_SIZE as usize);
    let is_control = kind <= 6;
    output.extend_from_slice(&[if is_control { CHUNK_STREAM_CONTROL } else { CHUNK_STREAM_OURS }, 0, 0, 0]);
    output.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    output.push(kind);
    output.extend_from_slice(&stream.to_le_bytes());
    output.extend_from_slice(payload);
}

impl From<ServerSessionError> for ProtocolError {
    fn from(error: ServerSessionError) -> Self {
        Self(error.to_string())
    }
}

impl From<ChunkSerializationError> for ProtocolError {
    fn from(error: ChunkSerializationError) -> Self {
        Self(error.to_string())
    }
}

impl From<MessageSerializationError> for ProtocolError {
    fn from(error: MessageSerializationError) -> Self {
        Self(error.to_string())
    }
}

const CHUNK_SIZE: u32 = 4096;
/// Of acknowledgements from the encoder, which hears little from us.
const WINDOW: u32 = 2_500_000;
const STREAMS_MAX: usize = 8;
const CHUNK_STREAM_CONTROL: u8 = 2;
const CHUNK_STREAM_OURS: u8 = 8;
const KIND_USER_CONTROL: u8 = 4;
const PING_RESPONSE: u8 = 7;
