//! Malformed clients: each is cut or ignored, and a publisher beside it loses no frame.

use crate::encoder::{
    Bystander, Encoder, VIDEO_HEADER, connect, header, message, raw, read_to_end, write_until_closed,
};
use crate::world::{World, next};
use media::Frame;
use origin::Ingested;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Runs `attack` beside a publisher, then checks that the connection ended for `reason`.
async fn cut(reason: &str, attack: impl AsyncFnOnce(&World)) {
    let world = World::with(|ingest| ingest.handshake_timeout = Duration::from_millis(300));
    let mut bystander = Bystander::start(&world).await;
    bystander.during(attack(&world)).await;
    assert_eq!(world.closed(reason), 1.0, "closed for another reason than {reason}");
    assert_eq!(world.metric("vivid_origin_rtmp_connections", ""), 1.0);
    drop(bystander);
    world.stop().await;
}

/// Writes `bytes` behind a handshake and waits for the cut.
async fn cut_after(bytes: &[u8], reason: &str) {
    cut(reason, async |world| write_until_closed(&mut raw(world.addr).await, bytes).await).await;
}

/// Publishes, does as told, and checks that this publisher, too, goes on.
async fn survives(attack: impl AsyncFnOnce(&mut Encoder), dropped: &str) {
    let world = World::start();
    let mut bystander = Bystander::start(&world).await;
    let survived = async {
        let mut encoder = Encoder::publish(world.addr, "live", "odd?key=k").await.ok().unwrap();
        let mut received = world.take("odd");
        attack(&mut encoder).await;
        encoder.video(0, VIDEO_HEADER).await;
        assert!(matches!(next(&mut received).await, Some(Ingested::Video(_))));
    };
    bystander.during(survived).await;
    assert_eq!(world.dropped(dropped), 1.0, "not dropped as {dropped}");
    drop(bystander);
    world.stop().await;
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| random()).collect()
}

#[tokio::test]
async fn random_bytes_instead_of_a_handshake() {
    let seed = 0xBAD_5EED;
    println!("seed {seed:#x}");
    let bytes = noise(seed, 10_000);
    assert_ne!(bytes[0], 3);
    cut("handshake", async |world| {
        write_until_closed(&mut TcpStream::connect(world.addr).await.unwrap(), &bytes).await;
    })
    .await;
}

#[tokio::test]
async fn random_bytes_that_begin_like_a_handshake() {
    let world = World::with(|ingest| ingest.handshake_timeout = Duration::from_millis(300));
    let mut bystander = Bystander::start(&world).await;
    for seed in 1..=20 {
        println!("seed {seed}");
        let bytes = [vec![3], noise(seed, 20_000)].concat();
        let attack = async {
            let mut socket = TcpStream::connect(world.addr).await.unwrap();
            write_until_closed(&mut socket, &bytes).await;
        };
        bystander.during(attack).await;
    }
    let ended = world.closed("chunk") + world.closed("handshake_deadline") + world.closed("command");
    assert_eq!(ended, 20.0);
    drop(bystander);
    world.stop().await;
}

#[tokio::test]
async fn a_truncated_handshake_that_waits() {
    cut("handshake_deadline", async |world| {
        let mut socket = TcpStream::connect(world.addr).await.unwrap();
        socket.write_all(&[&[3][..], &[0; 700]].concat()).await.unwrap();
        read_to_end(&mut socket, &mut Vec::new()).await;
    })
    .await;
}

#[tokio::test]
async fn a_truncated_handshake_that_hangs_up() {
    cut("hangup", async |world| {
        let mut socket = TcpStream::connect(world.addr).await.unwrap();
        socket.write_all(&[&[3][..], &[0; 700]].concat()).await.unwrap();
        socket.shutdown().await.unwrap();
        read_to_end(&mut socket, &mut Vec::new()).await;
    })
    .await;
}

#[tokio::test]
async fn a_silent_connection() {
    cut("handshake_deadline", async |world| {
        read_to_end(&mut TcpStream::connect(world.addr).await.unwrap(), &mut Vec::new()).await;
    })
    .await;
}

