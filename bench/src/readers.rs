//! `bench readers`: many readers of one object, who tell when its pieces arrived and how its body ended.

use crate::http1::Answer;
use crate::origin::growth::Growth;
use crate::sys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

#[derive(Clone, Debug)]
pub(crate) struct Readers {
    pub(crate) server: SocketAddr,
    pub(crate) target: String,
    pub(crate) count: usize,
    /// From the last request to the last end.
    pub(crate) patience: Duration,
}

/// A piece and its framing.
const READ_BYTES: usize = 20 << 10;

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum End {
    /// Every byte, and the framing says so.
    Whole,
    /// The framing says that it is whole, and it is not.
    ShortButWhole,
    /// The connection ended before the framing did.
    Cut,
    /// Another status than 200.
    Refused,
    /// Nothing ended it in time.
    Endless,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Read {
    /// Of each reader, when its pieces were there whole: CLOCK_MONOTONIC in nanoseconds.
    pub(crate) pieces_ns: Vec<Vec<u64>>,
    pub(crate) ends: BTreeMap<End, usize>,
}

/// Opens all connections, then asks on all of them, then reads.
pub(crate) async fn run(readers: &Readers, growth: Growth) -> anyhow::Result<Read> {
    let mut streams = Vec::with_capacity(readers.count);
    for _ in 0..readers.count {
        streams.push(TcpStream::connect(readers.server).await?);
    }
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", readers.target, readers.server);
    for stream in &mut streams {
        stream.write_all(request.as_bytes()).await?;
    }
    let until = Instant::now() + readers.patience;
    let expected: Arc<[u8]> = (0..growth.pieces).flat_map(|index| growth.body(index)).collect();
    let mut reading = JoinSet::new();
    for stream in streams {
        reading.spawn(read(stream, growth, (expected.clone(), until)));
    }
    let (mut read, mut streams) = (Read::default(), Vec::with_capacity(readers.count));
    while let Some(one) = reading.join_next().await {
        let (pieces_ns, end, stream) = one?;
        read.pieces_ns.push(pieces_ns);
        *read.ends.entry(end).or_default() += 1;
        // To close a connection must not delay who still reads.
        streams.push(stream);
    }
    Ok(read)
}

async fn read(
    stream: TcpStream,
    growth: Growth,
    (expected, until): (Arc<[u8]>, Instant),
) -> (Vec<u64>, End, TcpStream) {
    let (mut pieces_ns, mut answer) = (Vec::with_capacity(growth.pieces as usize), Answer::default());
    let (mut bytes, mut right) = (0, true);
    let end = loop {
        match timeout_at(until, stream.readable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break End::Cut,
            Err(_) => break End::Endless,
        }
        let whole = match take(&stream, &mut answer) {
            Ok(whole) => whole,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => break End::Cut,
        };
        if answer.status() != 0 && answer.status() != 200 {
            break End::Refused;
        }
        let body = answer.body();
        right &= expected.get(bytes..bytes + body.len()) == Some(body);
        bytes += body.len();
        answer.drain();
        let here = (bytes / growth.piece_bytes).max(pieces_ns.len());
        if here > pieces_ns.len() {
            pieces_ns.resize(here, sys::monotonic_ns());
        }
        if whole {
            break if right && bytes == expected.len() { End::Whole } else { End::ShortButWhole };
        }
    };
    (pieces_ns, end, stream)
}

/// One read, into memory that all readers share. An end of the stream, and what is no HTTP, is an error.
fn take(stream: &TcpStream, answer: &mut Answer) -> std::io::Result<bool> {
    let mut buffer = [0; READ_BYTES];
    match stream.try_read(&mut buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        count => answer.push(&buffer[..count]).map_err(std::io::Error::other),
    }
}
