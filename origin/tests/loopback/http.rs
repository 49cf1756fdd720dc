//! A small HTTP client that keeps its connections.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::SocketAddr;

#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    base: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { pool: Pool::builder(TokioExecutor::new()).build_http(), base: format!("http://{addr}") }
    }

    /// Speaks HTTP/2 without asking first.
    pub(crate) fn http2(addr: SocketAddr) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { pool, base: format!("http://{addr}") }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    /// The answer's head; its body is read as it comes.
    pub(crate) async fn open(&self, path: &str) -> Opened {
        let request = Request::get(format!("{}{path}", self.base)).body(Full::default()).unwrap();
        let (parts, body) = self.pool.request(request).await.unwrap().into_parts();
        Opened { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_body(method, path, (headers, "")).await
    }

    pub(crate) async fn send_body(
        &self,
        method: Method,
        path: &str,
        (headers, body): (&[(&str, &str)], &str),
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.pool.request(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

pub(crate) struct Opened {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
}

impl Opened {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        let frame = self.body.frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
