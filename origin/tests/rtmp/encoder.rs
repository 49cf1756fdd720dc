//! A well-behaved encoder on `rml_rtmp`'s client session, and a raw socket for the other kind.

use crate::world::{PATIENCE, World, next};
use bytes::Bytes;
use media::{Frame, TrackKind};
use origin::Ingested;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::RtmpMessage;
use rml_rtmp::rml_amf0::Amf0Value;
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
};
use rml_rtmp::time::RtmpTimestamp;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A video tag with x264's configuration record for 1920x1080.
pub(crate) const VIDEO_HEADER: &[u8] = &[
    0x17, 0, 0, 0, 0, 0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x1b, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78,
    0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
    0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
];
/// An audio tag with the configuration of AAC-LC, 48 kHz, stereo.
pub(crate) const AUDIO_HEADER: &[u8] = &[0xAF, 0, 0x11, 0x90];

pub(crate) struct Encoder {
    socket: TcpStream,
    session: ClientSession,
    /// Everything the origin has said since the handshake.
    pub(crate) heard: Vec<u8>,
    events: Vec<ClientSessionEvent>,
}

impl Encoder {
    /// Publishes, or tells the status code of the refusal.
    pub(crate) async fn publish(addr: SocketAddr, app: &str, name: &str) -> Result<Self, (String, Self)> {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let rest = shake_hands(&mut socket).await;
        // As [`message`] cuts them: the two are mixed.
        let config = ClientSessionConfig { chunk_size: 128, ..ClientSessionConfig::new() };
        let (session, _) = ClientSession::new(config).unwrap();
        let mut encoder = Self { socket, session, heard: Vec::new(), events: Vec::new() };
        encoder.hear(&rest).await;
        let request = encoder.session.request_connection(app.to_owned()).unwrap();
        encoder.say(request).await;
        assert_eq!(encoder.event().await, ClientSessionEvent::ConnectionRequestAccepted);
        let request = encoder.session.request_publishing(name.to_owned(), PublishRequestType::Live).unwrap();
        encoder.say(request).await;
        match encoder.event().await {
            ClientSessionEvent::PublishRequestAccepted => Ok(encoder),
            ClientSessionEvent::UnhandleableOnStatusCode { code } => Err((code, encoder)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn video(&mut self, time: u32, tag: &[u8]) {
        let data = Bytes::copy_from_slice(tag);
        let packet = self.session.publish_video_data(data, RtmpTimestamp::new(time), false).unwrap();
        self.say(packet).await;
    }

    pub(crate) async fn audio(&mut self, time: u32, tag: &[u8]) {
        let data = Bytes::copy_from_slice(tag);
        let packet = self.session.publish_audio_data(data, RtmpTimestamp::new(time), false).unwrap();
        self.say(packet).await;
    }

    /// Any bytes, in the place of the next chunk.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn finish(&mut self) {
        for packet in self.session.stop_publishing().unwrap() {
            self.say(packet).await;
        }
    }

    /// Reads until the origin closes.
    pub(crate) async fn closed(&mut self) {
        let mut bytes = Vec::new();
        read_to_end(&mut self.socket, &mut bytes).await;
        self.heard.extend(bytes);
    }

    /// The next status or other event.
    pub(crate) async fn event(&mut self) -> ClientSessionEvent {
        while self.events.is_empty() {
            let mut bytes = vec![0; 4096];
            let read = timeout(PATIENCE, self.socket.read(&mut bytes)).await.unwrap().unwrap();
            assert_ne!(read, 0, "closed while an answer was due");
            self.hear(&bytes[..read]).await;
        }
        self.events.remove(0)
    }

    async fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        for result in self.session.handle_input(bytes).unwrap() {
            match result {
                ClientSessionResult::RaisedEvent(event) => self.events.push(event),
                outbound => self.say(outbound).await,
            }
        }
    }

    async fn say(&mut self, result: ClientSessionResult) {
        if let ClientSessionResult::OutboundResponse(packet) = result {
            self.socket.write_all(&packet.bytes).await.unwrap();
        }
    }
}

/// An encoder that publishes from before an attack until after it, and checks every frame.
pub(crate) struct Bystander {
    encoder: Encoder,
    received: mpsc::Receiver<Ingested>,
    sent: u32,
}

impl Bystander {
    pub(crate) async fn start(world: &World) -> Self {
        let encoder = Encoder::publish(world.addr, "live", "bystander?key=k").await.ok().unwrap();
        let mut bystander = Self { encoder, received: world.take("bystander"), sent: 0 };
        bystander.encoder.video(0, VIDEO_HEADER).await;
        assert!(matches!(next(&mut bystander.received).await, Some(Ingested::Video(_))));
        bystander.publish_some().await;
        bystander
    }

