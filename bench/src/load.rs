//! `bench load`: the keep-alive client for where wrk is not installed. Each connection asks again as soon as it is answered.

use crate::http1::Answer;
use crate::stats::percentile;
use anyhow::ensure;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) server: SocketAddr,
    pub(crate) target: String,
    pub(crate) connections: usize,
    pub(crate) length: Duration,
}

/// What a load generator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) requests: u64,
    pub(crate) requests_per_s: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Answers other than 200, and connections that broke.
    pub(crate) errors: u64,
}

struct Client {
    stream: TcpStream,
    /// How much of the request is written.
    written: usize,
    asked: Instant,
    answer: Answer,
}

pub(crate) fn run(load: &Load) -> anyhow::Result<Loaded> {
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", load.target, load.server).into_bytes();
    let mut poll = Poll::new()?;
    let start = Instant::now();
    let mut clients = Vec::with_capacity(load.connections);
    for index in 0..load.connections {
        let mut stream = TcpStream::connect(load.server)?;
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        clients.push(Some(Client { stream, written: 0, asked: start, answer: Answer::default() }));
    }
    let (mut loaded, mut latencies_us) = (Loaded::default(), Vec::new());
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 256 << 10]);
    while let Some(left) = load.length.checked_sub(start.elapsed()) {
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            let Some(slot) = clients.get_mut(event.token().0) else { continue };
            let Some(client) = slot else { continue };
            if !client.turn(&request, &mut buffer, &mut latencies_us) {
                loaded.errors += 1;
                *slot = None;
            }
        }
        ensure!(clients.iter().any(Option::is_some), "all connections to {} broke", load.server);
    }
    latencies_us.sort_unstable();
    loaded.requests = latencies_us.len() as u64;
    loaded.requests_per_s = loaded.requests as f64 / start.elapsed().as_secs_f64();
    loaded.p50_us = percentile(&latencies_us, 50.0);
    loaded.p99_us = percentile(&latencies_us, 99.0);
    Ok(loaded)
}

impl Client {
    /// Writes and reads until the socket would block; false once the connection or an answer is bad.
    fn turn(&mut self, request: &[u8], buffer: &mut [u8], latencies_us: &mut Vec<u64>) -> bool {
        loop {
            if self.written < request.len() {
                match self.stream.write(&request[self.written..]) {
                    Ok(count) => self.written += count,
                    Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
                }
                continue;
            }
            let whole = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => self.answer.push(&buffer[..count]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            match whole {
                Ok(false) => {}
                Ok(true) if self.answer.status() == 200 => {
                    latencies_us.push(self.asked.elapsed().as_micros() as u64);
                    self.answer.clear();
                    (self.written, self.asked) = (0, Instant::now());
                }
                Ok(true) | Err(_) => return false,
            }
        }
    }
}
