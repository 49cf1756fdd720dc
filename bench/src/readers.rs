//! `bench readers`: many readers of one object, who tell when its pieces arrived and how its body ended.

use crate::http1::Answer;
use crate::origin::growth::Growth;
use crate::sys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    let mut reading = JoinSet::new();
    for stream in streams {
        reading.spawn(read(stream, growth, until));
    }
    // Bodies are compared only when all have ended: comparing must not delay reading.
    let mut ended = Vec::with_capacity(readers.count);
    while let Some(one) = reading.join_next().await {
        ended.push(one?);
    }
    let expected: Vec<u8> = (0..growth.pieces).flat_map(|index| growth.body(index)).collect();
    let mut read = Read::default();
    for (pieces_ns, end, answer) in ended {
        let short = end == End::Whole && answer.body() != expected;
        read.pieces_ns.push(pieces_ns);
        *read.ends.entry(if short { End::ShortButWhole } else { end }).or_default() += 1;
    }
    Ok(read)
}

async fn read(mut stream: TcpStream, growth: Growth, until: Instant) -> (Vec<u64>, End, Answer) {
    let (mut pieces_ns, mut answer) = (Vec::with_capacity(growth.pieces as usize), Answer::default());
    let mut buffer = vec![0; 32 << 10];
    let end = loop {
        let count = match timeout_at(until, stream.read(&mut buffer)).await {
            Ok(Ok(count)) if count > 0 => count,
            Ok(_) => break End::Cut,
            Err(_) => break End::Endless,
        };
        let whole = answer.push(&buffer[..count]);
        if answer.status() != 0 && answer.status() != 200 {
            break End::Refused;
        }
        let here = answer.body().len() / growth.piece_bytes;
        pieces_ns.resize(here.max(pieces_ns.len()), sys::monotonic_ns());
        match whole {
            Ok(false) => {}
            Ok(true) => break End::Whole,
            Err(_) => break End::Cut,
        }
    };
    (pieces_ns, end, answer)
}