    /// Publishes frame after frame while the attack goes on, and some after it.
    pub(crate) async fn during<T>(&mut self, attack: impl Future<Output = T>) -> T {
        let over = Cell::new(false);
        let attack = async {
            let result = attack.await;
            over.set(true);
            result
        };
        let publish = async {
            while !over.get() {
                self.publish_some().await;
            }
            self.publish_some().await;
        };
        tokio::join!(attack, publish).0
    }

    async fn publish_some(&mut self) {
        for _ in 0..10 {
            self.sent += 1;
            let unit = [&[0, 0, 0, 200, 0x65][..], &[self.sent as u8; 199]].concat();
            self.encoder.video(self.sent * 33, &[&[0x17, 1, 0, 0, 0][..], &unit].concat()).await;
            let time = i64::from(self.sent) * 33;
            let frame = Frame { kind: TrackKind::Video, dts: time, pts: time, keyframe: true, data: Bytes::from(unit) };
            assert_eq!(next(&mut self.received).await, Some(Ingested::Frame(frame)));
        }
    }
}

/// A connection behind its handshake, for bytes that no client library would write.
pub(crate) async fn raw(addr: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    shake_hands(&mut socket).await;
    socket
}

/// One type 0 chunk header.
pub(crate) fn header(chunk_stream: u8, kind: u8, length: u32) -> Vec<u8> {
    let [_, a, b, c] = length.to_be_bytes();
    vec![chunk_stream, 0, 0, 0, a, b, c, kind, 1, 0, 0, 0]
}

/// A message in chunks of 128 bytes.
pub(crate) fn message(chunk_stream: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(chunk_stream, kind, payload.len() as u32);
    for (index, part) in payload.chunks(128).enumerate() {
        if index > 0 {
            bytes.push(0xC0 | chunk_stream);
        }
        bytes.extend_from_slice(part);
    }
    bytes
}

/// `connect` to the application `live`.
pub(crate) fn connect() -> Vec<u8> {
    let app = HashMap::from([("app".to_owned(), Amf0Value::Utf8String("live".to_owned()))]);
    let command = RtmpMessage::Amf0Command {
        command_name: "connect".to_owned(),
        transaction_id: 1.0,
        command_object: Amf0Value::Object(app),
        additional_arguments: vec![],
    };
    message(3, 20, &command.into_message_payload(RtmpTimestamp::new(0), 0).unwrap().data)
}

/// Writes what the other side still takes: it may have closed already, which is what these tests wait for.
pub(crate) async fn write_until_closed(socket: &mut TcpStream, bytes: &[u8]) {
    let (mut read, mut write) = socket.split();
    let mut heard = Vec::new();
    let writing = async {
        let _ = write.write_all(bytes).await;
        std::future::pending::<()>().await;
    };
    let reading = async {
        let _ = read.read_to_end(&mut heard).await;
    };
    timeout(PATIENCE, async {
        tokio::select! { () = writing => {}, () = reading => {} }
    })
    .await
    .expect("to be closed");
}

pub(crate) async fn read_to_end(socket: &mut TcpStream, bytes: &mut Vec<u8>) {
    // A reset is an end too: the origin closed while bytes were on their way to it.
    let _ = timeout(PATIENCE, socket.read_to_end(bytes)).await.expect("to be closed");
}

/// Returns what came after the handshake.
async fn shake_hands(socket: &mut TcpStream) -> Vec<u8> {
    let mut handshake = Handshake::new(PeerType::Client);
    let hello = handshake.generate_outbound_p0_and_p1().unwrap();
    socket.write_all(&hello).await.unwrap();
    loop {
        let mut bytes = vec![0; 4096];
        let read = timeout(PATIENCE, socket.read(&mut bytes)).await.unwrap().unwrap();
        match handshake.process_bytes(&bytes[..read]).unwrap() {
            HandshakeProcessResult::InProgress { response_bytes } => socket.write_all(&response_bytes).await.unwrap(),
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                socket.write_all(&response_bytes).await.unwrap();
                return remaining_bytes;
            }
        }
    }
}
