//! `bench origin`: one epoll thread that holds blocking playlist requests and releases them on command.

pub(crate) mod growth;
pub(crate) mod site;

use crate::http1;
use crate::stream;
use crate::sys;
use anyhow::Context;
use bytes::{Buf, Bytes};
use growth::Growth;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use site::{Held, Reply, Site};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX);
/// Longer than any server under test is told to wait.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// How long it sleeps while nothing happens.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the origin says when it listens, as one line of JSON on standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) listen: SocketAddr,
}

/// The answer to a command to publish.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Published {
    /// CLOCK_MONOTONIC just before the first byte of the first answer.
    pub(crate) first_byte_ns: u64,
    /// How many holds were released.
    pub(crate) released: usize,
}

struct Origin {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    site: Site,
    /// When the next part is published by itself.
    publish_at: Option<Instant>,
    grown: BTreeMap<String, Grown>,
    /// Connections on which something grows; while there is none, nobody looks for them.
    growing: usize,
    /// When holds are looked through for those that are too old.
    expire_at: Instant,
}

/// An object that grows, from its first request on.
struct Grown {
    growth: Growth,
    born: Instant,
    /// When each piece was first written: CLOCK_MONOTONIC in nanoseconds.
    written_ns: Vec<u64>,
    /// What was written then.
    pieces: Vec<Bytes>,
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: VecDeque<Bytes>,
    held: Option<(Held, Instant)>,
    /// What it is given as it grows, and the next piece.
    growing: Option<(String, u32)>,
}

/// Serves until the process is ended. A `live` stream publishes by itself, part after part.
pub(crate) fn serve(listen: SocketAddr, live: bool) -> anyhow::Result<()> {
    let mut listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    crate::say(&Listening { listen: listener.local_addr()? })?;
    let mut origin = Origin {
        poll,
        listener,
        connections: Vec::new(),
        free: Vec::new(),
        site: Site::new(live),
        publish_at: live.then(|| Instant::now() + stream::PART),
        grown: BTreeMap::new(),
        growing: 0,
        expire_at: Instant::now(),
    };
    let mut events = Events::with_capacity(4096);
    loop {
        match origin.poll.poll(&mut events, Some(origin.patience(Instant::now()))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => origin.accept(),
                Token(index) => origin.ready(index, event),
            }
        }
        origin.on_time(Instant::now());
    }
}

impl Origin {
    fn accept(&mut self) {
        // Any error, no more connections and no more files alike, waits for the next event.
        while let Ok((mut stream, _)) = self.listener.accept() {
            let _ = stream.set_nodelay(true);
            let index = self.free.pop().unwrap_or(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(index), interest).is_err() {
                self.free.push(index);
                continue;
            }
            if index == self.connections.len() {
                self.connections.push(None);
            }
            let connection =
                Connection { stream, inbox: Vec::new(), outbox: VecDeque::new(), held: None, growing: None };
            self.connections[index] = Some(connection);
        }
    }

