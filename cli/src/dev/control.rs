//! The switches of `vivid dev`: a Unix socket that the router's process forwards `/_vivid/dev` to.

use super::layout::Role;
use super::process::Fleet;
use anyhow::Context;
use axum::body::Body;
use axum::extract::{Path as Segment, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get as on_get, post};
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

pub(super) fn socket_path(directory: &Path) -> PathBuf {
    directory.join("control.sock")
}

/// Serves the switches on a socket in `directory`.
pub(super) fn serve(fleet: Arc<Fleet>, directory: &Path) -> anyhow::Result<JoinHandle<()>> {
    let path = socket_path(directory);
    let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let routes = Router::new()
        .route("/_vivid/dev", on_get(status))
        .route("/_vivid/dev/{name}/break", post(break_tier))
        .route("/_vivid/dev/{name}/mend", post(mend_tier))
        .with_state(fleet);
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            eprintln!("vivid: the control socket failed: {error}");
        }
    }))
}

/// What the router's process adds to its routes under `vivid dev`.
pub(crate) fn forwarding_routes(socket: &Path) -> Router {
    let socket: Arc<Path> = Arc::from(socket);
    Router::new()
        .route("/_vivid/dev", on_get(forward))
        .route("/_vivid/dev/{name}/break", post(forward))
        .route("/_vivid/dev/{name}/mend", post(forward))
        .with_state(socket)
}

/// The status of a GET; used to wait for readiness.
pub(super) async fn get(url: &str) -> anyhow::Result<u16> {
    let uri: http::Uri = url.parse()?;
    let authority = uri.authority().context("no authority")?;
    let request = Request::get(uri.path()).header("host", authority.as_str()).body(Body::empty())?;
    let stream = TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
    Ok(exchange(TokioIo::new(stream), request).await?.status().as_u16())
}

async fn status(State(fleet): State<Arc<Fleet>>) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "processes": fleet.rows(), "publish": fleet.publish_url() }))
}

async fn break_tier(State(fleet): State<Arc<Fleet>>, Segment(name): Segment<String>) -> Response {
    match breakable(&name) {
        Some(role) => answer(fleet.kill(role).await),
        None => not_breakable(&name),
    }
}

async fn mend_tier(State(fleet): State<Arc<Fleet>>, Segment(name): Segment<String>) -> Response {
    match breakable(&name) {
        Some(role) => answer(fleet.start(role)),
        None => not_breakable(&name),
    }
}

/// The router carries these very switches, so it is not among what they break.
fn breakable(name: &str) -> Option<Role> {
    Role::from_name(name).filter(|role| *role != Role::Router)
}

fn not_breakable(name: &str) -> Response {
    let known = "origin, shield, cdn-a, cdn-b or source";
    (StatusCode::NOT_FOUND, format!("{name:?} cannot be switched; name one of {known}\n")).into_response()
}

fn answer(done: anyhow::Result<()>) -> Response {
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

async fn forward(State(socket): State<Arc<Path>>, request: Request) -> Response {
    if !comes_from_our_page(request.headers()) {
        return (StatusCode::FORBIDDEN, "only the page of this vivid dev may ask this\n").into_response();
    }
    let (mut parts, _) = request.into_parts();
    // Over HTTP/2 the URI is absolute; the socket speaks HTTP/1.1, which takes the path.
    if let Ok(path) = parts.uri.path().parse() {
        parts.uri = path;
    }
    parts.version = http::Version::HTTP_11;
    parts.headers.clear();
    parts.headers.insert("host", HeaderValue::from_static("vivid-dev"));
    let request = Request::from_parts(parts, Body::empty());
    let forwarded = async {
        let stream = UnixStream::connect(&*socket).await?;
        exchange(TokioIo::new(stream), request).await
    };
    match tokio::time::timeout(FORWARD_DEADLINE, forwarded).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => (StatusCode::BAD_GATEWAY, format!("vivid dev does not answer: {error:#}\n")).into_response(),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "vivid dev does not answer in time\n").into_response(),
    }
}

/// Any web page can make a browser POST here, and a name that resolves to loopback makes it same-origin: so the host must
/// be loopback by name, and an `Origin`, where there is one, that very host. Programs send no `Origin`.
fn comes_from_our_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let Some(host) = text("host") else { return false };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let loopback = ["127.0.0.1", "localhost", "[::1]"].contains(&name);
    loopback && text("origin").is_none_or(|origin| origin.strip_prefix("http://") == Some(host))
}

/// One request on a connection of its own; the body is small and read whole.
async fn exchange<S>(stream: TokioIo<S>, request: Request) -> anyhow::Result<Response>
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, Body::from(body)))
}

const FORWARD_DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(headers: &[(&'static str, &'static str)]) -> bool {
        let pairs =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        comes_from_our_page(&pairs.collect())
    }

    #[test]
    fn other_pages_cannot_break_a_tier() {
        assert!(allowed(&[("host", "127.0.0.1:8080")]));
        assert!(allowed(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")]));
        assert!(!allowed(&[("host", "127.0.0.1:8080"), ("origin", "http://evil.example")]));
        assert!(!allowed(&[("host", "127.0.0.1:8080"), ("origin", "null")]));
        assert!(!allowed(&[("host", "rebound.example:8080"), ("origin", "http://rebound.example:8080")]));
        assert!(!allowed(&[]));
    }
}
