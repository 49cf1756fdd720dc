//! Bytes from a worker or an origin gone mad: the reader never panics, and what was read survives the trip.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use transcode::wire::{FromWorker, Message, ToWorker, decode, encode};

fn drain<M: Message + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(message)) = decode::<M>(&mut buffer) {
        let mut again = BytesMut::new();
        encode(&message, &mut again).expect("what was read fits");
        assert_eq!(decode::<M>(&mut again), Ok(Some(message)));
    }
}

fuzz_target!(|data: &[u8]| {
    drain::<ToWorker>(data);
    drain::<FromWorker>(data);
});
