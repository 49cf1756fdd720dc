//! A session and a client in one thread: whole publishes, refusals, and recordings that noise was put into.

use super::*;
use bytes::Bytes;
use media::TrackKind;
use rml_rtmp::handshake::{Handshake as ClientHandshake, HandshakeProcessResult as Progress};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType, StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;

/// A client behind its handshake, and the session it speaks to. Nothing is on its way when a method returns.
struct Pair {
    session: Session,
    client: ClientSession,
    /// What the session and the client have raised.
    events: Vec<Event>,
    answers: Vec<ClientSessionEvent>,
    /// What the client has sent since the handshake.
    sent: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let mut session = Session::new(1 << 16);
        let mut handshake = ClientHandshake::new(PeerType::Client);
        session.receive(&handshake.generate_outbound_p0_and_p1().unwrap());
        assert!(session.poll().is_none());
        let Ok(Progress::Completed { response_bytes, .. }) = handshake.process_bytes(&session.take_output()) else {
            panic!("the session answers with all three of its parts");
        };
        session.receive(&response_bytes);
        let (client, results) = ClientSession::new(ClientSessionConfig::new()).unwrap();
        let mut pair = Self { session, client, events: vec![], answers: vec![], sent: vec![] };
        pair.carry(results);
        pair
    }

    fn publish(name: &str) -> (Self, PublishRequest) {
        let mut pair = Self::new();
        let connect = pair.client.request_connection("live".to_owned()).unwrap();
        pair.carry(vec![connect]);
        let publish = pair.client.request_publishing(name.to_owned(), PublishRequestType::Live).unwrap();
        pair.carry(vec![publish]);
        match pair.events.pop() {
            Some(Event::PublishRequested(request)) => (pair, request),
            other => panic!("{other:?}"),
        }
    }

    /// Carries bytes both ways until both are silent.
    fn carry(&mut self, mut results: Vec<ClientSessionResult>) {
        for _step in 0..100 {
            for result in results.drain(..) {
                match result {
                    ClientSessionResult::OutboundResponse(packet) => {
                        self.session.receive(&packet.bytes);
                        self.sent.extend(packet.bytes);
                    }
                    ClientSessionResult::RaisedEvent(event) => self.answers.push(event),
                    ClientSessionResult::UnhandleableMessageReceived(_) => {}
                }
            }
            self.events.extend(std::iter::from_fn(|| self.session.poll()));
            let output = self.session.take_output();
            if output.is_empty() {
                return;
            }
            results = self.client.handle_input(&output).unwrap();
        }
        panic!("they never fall silent");
    }
}

/// What a client sends after the handshake: a publish with metadata, set-up, a picture of several chunks and sound.
fn recording() -> Vec<u8> {
    let (mut pair, _) = Pair::publish("x?key=k");
    pair.session.accept();
    pair.carry(vec![]);
    let mut metadata = StreamMetadata::new();
    metadata.video_frame_rate = Some(30.0);
    let metadata = pair.client.publish_metadata(&metadata).unwrap();
    pair.carry(vec![metadata]);
    let picture = [&[0x17, 1, 0, 0, 66, 0, 0, 0x20, 0, 0x65][..], &[7; 0x1FFF]].concat();
    for (time, tag) in [(0, VIDEO_HEADER), (33, &picture), (66, &picture)] {
        let tag = pair.client.publish_video_data(Bytes::copy_from_slice(tag), RtmpTimestamp::new(time), false);
        pair.carry(vec![tag.unwrap()]);
    }
    for (time, tag) in [(0, &[0xAF, 0, 0x11, 0x90][..]), (21, &[0xAF, 1, 1, 2]), (42, &[0xAF, 1, 3, 4])] {
        let tag = pair.client.publish_audio_data(Bytes::copy_from_slice(tag), RtmpTimestamp::new(time), false);
        pair.carry(vec![tag.unwrap()]);
    }
    let finish = pair.client.stop_publishing().unwrap();
    pair.carry(finish);
    pair.sent
}