#[tokio::test]
async fn a_slow_sender_is_cut_by_the_deadline_not_by_its_silence() {
    cut("handshake_deadline", async |world| {
        let mut socket = TcpStream::connect(world.addr).await.unwrap();
        let (mut read, mut write) = socket.split();
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let trickle = async {
            write.write_all(&[3]).await?;
            loop {
                pace.tick().await;
                write.write_all(&[0]).await?;
            }
        };
        let mut heard = Vec::new();
        let closed = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut heard);
        let result: std::io::Result<usize> = tokio::select! { result = trickle => result, result = closed => result };
        // Closed in order or reset: both are the cut.
        let _ = result;
    })
    .await;
}

#[tokio::test]
async fn audio_interleaved_in_a_large_video_message() {
    let world = World::start();
    let mut bystander = Bystander::start(&world).await;
    let mut encoder = Encoder::publish(world.addr, "live", "odd?key=k").await.ok().unwrap();
    let mut received = world.take("odd");
    let unit = [&[0, 2, 0, 0, 0x65][..], &vec![5; (2 << 16) - 1]].concat();
    let video = message(9, 9, &[&[0x17, 1, 0, 0, 0][..], &unit].concat());
    // Every chunk of the picture is followed by a whole audio message on another chunk stream.
    let (first, rest) = video.split_at(12 + 128);
    let audio = message(10, 8, &[0xAF, 1, 1, 2, 3]);
    let mut bytes = [message(9, 9, VIDEO_HEADER), message(10, 8, &[0xAF, 0, 0x11, 0x90]), first.to_vec()].concat();
    let chunks: Vec<_> = rest.chunks(129).collect();
    for chunk in &chunks {
        bytes.extend_from_slice(&audio);
        bytes.extend_from_slice(chunk);
    }
    let exchange = async {
        let write = encoder.raw(&bytes);
        let read = async {
            let mut frames = Vec::new();
            while frames.len() < chunks.len() + 1 {
                if let Ingested::Frame(frame) = next(&mut received).await.expect("the publish to go on") {
                    frames.push(frame);
                }
            }
            frames
        };
        tokio::join!(write, read).1
    };
    let frames: Vec<Frame> = bystander.during(exchange).await;
    let (picture, sounds) = frames.split_last().unwrap();
    assert_eq!(picture.data, unit);
    assert!(sounds.iter().all(|frame| frame.data == [1, 2, 3][..]));
    drop(bystander);
    drop(encoder);
    world.stop().await;
}

#[tokio::test]
async fn an_amf0_nest_of_16_mb_before_the_publish() {
    cut_after(&header(3, 20, 0xFF_FFFF), "chunk").await;
}

#[tokio::test]
async fn an_amf0_nest_that_fits_a_command() {
    let nest = [3, 0, 1, b'a'].repeat(16_000);
    cut_after(&message(3, 20, &nest), "command").await;
    let array = [0x0A, 0, 0, 0, 1].repeat(13_000);
    cut_after(&message(3, 20, &array), "command").await;
}

#[tokio::test]
async fn an_amf0_nest_of_16_mb_in_a_publish() {
    let world = World::with(|ingest| ingest.message_bytes_max = 16 << 20);
    let mut bystander = Bystander::start(&world).await;
    let nest = message(9, 18, &[0x0A, 0, 0, 0, 1].repeat(0xFF_FFFF / 5));
    let exchange = async {
        let mut encoder = Encoder::publish(world.addr, "live", "odd?key=k").await.ok().unwrap();
        let mut received = world.take("odd");
        encoder.raw(&nest).await;
        encoder.video(0, VIDEO_HEADER).await;
        assert!(matches!(next(&mut received).await, Some(Ingested::Video(_))));
    };
    bystander.during(exchange).await;
    assert_eq!(world.dropped("metadata"), 1.0);
    drop(bystander);
    world.stop().await;
}

#[tokio::test]
async fn a_set_data_frame_alone_before_the_publish() {
    let bytes = [connect(), message(5, 18, b"\x02\x00\x0d@setDataFrame"), header(3, 20, 0xFF_FFFF)].concat();
    // The connection outlives the bare word; the message after it is what ends it.
    cut_after(&bytes, "chunk").await;
}

#[tokio::test]
async fn a_set_data_frame_alone_in_a_publish() {
    survives(async |encoder| encoder.raw(&message(9, 18, b"\x02\x00\x0d@setDataFrame")).await, "metadata").await;
}

