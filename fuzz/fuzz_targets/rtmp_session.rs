//! Bytes of a publisher behind a plain handshake; every publish is accepted, and the first byte says how they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use origin::rtmp::{Event, Session};

fuzz_target!(|data: &[u8]| {
    let mut session = Session::new(64 << 10);
    session.receive(&[3]);
    session.receive(&[0; 2 * 1536]);
    let size = data.first().map_or(1, |first| usize::from(*first) + 1);
    for part in data.chunks(size) {
        session.receive(part);
        while let Some(event) = session.poll() {
            if let Event::PublishRequested(_) = event {
                session.accept();
            }
        }
        session.take_output();
    }
});
