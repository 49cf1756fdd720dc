//! Upstream as this node sees it: one HTTP peer, asked over kept connections of Pingora's connector.

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
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Whom this node asks: a shield or an origin.
pub struct Upstream {
    connector: Connector,
    config: config::Upstream,
    /// Host and port as upstream is known by, for `Host` and certificates.
    authority: String,
    host: String,
    port: u16,
    tls: bool,
    /// Path of the base URL, without a slash at the end.
    prefix: String,
    /// `Via` of this node.
    name: String,
    pub cdn_loop: CdnLoop,
    resolved: Mutex<Option<Arc<Resolved>>>,
}

/// What is passed on of the request that made this node ask.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// `CDN-Loop` (RFC 8586) of the viewer's request: who has had it before.
    pub cdn_loop: Option<Bytes>,
    /// `traceparent` (W3C Trace Context).
    pub traceparent: Option<Bytes>,
}

/// An answer whose body is still to be read. Dropped before its end, it closes its connection or resets its stream.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    session: Option<HttpSession>,
    peer: Arc<HttpPeer>,
    upstream: Arc<Upstream>,
    left: Option<u64>,
}

/// Why upstream cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("edge.upstream.url {0:?} has no host; write for example \"http://127.0.0.1:8081\"")]
    Url(String),
    #[error("root certificates cannot be loaded; install ca-certificates, or mend SSL_CERT_FILE and SSL_CERT_DIR")]
    Certificates,
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
/// Version 00 has 55 bytes, and later ones may only add to it.
const TRACEPARENT_BYTES_MAX: usize = 128;

impl Upstream {
    /// # Errors
    /// If the URL has no host, or the machine's root certificates cannot be loaded.
    pub fn new(config: config::Upstream, name: &str) -> Result<Self, UpstreamError> {
        let bad = || UpstreamError::Url(config.url.clone());
        let uri: Uri = config.url.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        let tls = uri.scheme_str() == Some("https");
        Ok(Self {
            connector: connector()?,
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            name: name.to_owned(),
            cdn_loop: CdnLoop::new(name),
            resolved: Mutex::new(None),
            config,
        })
    }

    /// Asks for `target`, a path with an optional query, and waits for the header of the answer.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout` or `UpstreamBroken`.
    pub async fn get(self: &Arc<Self>, target: &str, passed: &Passed) -> Result<Answer, Refusal> {
        self.get_with(target, passed, &[]).await
    }

    /// The same with conditions or a range.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_with(
        self: &Arc<Self>,
        target: &str,
        passed: &Passed,
        fields: &[(HeaderName, Bytes)],
    ) -> Result<Answer, Refusal> {
        let request = self.request(target, passed, fields)?;
        let mut last = Refusal::UpstreamUnreachable;
        for _ in 0..ATTEMPTS {
            let (mut session, reused, peer) = self.connect().await?;
            let asked = timeout(self.config.response_timeout, ask(&mut session, request.clone())).await;
            match asked {
                Ok(Ok(())) => return self.answer(session, peer),
                Ok(Err(refusal)) if reused => last = refusal,
                Ok(Err(refusal)) => return Err(refusal),
                Err(_) => return Err(Refusal::UpstreamTimeout),
            }
        }
        Err(last)
    }

    fn request(
        &self,
        target: &str,
        passed: &Passed,
        fields: &[(HeaderName, Bytes)],
    ) -> Result<Box<RequestHeader>, Refusal> {
        let path = format!("{}{target}", self.prefix);
        let build = || -> pingora::Result<RequestHeader> {
            let mut request = RequestHeader::build("GET", path.as_bytes(), Some(8))?;
            request.insert_header(header::HOST, &self.authority)?;
            // Encodings are this node's own affair: it stores identity and packs playlists once.
            request.insert_header(header::ACCEPT_ENCODING, "identity")?;
            request.insert_header(header::VIA, format!("1.1 {}", self.name))?;
            request.insert_header("CDN-Loop", self.cdn_loop.onward(passed.cdn_loop.as_deref().unwrap_or_default()))?;
            if let Some(traceparent) = passed.traceparent.as_ref().filter(|value| is_trace(value)) {
                request.insert_header("traceparent", traceparent.to_vec())?;
            }
            for (name, value) in fields {
                request.insert_header(name, value.to_vec())?;
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
            match timeout(self.config.connect_timeout, self.connector.get_http_session(peer.as_ref())).await {
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

    fn answer(self: &Arc<Self>, session: HttpSession, peer: Arc<HttpPeer>) -> Result<Answer, Refusal> {
        let header = session.response_header().ok_or(Refusal::UpstreamBroken)?;
        let headers = header.headers.clone();
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // RFC 9110, 8.6: a 304 has no body, and may tell the length of the one it stands for.
        let left = length.filter(|_| header.status != StatusCode::NOT_MODIFIED);
        Ok(Answer { status: header.status, headers, session: Some(session), peer, upstream: self.clone(), left })
    }

    async fn resolve(&self) -> Result<Arc<Resolved>, Refusal> {
        let now = Instant::now();
        let known = self.resolved.lock().clone();
        if let Some(resolved) = known.filter(|resolved| now - resolved.at < RESOLVED_FOR) {
            return Ok(resolved);
        }
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let Ok(Ok(addresses)) = timeout(self.config.connect_timeout, lookup).await else {
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
        match self.config.protocol {
            config::UpstreamProtocol::Http1 => peer.options.set_http_version(1, 1),
            config::UpstreamProtocol::H2c => peer.options.set_http_version(2, 2),
        }
        peer.options.connection_timeout = Some(self.config.connect_timeout);
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
        let Some(session) = self.session.as_mut() else { return Ok(None) };
        let read = match timeout(self.upstream.config.response_timeout, session.read_response_body()).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => return Err(Refusal::UpstreamBroken),
            Err(_) => return Err(Refusal::UpstreamTimeout),
        };
        let Some(bytes) = read else {
            if self.left.is_some_and(|left| left > 0) {
                return Err(Refusal::UpstreamBroken);
            }
            if let Some(session) = self.session.take() {
                self.upstream.connector.release_http_session(session, self.peer.as_ref(), Some(IDLE)).await;
            }
            return Ok(None);
        };
        self.left = self
            .left
            .map(|left| left.checked_sub(bytes.len() as u64))
            .map_or(Ok(None), |left| left.map(Some).ok_or(Refusal::UpstreamBroken))?;
        Ok(Some(bytes))
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
}

/// Others wait for the same answer: a viewer's field that upstream could refuse stays here.
fn is_trace(value: &[u8]) -> bool {
    value.len() <= TRACEPARENT_BYTES_MAX && value.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

/// Pingora loads root certificates even where no upstream has TLS, and panics where the environment names files that
/// are not there.
fn connector() -> Result<Connector, UpstreamError> {
    std::panic::catch_unwind(|| Connector::new(Some(ConnectorOptions::new(IDLE_CONNECTIONS_MAX))))
        .map_err(|_| UpstreamError::Certificates)
}

async fn ask(session: &mut HttpSession, request: Box<RequestHeader>) -> Result<(), Refusal> {
    let exchange = async {
        session.write_request_header(request).await?;
        session.finish_request_body().await?;
        loop {
            session.read_response_header().await?;
            let informational = session.response_header().is_some_and(|header| header.status.is_informational());
            if !informational {
                return Ok(());
            }
        }
    };
    exchange.await.map_err(|error: Box<pingora::Error>| match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => Refusal::UpstreamTimeout,
        _ => Refusal::UpstreamBroken,
    })
}
