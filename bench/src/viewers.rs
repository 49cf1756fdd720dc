//! `bench viewers`: one epoll thread with many connections, each of which sends one request and times the answer.

use crate::http1::Answer;
use crate::sys;
use crate::tls;
use anyhow::ensure;
use manifest::Position;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Connections being opened at once: below the backlog of every server under test, so that no SYN is repeated.
const OPENING_MAX: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) server: SocketAddr,
    pub(crate) viewers: usize,
    /// What viewer number N asks for.
    pub(crate) target: fn(Position, usize) -> String,
    pub(crate) at: Position,
    /// The body that every viewer has to get.
    pub(crate) expected: Vec<u8>,
    /// For opening all connections, and again for all answers.
    pub(crate) patience: Duration,
    /// Of the server, in PEM; without it there is no TLS.
    pub(crate) certificate: Option<PathBuf>,
}

/// Said as a line of JSON once every request is written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) waiting: usize,
}

/// Said as a line of JSON at the end. Times are CLOCK_MONOTONIC in nanoseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// First and last byte of every right answer.
    pub(crate) answers_ns: Vec<(u64, u64)>,
    /// What became of the others, and of how many.
    pub(crate) failures: BTreeMap<String, usize>,
}

/// What the bytes of a viewer go over.
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

struct Viewer {
    wire: Wire,
    /// What of the request is still to be written.
    request: Vec<u8>,
    answer: Answer,
    first_ns: u64,
    /// Set when nothing more is expected: the time of the last byte, or what went wrong.
    end: Option<Result<u64, String>>,
}

struct Run<'a> {
    crowd: &'a Crowd,
    tls: Option<Arc<ClientConfig>>,
    poll: Poll,
    viewers: Vec<Viewer>,
    sent: usize,
    ended: usize,
}

/// Opens all connections, sends all requests, tells `waiting`, and collects the answers.
pub(crate) fn run(crowd: &Crowd, waiting: impl FnOnce(Waiting) -> anyhow::Result<()>) -> anyhow::Result<Outcome> {
    let (poll, viewers) = (Poll::new()?, Vec::with_capacity(crowd.viewers));
    let tls = crowd.certificate.as_ref().map(|certificate| tls::client(certificate, b"http/1.1")).transpose()?;
    let mut run = Run { crowd, tls: tls.map(Arc::new), poll, viewers, sent: 0, ended: 0 };
    let mut events = Events::with_capacity(4096);
    let until = Instant::now() + crowd.patience;
    while run.sent + run.unsent_ends() < crowd.viewers {
        run.open()?;
        ensure!(run.turn(&mut events, until)?, "only {} of {} requests could be sent", run.sent, crowd.viewers);
    }
    waiting(Waiting { waiting: run.sent })?;
    let until = Instant::now() + crowd.patience;
    while run.ended < crowd.viewers && run.turn(&mut events, until)? {}
    Ok(run.outcome())
}

