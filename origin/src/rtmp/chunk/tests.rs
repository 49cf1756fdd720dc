//! Chunks as encoders send them, as the standard allows them, and as nobody should.

use super::*;

const LIMITS: ChunkLimits = ChunkLimits { message_bytes_max: 1000, buffered_bytes_max: 1500, chunk_streams_max: 4 };

fn reader() -> ChunkReader {
    ChunkReader::new(LIMITS)
}

/// A type 0 header; `time` is what the field says.
fn header(id: u8, time: u32, length: u32, kind: u8) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend_from_slice(&time.to_be_bytes()[1..]);
    bytes.extend_from_slice(&length.to_be_bytes()[1..]);
    bytes.push(kind);
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes
}

/// A whole message in one chunk.
fn message(id: u8, time: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    [&header(id, time, payload.len() as u32, kind)[..], payload].concat()
}

fn control(kind: u8, value: u32) -> Vec<u8> {
    message(2, 0, kind, &value.to_be_bytes())
}

/// All messages of these bytes, pushed one by one: nothing may depend on how the network cuts them.
fn read(reader: &mut ChunkReader, bytes: &[u8]) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    for byte in bytes {
        reader.push(&[*byte]);
        while let Some(message) = reader.next()? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn times(bytes: &[u8]) -> Vec<u32> {
    read(&mut reader(), bytes).unwrap().iter().map(|message| message.timestamp).collect()
}

#[test]
fn audio_interleaved_in_a_video_message_leaves_both_whole() {
    let video = [7; 200];
    let bytes = [
        &header(6, 40, 200, 9)[..],
        &video[..128],
        &message(4, 41, 8, b"audio"),
        &[0xC0 | 6],
        &video[128..],
        &message(4, 63, 8, b"more"),
    ]
    .concat();
    let found = read(&mut reader(), &bytes).unwrap();
    let of = |kind, timestamp, payload: &[u8]| Message {
        kind,
        stream: 1,
        timestamp,
        payload: Bytes::copy_from_slice(payload),
    };
    assert_eq!(found, [of(8, 41, b"audio"), of(9, 40, &video), of(8, 63, b"more")]);
}

#[test]
fn the_four_header_types_build_on_each_other() {
    let bytes = [
        &message(5, 1000, 8, b"ab")[..],
        &[0x40 | 5, 0, 0, 23, 0, 0, 3, 8, b'c', b'd', b'e'],
        &[0x80 | 5, 0, 0, 24, b'f', b'g', b'h'],
        &[0xC0 | 5, b'i', b'j', b'k'],
    ]
    .concat();
    let found = read(&mut reader(), &bytes).unwrap();
    let seen: Vec<_> = found.iter().map(|m| (m.timestamp, m.stream, &m.payload[..])).collect();
    assert_eq!(seen, [(1000, 1, &b"ab"[..]), (1023, 1, b"cde"), (1047, 1, b"fgh"), (1071, 1, b"ijk")]);
}

#[test]
fn a_type_3_message_after_type_0_adds_its_timestamp_as_ffmpeg_means_it() {
    assert_eq!(times(&[&message(5, 23, 8, b"a")[..], &[0xC0 | 5, b'b']].concat()), [23, 46]);
}

#[test]
fn chunk_stream_ids_of_two_and_three_bytes() {
    let mut bytes = message(0, 1, 8, b"a");
    bytes.insert(1, 10);
    let mut wide = message(1, 2, 8, b"b");
    wide.splice(1..1, [10, 1]);
    bytes.extend(wide);
    // The long form of id 74 is the same chunk stream as the short one: type 3 finds its header.
    bytes.extend([0xC1, 10, 0, b'c']);
    let found = read(&mut reader(), &bytes).unwrap();
    assert_eq!(found.iter().map(|m| &m.payload[..]).collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}

/// Times past 4 h 39 min, past 24 h, and at the end of the 32 bits, with and without the repeated field in type 3.
#[test]
fn extended_timestamps_with_and_without_repetition() {
    let payload = [9; 300];
    for time in [0xFF_FFFF_u32, 16_780_000, 90_000_000, u32::MAX] {
        for repeated in [true, false] {
            let extended = time.to_be_bytes();
            let again: &[u8] = if repeated { &extended } else { &[] };
            let bytes = [
                &header(6, TIME_EXTENDED, 300, 9)[..],
                &extended,
                &payload[..128],
                &[0xC0 | 6],
                again,
                &payload[128..256],
                &[0xC0 | 6],
                again,
                &payload[256..],
                // The next frame comes with a small delta: the extended field is gone.
                &[0x80 | 6, 0, 0, 33],
                &payload[..128],
                &[0xC0 | 6],
                &payload[128..256],
                &[0xC0 | 6],
                &payload[256..],
            ]
            .concat();
            let found = read(&mut reader(), &bytes).unwrap();
            assert_eq!(found.iter().map(|m| m.timestamp).collect::<Vec<_>>(), [time, time.wrapping_add(33)]);
            assert!(found.iter().all(|m| m.payload == payload[..]), "{time} {repeated}");
        }
    }
}

#[test]
fn extended_deltas_and_type_3_starts() {
    let extended = 16_780_000_u32.to_be_bytes();
    let first = [&header(5, TIME_EXTENDED, 1, 8)[..], &extended, b"a"].concat();
    assert_eq!(times(&[&first[..], &[0xC0 | 5], &extended, b"b"].concat()), [16_780_000, 16_780_000]);
    assert_eq!(times(&[&first[..], &[0xC0 | 5], b"b"].concat()), [16_780_000, 16_780_000]);
    let jump = [&message(5, 1, 8, b"a")[..], &[0x80 | 5, 255, 255, 255], &extended, b"b"].concat();
    assert_eq!(times(&jump), [1, 16_780_001]);
}

#[test]
fn chunk_sizes_change_at_once_and_silly_ones_end_it() {
    let payload = [1; 900];
    let bytes = [&control(1, 900)[..], &message(6, 0, 9, &payload)].concat();
    assert_eq!(read(&mut reader(), &bytes).unwrap()[0].payload, payload[..]);
    let largest = [&control(1, i32::MAX as u32)[..], &message(6, 0, 9, &payload)].concat();
    assert_eq!(read(&mut reader(), &largest).unwrap()[0].payload, payload[..]);
    let smallest = [&control(1, 1)[..], &header(6, 5, 2, 8), b"a", &[0xC0 | 6], b"b"].concat();
    assert_eq!(read(&mut reader(), &smallest).unwrap()[0].payload, b"ab"[..]);
    for size in [0, 0x8000_0000, u32::MAX] {
        assert_eq!(read(&mut reader(), &control(1, size)), Err(ChunkError::ChunkSize(size)));
    }
}

#[test]
fn an_abort_discards_what_was_begun() {
    let bytes = [&header(6, 5, 200, 9)[..], &[0; 128], &control(2, 6), &message(6, 9, 9, b"whole")].concat();
    let mut reader = reader();
    let found = read(&mut reader, &bytes).unwrap();
    assert_eq!(found.iter().map(|m| &m.payload[..]).collect::<Vec<_>>(), [b"whole"]);
    assert_eq!(reader.buffered, 0);
    assert_eq!(read(&mut reader, &control(2, 77)), Ok(vec![]));
}

#[test]
fn empty_messages_are_messages() {
    let found = read(&mut reader(), &[message(6, 5, 9, b""), message(6, 6, 9, b"x")].concat()).unwrap();
    assert_eq!(found.iter().map(|m| m.payload.len()).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn every_bound_bites() {
    let too_long = ChunkError::MessageTooLong { bytes: 1001, max: 1000 };
    assert_eq!(read(&mut reader(), &header(6, 0, 1001, 9)), Err(too_long));

    let many: Vec<u8> = (3..8).flat_map(|id| message(id, 0, 8, b"a")).collect();
    assert_eq!(read(&mut reader(), &many), Err(ChunkError::TooManyChunkStreams { max: 4 }));

    let begun = |id| [&header(id, 0, 1000, 9)[..], &[0; 900]].concat();
    let bytes = [&control(1, 900)[..], &begun(3), &begun(4)].concat();
    assert_eq!(read(&mut reader(), &bytes), Err(ChunkError::TooMuchBuffered { max: 1500 }));
}

#[test]
fn headers_out_of_place_end_it() {
    assert_eq!(read(&mut reader(), &[0xC0 | 6]), Err(ChunkError::NoHeader));
    assert_eq!(read(&mut reader(), &[0x80 | 6]), Err(ChunkError::NoHeader));
    let bytes = [&header(6, 0, 200, 9)[..], &[0; 128], &header(6, 0, 200, 9)].concat();
    assert_eq!(read(&mut reader(), &bytes), Err(ChunkError::Unfinished));
    assert_eq!(read(&mut reader(), &message(2, 0, 1, &[0, 0])), Err(ChunkError::ShortControl));
}

#[test]
fn a_chunk_stream_may_open_with_type_1() {
    let found = read(&mut reader(), &[0x42, 0, 0, 0, 0, 0, 2, 4, 0, 6]).unwrap();
    assert_eq!(found, [Message { kind: 4, stream: 0, timestamp: 0, payload: Bytes::from_static(&[0, 6]) }]);
}

#[test]
fn acknowledgements_carry_the_total() {
    let mut reader = reader();
    read(&mut reader, &control(5, 10_000)).unwrap();
    assert_eq!(reader.acknowledgement_due(), None);
    for (before, total) in [(4999 - 16, 5000), (4999, 10_000)] {
        reader.push(&vec![0; before]);
        assert_eq!(reader.acknowledgement_due(), None);
        reader.push(&[0]);
        assert_eq!(reader.acknowledgement_due(), Some(total));
    }
}

/// Mutated recordings and plain noise: no panic, and the bounds hold whatever comes.
#[test]
fn noise_stays_within_bounds() {
    let seed = 0xC0FFEE_u64;
    let mut state = seed;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let payload = [3; 400];
    let recording =
        [&control(1, 256)[..], &header(6, 40, 400, 9), &payload[..256], &[0xC6], &payload[256..], &control(2, 6)]
            .concat();
    let mut whole = 0;
    for round in 0..20_000 {
        let mut bytes = if round % 4 == 0 { (0..64).map(|_| random() as u8).collect() } else { recording.clone() };
        for _ in 0..random() % 4 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        let mut reader = reader();
        let cut = random() as usize % bytes.len();
        for part in [&bytes[..cut], &bytes[cut..]] {
            reader.push(part);
            while let Ok(Some(message)) = reader.next() {
                whole += 1;
                assert!(message.payload.len() <= LIMITS.message_bytes_max, "seed {seed:#x}, round {round}");
            }
            assert!(reader.streams.len() <= LIMITS.chunk_streams_max, "seed {seed:#x}, round {round}");
            let held: usize = reader.streams.values().filter_map(|s| s.unfinished.as_ref()).map(BytesMut::len).sum();
            assert!(held <= LIMITS.buffered_bytes_max, "seed {seed:#x}, round {round}");
        }
    }
    assert!(whole > 5000, "seed {seed:#x}: the mutations break every recording: {whole}");
}
