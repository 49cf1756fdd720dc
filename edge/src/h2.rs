//! HTTP/2 of viewers and of edges that ask this node as their shield, on Pingora's HTTP/2 server.

use crate::answer::{Node, slice_of};
use crate::client::Client;
use crate::connection::{Accepted, Limits, WRITE_STALL};
use crate::fill::Reader;
use crate::range::{Slice, Window};
use crate::reply::{Body, Frame, Reply};
use crate::request::{BODY_BYTES_MAX, Method, Request};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, HttpSession, default_h2_options};
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Serves a connection that begins with the preface of HTTP/2, or that agreed on it by ALPN, until its end.
pub async fn serve(node: &Arc<Node>, limits: Limits, accepted: Accepted, shutdown: &ShutdownWatch) {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(limits.keepalive_timeout);
    let (node, client) = (node.clone(), accepted.client);
    let app = Arc::new(App { node, client, options, body_timeout: limits.header_timeout });
    app.process_new(accepted.stream, shutdown).await;
}

/// What Pingora calls for each stream.
struct App {
    node: Arc<Node>,
    client: Client,
    options: HttpServerOptions,
    body_timeout: Duration,
}

/// The stream is over before its answer was.
struct Over;

/// As many holds and fills as an edge has on one connection to its shield.
const STREAMS_MAX: u32 = 256;
/// A header list beyond what HTTP/1.1 may bring here is refused by the protocol.
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;

#[async_trait]
impl HttpServerApp for App {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // Nothing else comes from a connection that began with the preface.
        if let ServerSession::H2(mut session) = session {
            session.write_timeout = Some(WRITE_STALL);
            if self.answer(&mut session).await.is_err() {
                // RFC 9113, 8.1: a body that is cut short is a stream that is reset.
                session.shutdown();
            }
        }
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEADER_LIST_BYTES_MAX);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

impl App {
    async fn answer(&self, session: &mut HttpSession) -> Result<(), Over> {
        let header = session.req_header();
        let read = Request::from_parts(header.method.as_str(), header.raw_path(), &header.headers);
        let (reply, request) = match read {
            Ok(mut request) => {
                if request.may_have_body() {
                    request.body = self.body(session).await?;
                }
                let reply = tokio::select! {
                    biased;
                    reply = self.node.answer(&request, self.client) => reply,
                    _ = session.idle() => return Err(Over),
                };
                (reply, request)
            }
            Err(refusal) => (Reply::refusal(crate::key::Class::Other, refusal), Request::default()),
        };
        self.node.metrics.answered(reply.class, reply.status());
        send(&self.node, session, reply, request.method == Method::Head).await
    }

    /// The body of the one page that takes one.
    async fn body(&self, session: &mut HttpSession) -> Result<Bytes, Over> {
        let reading = async {
            let mut body = BytesMut::new();
            while let Some(bytes) = session.read_body_bytes().await.map_err(|_| Over)? {
                if body.len() + bytes.len() > BODY_BYTES_MAX {
                    return Err(Over);
                }
                body.extend_from_slice(&bytes);
            }
            Ok(body.freeze())
        };
        timeout(self.body_timeout, reading).await.map_err(|_| Over)?
    }
}

async fn send(node: &Node, session: &mut HttpSession, reply: Reply, head_only: bool) -> Result<(), Over> {
    let ends = head_only || reply.length() == Some(0);
    session.write_response_header(header(node, &reply)?, ends).map_err(|_| Over)?;
    if !ends {
        match reply.body {
            Body::Object(object) => write(session, &object.chunks).await?,
            Body::Slice(object, slice) => write(session, &slice_of(&object, slice)).await?,
            Body::Growing { reader, slice, .. } => grow(session, reader, slice).await?,
            Body::Refusal(refusal) => write(session, &[Bytes::from(format!("{refusal}\n"))]).await?,
            Body::Text(_, text) => write(session, &[Bytes::from(text)]).await?,
            Body::NotModified(_) | Body::Preflight => {}
        }
    }
    if let Some(version) = reply.held {
        version.written();
    }
    Ok(())
}

/// The same fields as over HTTP/1.1, less those about framing (RFC 9113, 8.2.2).
fn header(node: &Node, reply: &Reply) -> Result<Box<ResponseHeader>, Over> {
    let mut text = Vec::new();
    reply.put_head(&mut text, Frame { http10: false, keep_alive: true }, &node.notes, Instant::now());
    let mut header = ResponseHeader::build(reply.status(), Some(16)).map_err(|_| Over)?;
    let text = String::from_utf8_lossy(&text);
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        if !name.eq_ignore_ascii_case("transfer-encoding") && !name.eq_ignore_ascii_case("connection") {
            header.append_header(name.to_owned(), value).map_err(|_| Over)?;
        }
    }
    if reply.status() == StatusCode::NO_CONTENT {
        header.remove_header("content-length");
    }
    Ok(Box::new(header))
}

async fn grow(session: &mut HttpSession, mut reader: Reader, slice: Option<Slice>) -> Result<(), Over> {
    let mut window = Window::of(slice);
    while !window.is_done() {
        let next = tokio::select! {
            biased;
            next = reader.next() => next.map_err(|_| Over)?,
            _ = session.idle() => return Err(Over),
        };
        let Some(bytes) = next else { break };
        let bytes = window.take(&bytes);
        if !bytes.is_empty() {
            session.write_body(bytes, false).await.map_err(|_| Over)?;
        }
    }
    session.write_body(Bytes::new(), true).await.map_err(|_| Over)
}

async fn write(session: &mut HttpSession, chunks: &[Bytes]) -> Result<(), Over> {
    for (index, chunk) in chunks.iter().enumerate() {
        let last = index + 1 == chunks.len();
        session.write_body(chunk.clone(), last).await.map_err(|_| Over)?;
    }
    Ok(())
}