/// What a session makes of bytes behind the handshake, when every publish is accepted.
fn replay<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut session = Session::new(1 << 16);
    session.receive(&[&[3][..], &[0; 2 * 1536]].concat());
    let mut events = Vec::new();
    for part in parts {
        session.receive(part);
        while let Some(event) = session.poll() {
            if let Event::PublishRequested(_) = event {
                session.accept();
            }
            events.push(event);
        }
        session.take_output();
    }
    events
}

#[test]
fn a_publish_from_connect_to_finish() {
    let events = replay([&recording()[..]]);
    let frames: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::Item(Ingested::Frame(frame)) = event { Some(frame) } else { None })
        .map(|frame| (frame.kind, frame.dts, frame.pts, frame.data.len()))
        .collect();
    let (video, audio) = (TrackKind::Video, TrackKind::Audio);
    assert_eq!(frames, [(video, 33, 99, 8196), (video, 66, 132, 8196), (audio, 21, 21, 2), (audio, 42, 42, 2)]);
    assert!(matches!(&events[0], Event::PublishRequested(request) if request.key.as_deref() == Some("k")));
    assert!(matches!(&events[1], Event::Item(Ingested::Announced(a)) if a.frame_rate_hz == Some(30.0)));
    assert!(matches!(events.last(), Some(Event::Closed(Closed::Finished))));
    assert_eq!(events.len(), 9);
}

#[test]
fn how_the_network_cuts_the_bytes_changes_nothing() {
    let recording = recording();
    let whole = format!("{:?}", replay([&recording[..]]));
    for size in [1, 7, 1000] {
        assert_eq!(format!("{:?}", replay(recording.chunks(size))), whole, "{size}");
    }
}

#[test]
fn an_accepted_publish_is_answered_with_its_start() {
    let (mut pair, request) = Pair::publish("x?key=k");
    let expected = PublishRequest { app: "live".into(), stream: "x".into(), key: Some("k".into()) };
    assert_eq!(request, expected);
    pair.session.accept();
    pair.carry(vec![]);
    assert!(pair.answers.contains(&ClientSessionEvent::PublishRequestAccepted), "{:?}", pair.answers);
}

#[test]
fn nothing_moves_until_a_publish_is_answered() {
    let (mut pair, _) = Pair::publish("x");
    pair.session.receive(&[0xFF; 100]);
    assert!(pair.session.poll().is_none());
    pair.session.refuse(Refusal::NameTaken);
    assert!(matches!(pair.session.poll(), Some(Event::Closed(Closed::Refused(Refusal::NameTaken)))));
    assert!(pair.session.poll().is_none());
    pair.carry(vec![]);
    let code = "NetStream.Publish.BadName".to_owned();
    assert!(pair.answers.contains(&ClientSessionEvent::UnhandleableOnStatusCode { code }), "{:?}", pair.answers);
}

/// Noise in a recording that was sent in full before: it ends or goes on, but never panics and never tells its end twice.
#[test]
fn mutated_recordings_end_once_or_not_at_all() {
    let seed = 0xFEED_5EED_u64;
    let mut state = seed;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let recording = recording();
    let (mut frames, mut ends) = (0, 0);
    for round in 0..2000 {
        let mut bytes = recording.clone();
        for _ in 0..1 + random() % 4 {
            // Half of the noise goes where the commands are.
            let at = random() % if random() % 2 == 0 { bytes.len() } else { 600 };
            bytes[at] = random() as u8;
        }
        let cut = random() % bytes.len();
        let events = replay([&bytes[..cut], &bytes[cut..]]);
        frames += events.iter().filter(|event| matches!(event, Event::Item(Ingested::Frame(_)))).count();
        let closed = events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        assert!(closed <= 1, "seed {seed:#x}, round {round}");
        ends += closed;
    }
    assert!(frames > 2000 && ends > 1000, "seed {seed:#x}: the noise drowns the recording: {frames} {ends}");
}

/// x264's configuration record for 1920x1080.
const VIDEO_HEADER: &[u8] = &[
    0x17, 0, 0, 0, 0, 0x01, 0x64, 0x00, 0x28, 0xff, 0xe1, 0x00, 0x1b, 0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78,
    0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
    0x01, 0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0x00,
];
