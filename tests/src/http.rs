//! A plain HTTP client for tests: one answer, whole, within a deadline.

use ::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// Longer than any hold.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// GET.
pub async fn get(url: &str) -> anyhow::Result<Answer> {
    get_with(url, &[]).await
}

/// GET with headers.
pub async fn get_with(url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    send(Method::GET, url, headers).await
}

/// POST without a body.
pub async fn post(url: &str) -> anyhow::Result<Answer> {
    send(Method::POST, url, &[]).await
}

/// The sum of a metric over its labels that contain `labels`, as a tier's `/_vivid/metrics` says.
pub async fn metric(tier: &str, name: &str, labels: &str) -> anyhow::Result<f64> {
    let text = get(&format!("{tier}/_vivid/metrics")).await?.text();
    let series =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels);
    Ok(text.lines().filter(series).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let whole = async {
        let (parts, body) = client.request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    tokio::time::timeout(DEADLINE, whole).await?
}
