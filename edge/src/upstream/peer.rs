//! One upstream: an HTTP peer, asked over kept connections of Pingora's connector.

use super::tally::Tally;
use super::{Passed, PeerId, UpstreamError};
use crate::cdn_loop::CdnLoop;
use crate::refusal::Refusal;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName};
use http::{StatusCode, Uri};
use parking_lot::Mutex;
use pingora::ErrorType;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// A shield or an origin.
pub(super) struct Peer {
    connector: Arc<Connector>,
    this_node: Arc<ThisNode>,
    protocol: config::UpstreamProtocol,
    connect_timeout: Duration,
    response_timeout: Duration,
    /// Host and port as upstream is known by, for `Host` and certificates.
    authority: String,
    host: String,
    port: u16,
    tls: bool,
    /// Path of the base URL, without a slash at the end.
    prefix: String,
    resolved: Mutex<Option<Arc<Resolved>>>,
}

/// How this node names itself to those it asks.
pub(super) struct ThisNode {
    /// In `Via`.
    pub(super) name: String,
    pub(super) cdn_loop: CdnLoop,
}

/// What is asked for.
pub(super) struct Ask<'a> {
    /// A path with an optional query.
    pub(super) target: &'a str,
    pub(super) passed: &'a Passed,
    /// Conditions, or the range that is wanted.
    pub(super) fields: &'a [(HeaderName, Bytes)],
}

/// An answer whose body is still to be read. Dropped before its end, it closes its connection or resets its stream.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub peer: PeerId,
    session: Option<HttpSession>,
    address: Arc<HttpPeer>,
    connector: Arc<Connector>,
    response_timeout: Duration,
    left: Option<u64>,
    /// What has been read of the body already.
    ahead: VecDeque<Bytes>,
    tally: Tally,
    /// Tells that this upstream has been given up while others are well.
    given_up: watch::Receiver<()>,
}

/// What upstream's name stands for. "localhost" is two addresses on most machines, and a server often has only one.
struct Resolved {
    at: Instant,
    peers: Vec<Arc<HttpPeer>>,
    /// Which one took a connection last.
    first: AtomicUsize,
}

/// More addresses than this are no upstream but a mistake, and each costs a connect timeout.
const ADDRESSES_MAX: usize = 8;

/// A name is looked up again after this, and at once when connecting fails.
const RESOLVED_FOR: Duration = Duration::from_secs(30);
/// Shorter than a server's usual idle timeout of 60 s, so that this side closes first.
const IDLE: Duration = Duration::from_secs(45);
/// HTTP/2: every hold and fill of this node on few connections.
const STREAMS_MAX: usize = 250;
/// HTTP/1: idle connections kept. As many fills as come in a burst, far below the limit of open files.
const IDLE_CONNECTIONS_MAX: usize = 512;
/// A connection from the pool may have died unseen; asking twice again on others is safe for GET.
const ATTEMPTS: usize = 3;
/// Answers of 1xx before the one that counts (RFC 9110, 15.2): servers send one or two.
const INFORMATIONAL_MAX: usize = 16;
/// Version 00 has 55 bytes, and later ones may only add to it.
const TRACEPARENT_BYTES_MAX: usize = 128;

impl Peer {
    /// # Errors
    /// If the URL has no host.
    pub(super) fn new(
        url: &str,
        config: &config::Upstream,
        connector: Arc<Connector>,
        this_node: Arc<ThisNode>,
    ) -> Result<Self, UpstreamError> {
        let bad = || UpstreamError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let tls = uri.scheme_str() == Some("https");
        Ok(Self {
            connector,
            this_node,
            protocol: config.protocol,
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            resolved: Mutex::new(None),
        })
    }

    /// Asks, and waits for the header of the answer.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout` or `UpstreamBroken`.
    pub(super) async fn get(
        &self,
        ask: &Ask<'_>,
        mut tally: Tally,
        given_up: watch::Receiver<()>,
    ) -> Result<Answer, Refusal> {
        let (session, address) = self.exchange(ask).await.inspect_err(|refusal| tally.failed(*refusal))?;
        let Some(header) = session.response_header() else {
            tally.failed(Refusal::UpstreamBroken);
            return Err(Refusal::UpstreamBroken);
        };
        let (status, headers) = (header.status, header.headers.clone());
        tally.answered(status);
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // RFC 9110, 8.6: a 304 has no body, and may tell the length of the one it stands for.
        let left = length.filter(|_| status != StatusCode::NOT_MODIFIED);
        Ok(Answer {
            status,
            headers,
            peer: tally.peer(),
            session: Some(session),
            address,
            connector: self.connector.clone(),
            response_timeout: self.response_timeout,
            left,
            ahead: VecDeque::new(),
            tally,
            given_up,
        })
    }

