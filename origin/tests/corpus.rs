//! Replays the seeds of the fuzz target for RTMP sessions, each cut in several ways.

use origin::Ingested;
use origin::rtmp::{Event, Session};

#[test]
fn sessions() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/rtmp_session");
    let (mut publishes, mut frames) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        for size in [1, 100, seed.len().max(1)] {
            let mut session = Session::new(64 << 10);
            session.receive(&[3]);
            session.receive(&[0; 2 * 1536]);
            for part in seed.chunks(size) {
                session.receive(part);
                while let Some(event) = session.poll() {
                    match event {
                        Event::PublishRequested(_) => {
                            publishes += 1;
                            session.accept();
                        }
                        Event::Item(Ingested::Frame(_)) => frames += 1,
                        _ => {}
                    }
                }
                session.take_output();
            }
        }
    }
    assert!(publishes >= 3 * 4 && frames >= 3 * 9, "the seeds hold {publishes} publishes and {frames} frames");
}