    fn ready(&mut self, index: usize, event: &Event) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let mut alive = !event.is_writable() || connection.flush();
        if alive && event.is_readable() {
            alive = connection.fill() && self.requests(index);
        }
        if !alive {
            self.connections[index] = None;
            self.free.push(index);
        }
    }

    /// Answers every whole request of a connection, in order; false if it has to be closed.
    fn requests(&mut self, index: usize) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return false };
            if connection.held.is_some() || connection.growing.is_some() {
                return connection.inbox.len() <= http1::HEAD_BYTES_MAX;
            }
            let request = match http1::request(&connection.inbox) {
                Ok(Some(request)) => request,
                Ok(None) => return true,
                Err(_) => return false,
            };
            connection.inbox.drain(..request.bytes);
            let answer = match self.site.reply(&request.method, &request.target) {
                Reply::Now(answer) => answer,
                Reply::Publish => self.publish(),
                Reply::Grown => site::json(&self.written()),
                Reply::Hold(held) => {
                    connection.held = Some((held, Instant::now() + HOLD_MAX));
                    continue;
                }
                Reply::Grow(path, growth) => {
                    connection.growing = Some((path.clone(), 0));
                    self.growing += 1;
                    let born = Instant::now();
                    self.grown.entry(path).or_insert(Grown {
                        growth,
                        born,
                        written_ns: Vec::new(),
                        pieces: Vec::new(),
                    });
                    growth.head()
                }
            };
            let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return false };
            if !connection.send(answer) {
                return false;
            }
        }
    }

    fn publish(&mut self) -> Bytes {
        let mut released = 0;
        let first_byte_ns = sys::monotonic_ns();
        self.site.publish(first_byte_ns);
        for connection in self.connections.iter_mut().flatten() {
            let Some(answer) = connection.held.as_ref().and_then(|(held, _)| self.site.released(held)) else {
                continue;
            };
            connection.held = None;
            // A write that fails shows itself as an event on the connection.
            connection.send(answer);
            released += 1;
        }
        site::json(&Published { first_byte_ns, released })
    }

    fn written(&self) -> BTreeMap<&str, &[u64]> {
        self.grown.iter().map(|(path, grown)| (path.as_str(), grown.written_ns.as_slice())).collect()
    }

    /// Until something is due.
    fn patience(&self, now: Instant) -> Duration {
        let connections = self.connections.iter().filter(|_| self.growing > 0);
        let growing = connections.flatten().filter_map(|connection| connection.growing.as_ref());
        let due = growing.filter_map(|(path, next)| {
            let grown = self.grown.get(path)?;
            Some(grown.born + grown.growth.due(*next))
        });
        let first = due.chain(self.publish_at).min();
        first.map_or(PATIENCE, |first| first.saturating_duration_since(now).min(PATIENCE))
    }

    fn on_time(&mut self, now: Instant) {
        if let Some(at) = self.publish_at.filter(|at| now >= *at) {
            self.publish_at = Some(at + stream::PART);
            self.publish();
        }
        if self.growing > 0 {
            for index in 0..self.connections.len() {
                if !self.grow(index, now) {
                    self.connections[index] = None;
                    self.free.push(index);
                }
            }
            self.growing = self.connections.iter().flatten().filter(|connection| connection.growing.is_some()).count();
        }
        if now < self.expire_at {
            return;
        }
        self.expire_at = now + PATIENCE;
        for connection in self.connections.iter_mut().flatten() {
            if connection.held.as_ref().is_some_and(|(_, until)| now >= *until) {
                connection.held = None;
                connection.send(site::refusal("503 Service Unavailable"));
            }
        }
    }

    /// Writes the pieces that are due to one connection; false if it dies now.
    fn grow(&mut self, index: usize, now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return true };
        while let Some((path, next)) = connection.growing.take() {
            let Some(Grown { growth, born, written_ns, pieces }) = self.grown.get_mut(&path) else { return true };
            if growth.dies_after > 0 && next >= growth.dies_after {
                return false;
            }
            if now < *born + growth.due(next) {
                connection.growing = Some((path, next));
                return true;
            }
            if written_ns.len() == next as usize {
                pieces.push(growth.piece(next));
                written_ns.push(sys::monotonic_ns());
            }
            let Some(piece) = pieces.get(next as usize) else { return true };
            connection.send(piece.clone());
            connection.growing = Some((path, next + 1)).filter(|(_, next)| *next < growth.pieces);
        }
        true
    }
}

impl Connection {
    /// Reads what there is; false once the peer has gone.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) if self.inbox.len() > http1::HEAD_BYTES_MAX => return false,
                Ok(count) => self.inbox.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    fn send(&mut self, answer: Bytes) -> bool {
        self.outbox.push_back(answer);
        self.flush()
    }

    /// Writes what the socket takes; false once the peer has gone.
    fn flush(&mut self) -> bool {
        while let Some(front) = self.outbox.front_mut() {
            match self.stream.write(front) {
                Ok(count) => front.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if front.is_empty() {
                self.outbox.pop_front();
            }
        }
        true
    }
}