    /// Asks for a page of its own and reads nothing but the status: whether it is there.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) async fn probe(&self, path: &str) -> Result<StatusCode, Refusal> {
        let mut request = RequestHeader::build("GET", path.as_bytes(), Some(3)).map_err(|_| Refusal::Malformed)?;
        let fields = [(header::HOST, self.authority.as_str()), (header::USER_AGENT, "vivid-probe")];
        for (name, value) in fields {
            request.insert_header(name, value).map_err(|_| Refusal::Malformed)?;
        }
        let (mut session, _, _) = self.connect().await?;
        send(&mut session, Box::new(request)).await?;
        session.response_header().map(|header| header.status).ok_or(Refusal::UpstreamBroken)
    }

    async fn exchange(&self, ask: &Ask<'_>) -> Result<(HttpSession, Arc<HttpPeer>), Refusal> {
        let request = self.request(ask)?;
        let mut last = Refusal::UpstreamUnreachable;
        for _ in 0..ATTEMPTS {
            let (mut session, reused, address) = self.connect().await?;
            match timeout(self.response_timeout, send(&mut session, request.clone())).await {
                Ok(Ok(())) => return Ok((session, address)),
                Ok(Err(refusal)) if reused => last = refusal,
                Ok(Err(refusal)) => return Err(refusal),
                Err(_) => return Err(Refusal::UpstreamTimeout),
            }
        }
        Err(last)
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Box<RequestHeader>, Refusal> {
        let path = format!("{}{}", self.prefix, ask.target);
        let ThisNode { name, cdn_loop } = &*self.this_node;
        let build = || -> pingora::Result<RequestHeader> {
            let mut request = RequestHeader::build("GET", path.as_bytes(), Some(8))?;
            request.insert_header(header::HOST, &self.authority)?;
            // Encodings are this node's own affair: it stores identity and packs playlists once.
            request.insert_header(header::ACCEPT_ENCODING, "identity")?;
            request.insert_header(header::VIA, format!("1.1 {name}"))?;
            request.insert_header("CDN-Loop", cdn_loop.onward(ask.passed.cdn_loop.as_deref().unwrap_or_default()))?;
            if let Some(traceparent) = ask.passed.traceparent.as_ref().filter(|value| is_trace(value)) {
                request.insert_header("traceparent", traceparent.to_vec())?;
            }
            for (name, value) in ask.fields {
                request.insert_header(name.clone(), value.to_vec())?;
            }
            Ok(request)
        };
        // The target came from a parsed request or a resolved reference; one that still is no URI cannot be asked for.
        build().map(Box::new).map_err(|_| Refusal::Malformed)
    }

    /// Connects to the first address of upstream that takes a connection, and tries that one first from then on.
    async fn connect(&self) -> Result<(HttpSession, bool, Arc<HttpPeer>), Refusal> {
        let resolved = self.resolve().await?;
        let count = resolved.peers.len();
        let start = resolved.first.load(Ordering::Relaxed);
        for index in (0..count).map(|offset| (start + offset) % count) {
            let peer = &resolved.peers[index];
            match timeout(self.connect_timeout, self.connector.get_http_session(peer.as_ref())).await {
                Ok(Ok((session, reused))) => {
                    resolved.first.store(index, Ordering::Relaxed);
                    return Ok((session, reused, peer.clone()));
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "cannot connect"),
                Err(_) => tracing::debug!(%peer, "connecting takes too long"),
            }
        }
        *self.resolved.lock() = None;
        Err(Refusal::UpstreamUnreachable)
    }

    async fn resolve(&self) -> Result<Arc<Resolved>, Refusal> {
        let now = Instant::now();
        let known = self.resolved.lock().clone();
        if let Some(resolved) = known.filter(|resolved| now - resolved.at < RESOLVED_FOR) {
            return Ok(resolved);
        }
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let Ok(Ok(addresses)) = timeout(self.connect_timeout, lookup).await else {
            return Err(Refusal::UpstreamUnreachable);
        };
        let peers: Vec<_> = addresses.take(ADDRESSES_MAX).map(|address| self.peer(address)).collect();
        if peers.is_empty() {
            return Err(Refusal::UpstreamUnreachable);
        }
        let resolved = Arc::new(Resolved { at: now, peers, first: AtomicUsize::new(0) });
        *self.resolved.lock() = Some(resolved.clone());
        Ok(resolved)
    }

    fn peer(&self, address: SocketAddr) -> Arc<HttpPeer> {
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        match self.protocol {
            config::UpstreamProtocol::Http1 => peer.options.set_http_version(1, 1),
            config::UpstreamProtocol::H2c | config::UpstreamProtocol::H2 => peer.options.set_http_version(2, 2),
        }
        peer.options.connection_timeout = Some(self.connect_timeout);
        peer.options.max_h2_streams = STREAMS_MAX;
        Arc::new(peer)
    }
}

