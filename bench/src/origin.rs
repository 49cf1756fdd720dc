//! `bench origin`: one epoll thread that holds blocking playlist requests and releases them on command.

pub(crate) mod site;

use crate::http1;
use crate::sys;
use anyhow::Context;
use bytes::{Buf, Bytes};
use manifest::Wait;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use site::{Reply, Site};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const LISTENER: Token = Token(usize::MAX);
/// Longer than any server under test is told to wait.
const HOLD_MAX: Duration = Duration::from_secs(60);

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
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: VecDeque<Bytes>,
    held: Option<(Wait, Instant)>,
}

/// Serves until the process is ended.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let mut listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    crate::say(&Listening { listen: listener.local_addr()? })?;
    let mut origin = Origin { poll, listener, connections: Vec::new(), free: Vec::new(), site: Site::new() };
    let mut events = Events::with_capacity(4096);
    loop {
        match origin.poll.poll(&mut events, Some(Duration::from_secs(1))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => origin.accept(),
                Token(index) => origin.ready(index, event),
            }
        }
        origin.expire(Instant::now());
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
            let connection = Connection { stream, inbox: Vec::new(), outbox: VecDeque::new(), held: None };
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
            if connection.held.is_some() {
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
                Reply::Hold(wait) => {
                    connection.held = Some((wait, Instant::now() + HOLD_MAX));
                    continue;
                }
            };
            let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return false };
            if !connection.send(answer) {
                return false;
            }
        }
    }

    fn publish(&mut self) -> Bytes {
        self.site.publish();
        let mut released = 0;
        let first_byte_ns = sys::monotonic_ns();
        for connection in self.connections.iter_mut().flatten() {
            let Some(answer) = connection.held.and_then(|(wait, _)| self.site.released(wait)) else { continue };
            connection.held = None;
            // A write that fails shows itself as an event on the connection.
            connection.send(answer);
            released += 1;
        }
        site::json(&Published { first_byte_ns, released })
    }

    fn expire(&mut self, now: Instant) {
        for connection in self.connections.iter_mut().flatten() {
            if connection.held.is_some_and(|(_, until)| now >= until) {
                connection.held = None;
                connection.send(site::refusal("503 Service Unavailable"));
            }
        }
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