#[tokio::test]
async fn unknown_markers_in_metadata() {
    survives(async |encoder| encoder.raw(&message(9, 18, &[2, 0, 1, b'x', 0x11, 1])).await, "metadata").await;
}

#[tokio::test]
async fn a_nest_in_a_command_of_a_publish() {
    let nest = [3, 0, 1, b'a'].repeat(16_000);
    survives(async |encoder| encoder.raw(&message(9, 20, &nest)).await, "command").await;
}

#[tokio::test]
async fn frames_before_their_set_up() {
    survives(async |encoder| encoder.video(0, &[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]).await, "no_sequence_header").await;
}

#[tokio::test]
async fn a_tag_that_breaks_its_format() {
    survives(async |encoder| encoder.video(0, &[0x17]).await, "malformed").await;
}

#[tokio::test]
async fn an_oversize_message_in_a_publish() {
    cut("chunk", async |world| {
        let mut encoder = Encoder::publish(world.addr, "live", "odd?key=k").await.ok().unwrap();
        encoder.raw(&header(9, 9, (256 << 10) + 1)).await;
        encoder.closed().await;
    })
    .await;
}

#[tokio::test]
async fn more_than_64_kib_before_the_publish() {
    cut_after(&header(3, 9, (64 << 10) + 1), "chunk").await;
}

#[tokio::test]
async fn too_many_chunk_streams() {
    let mut bytes: Vec<u8> = (3..64).flat_map(|id| message(id, 8, &[0])).collect();
    for id in 0..4 {
        let mut wide = message(0, 8, &[0]);
        wide.insert(1, id);
        bytes.extend(wide);
    }
    cut_after(&bytes, "chunk").await;
}

#[tokio::test]
async fn unfinished_messages_on_every_chunk_stream() {
    // 60,000 bytes each: none is too long, together they are.
    let set_chunk_size = message(2, 1, &60_000_u32.to_be_bytes());
    let begun = |id| [header(id, 8, 64 << 10), vec![0; 60_000]].concat();
    cut_after(&[set_chunk_size, begun(3), begun(4), begun(5)].concat(), "chunk").await;
}

#[tokio::test]
async fn chunk_sizes_of_zero_and_with_the_high_bit() {
    cut_after(&message(2, 1, &[0; 4]), "chunk").await;
    cut_after(&message(2, 1, &[0xFF; 4]), "chunk").await;
}

#[tokio::test]
async fn a_huge_chunk_size_allocates_nothing_and_breaks_nothing() {
    survives(
        async |encoder| {
            let nothing = [&header(9, 22, 3)[..], &[0; 3]].concat();
            let back = message(2, 1, &128_u32.to_be_bytes());
            encoder.raw(&[message(2, 1, &i32::MAX.to_be_bytes()), nothing, back].concat()).await;
        },
        "unsupported",
    )
    .await;
}

#[tokio::test]
async fn a_chunk_without_a_header_to_refer_to() {
    cut_after(&[0xC0 | 9], "chunk").await;
}

#[tokio::test]
async fn endless_commands_without_a_publish() {
    let commands = message(3, 20, b"\x02\x00\x04ping").repeat(40);
    cut_after(&commands, "too_many_commands").await;
}

#[tokio::test]
async fn a_publish_on_a_stream_that_was_never_created() {
    let publish = b"\x02\x00\x07publish\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x02\x00\x05x?k=k";
    // Refused for its key first: no state of the command protocol is needed for that.
    cut_after(&[connect(), message(4, 20, publish)].concat(), "refused").await;
    let publish = b"\x02\x00\x07publish\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x02\x00\x07x?key=k";
    cut_after(&[connect(), message(4, 20, publish)].concat(), "protocol").await;
}

#[tokio::test]
async fn a_player() {
    let play = b"\x02\x00\x04play\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x02\x00\x01x";
    cut_after(&[connect(), message(4, 20, play)].concat(), "play").await;
}

#[tokio::test]
async fn a_fault_of_ours_costs_one_connection() {
    cut("fault", async |world| {
        let mut socket = raw(world.addr).await;
        let publish = b"\x02\x00\x07publish\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x02\x00\x0bfault?key=k";
        socket.write_all(&[connect(), message(4, 20, publish)].concat()).await.unwrap();
        read_to_end(&mut socket, &mut Vec::new()).await;
    })
    .await;
}