impl Answer {
    /// The next bytes of the body; `None` at its proper end.
    ///
    /// # Errors
    /// `UpstreamTimeout` if nothing comes for the response timeout, `UpstreamBroken` if the body is cut short.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        if let Some(bytes) = self.ahead.pop_front() {
            return Ok(Some(bytes));
        }
        let read = self.read().await.inspect_err(|refusal| self.tally.failed(*refusal))?;
        if read.is_none() {
            self.tally.ended();
            if let Some(session) = self.session.take() {
                self.connector.release_http_session(session, self.address.as_ref(), Some(IDLE)).await;
            }
        }
        Ok(read)
    }

    /// The rest of the body, up to `max` bytes.
    ///
    /// # Errors
    /// As [`Self::chunk`], and `ObjectTooLarge` past the bound.
    pub async fn body(&mut self, max: u64) -> Result<Vec<Bytes>, Refusal> {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        while let Some(chunk) = self.chunk().await? {
            bytes += chunk.len() as u64;
            if bytes > max {
                return Err(Refusal::ObjectTooLarge);
            }
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// Reads the body as far as `max` bytes, and keeps it for whoever reads on. `None` where it is longer.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub(super) async fn read_ahead(&mut self, max: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let (mut ahead, mut bytes) = (Vec::new(), 0);
        while bytes <= max {
            let Some(chunk) = self.chunk().await? else { break };
            bytes += chunk.len() as u64;
            ahead.push(chunk);
        }
        let whole = (bytes <= max).then(|| ahead.concat());
        self.ahead = ahead.into();
        Ok(whole)
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(session) = self.session.as_mut() else { return Ok(None) };
        let read = tokio::select! {
            biased;
            read = timeout(self.response_timeout, session.read_response_body()) => read,
            Ok(()) = self.given_up.changed() => return Err(Refusal::UpstreamBroken),
        };
        let read = match read {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => return Err(Refusal::UpstreamBroken),
            Err(_) => return Err(Refusal::UpstreamTimeout),
        };
        let length = read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        match &mut self.left {
            Some(left) if read.is_none() && *left > 0 => return Err(Refusal::UpstreamBroken),
            Some(left) => *left = left.checked_sub(length).ok_or(Refusal::UpstreamBroken)?,
            None => {}
        }
        Ok(read)
    }
}

/// Others wait for the same answer: a viewer's field that upstream could refuse stays here.
fn is_trace(value: &[u8]) -> bool {
    value.len() <= TRACEPARENT_BYTES_MAX && value.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

/// Kept connections for all upstreams of this node.
///
/// Pingora loads root certificates even where no upstream has TLS, and panics where the environment names files that
/// are not there.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<Connector, UpstreamError> {
    let mut options = ConnectorOptions::new(IDLE_CONNECTIONS_MAX);
    if let Some(path) = ca_file {
        options.ca_file = Some(authorities(path)?);
    }
    std::panic::catch_unwind(AssertUnwindSafe(|| Connector::new(Some(options))))
        .map_err(|_| UpstreamError::Certificates)
}

/// The path of a file that holds a certificate at least.
pub(super) fn authorities(path: &Path) -> Result<String, UpstreamError> {
    let unreadable = || UpstreamError::Authorities(path.to_owned());
    let mut certificates = CertificateDer::pem_file_iter(path).map_err(|_| unreadable())?;
    certificates.next().and_then(Result::ok).ok_or_else(unreadable)?;
    Ok(path.to_str().ok_or_else(unreadable)?.to_owned())
}

async fn send(session: &mut HttpSession, request: Box<RequestHeader>) -> Result<(), Refusal> {
    let exchange = async {
        session.write_request_header(request).await?;
        session.finish_request_body().await?;
        for _ in 0..=INFORMATIONAL_MAX {
            session.read_response_header().await?;
            match session.response_header().map(|header| header.status) {
                // Nobody asked for another protocol.
                Some(StatusCode::SWITCHING_PROTOCOLS) => break,
                Some(status) if status.is_informational() => {}
                _ => return Ok(()),
            }
        }
        Err(pingora::Error::new(ErrorType::InvalidHTTPHeader))
    };
    exchange.await.map_err(|error: Box<pingora::Error>| match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Refusal::UpstreamTimeout,
        _ => Refusal::UpstreamBroken,
    })
}