impl Run<'_> {
    fn open(&mut self) -> anyhow::Result<()> {
        while self.viewers.len() < self.crowd.viewers
            && self.viewers.len() - self.sent - self.unsent_ends() < OPENING_MAX
        {
            let mut stream = TcpStream::connect(self.crowd.server)?;
            let token = Token(self.viewers.len());
            self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            let target = (self.crowd.target)(self.crowd.at, self.viewers.len());
            let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", target, self.crowd.server);
            let (request, answer) = (request.into_bytes(), Answer::default());
            let wire = match &self.tls {
                None => Wire::Plain(stream),
                Some(tls) => {
                    let session = ClientConnection::new(tls.clone(), ServerName::try_from("localhost")?)?;
                    Wire::Tls(Box::new(StreamOwned::new(session, stream)))
                }
            };
            self.viewers.push(Viewer { wire, request, answer, first_ns: 0, end: None });
        }
        Ok(())
    }

    /// Viewers that ended before their request was written.
    fn unsent_ends(&self) -> usize {
        if self.ended == 0 {
            return 0;
        }
        self.viewers.iter().filter(|viewer| viewer.end.is_some() && !viewer.request.is_empty()).count()
    }

    /// One wait for events; false once the deadline has passed.
    fn turn(&mut self, events: &mut Events, until: Instant) -> anyhow::Result<bool> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        match self.poll.poll(events, Some(left)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &*events {
            let Some(viewer) = self.viewers.get_mut(event.token().0).filter(|viewer| viewer.end.is_none()) else {
                continue;
            };
            let unsent = !viewer.request.is_empty();
            // Over TLS a handshake comes first, which waits for both.
            if unsent {
                viewer.send();
            }
            self.sent += usize::from(unsent && viewer.request.is_empty());
            if viewer.end.is_none() && event.is_readable() {
                viewer.receive();
            }
            self.ended += usize::from(viewer.end.is_some());
        }
        Ok(true)
    }

    /// Bodies are compared only now: comparing must not delay reading.
    fn outcome(self) -> Outcome {
        let mut outcome = Outcome::default();
        for viewer in &self.viewers {
            match viewer.verdict(&self.crowd.expected) {
                Ok(times) => outcome.answers_ns.push(times),
                Err(failure) => *outcome.failures.entry(failure).or_default() += 1,
            }
        }
        outcome
    }
}

impl Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Viewer {
    fn send(&mut self) {
        match self.wire.write(&self.request) {
            Ok(count) => drop(self.request.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => self.end = Some(Err(format!("request not sent: {}", error.kind()))),
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 << 10];
        while self.end.is_none() {
            match self.wire.read(&mut buffer) {
                Ok(0) => self.end = Some(Err("connection closed".to_owned())),
                Ok(count) => self.received(&buffer[..count], sys::monotonic_ns()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end = Some(Err(format!("connection failed: {}", error.kind()))),
            }
        }
    }

    fn received(&mut self, bytes: &[u8], now_ns: u64) {
        if self.answer.is_empty() {
            self.first_ns = now_ns;
        }
        match self.answer.push(bytes) {
            Ok(true) => self.end = Some(Ok(now_ns)),
            Ok(false) => {}
            Err(error) => self.end = Some(Err(error.to_string())),
        }
    }

    fn verdict(&self, expected: &[u8]) -> Result<(u64, u64), String> {
        let last_ns = self.end.clone().unwrap_or_else(|| Err("no whole answer in time".to_owned()))?;
        match self.answer.status() {
            200 if self.answer.body() == expected => Ok((self.first_ns, last_ns)),
            200 => Err("wrong body".to_owned()),
            status => Err(format!("status {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio_rustls::rustls::{ServerConfig, ServerConnection};

    #[test]
    fn viewers_over_tls_get_their_answers() {
        let dir = tempfile::tempdir().unwrap();
        tls::write(dir.path()).unwrap();
        let certificate = tls::certificate(dir.path());
        let key = PrivateKeyDer::from_pem_file(dir.path().join("key.pem")).unwrap();
        let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, listener) = (Arc::new(config), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let server = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let mut open = Vec::new();
            for _ in 0..3 {
                let stream = listener.accept().unwrap().0;
                let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    let mut buffer = [0; 1024];
                    let count = stream.read(&mut buffer).unwrap();
                    asked.extend_from_slice(&buffer[..count]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap();
                open.push(stream);
            }
            open
        });
        let crowd = Crowd {
            server,
            viewers: 3,
            target: |_, _| "/".to_owned(),
            at: Position { msn: 0, part: 0 },
            expected: b"abc".to_vec(),
            patience: Duration::from_secs(20),
            certificate: Some(certificate),
        };
        let outcome = run(&crowd, |_| Ok(())).unwrap();
        assert!(outcome.failures.is_empty() && outcome.answers_ns.len() == 3, "{outcome:?}");
        drop(serving.join().unwrap());
    }
}
