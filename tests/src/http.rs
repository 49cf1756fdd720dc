//! An HTTP client for tests: one answer, whole or chunk by chunk, within a deadline.

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use reqwest::{Client, Response, redirect};
use std::sync::LazyLock;
use std::time::Duration;

/// Longer than any hold.
const DEADLINE: Duration = Duration::from_secs(20);

/// Follows no redirect: what is asked is what is answered. Proxies of the environment are not for servers under test.
static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // Another part of the process may have installed the same provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).tcp_nodelay(true);
    // A kept connection belongs to the runtime of the test that made it.
    client.pool_max_idle_per_host(0).build().expect("a client without files or certificates of its own")
});

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
    send(Method::GET, url, headers, Bytes::new()).await
}

/// POST without a body.
pub async fn post(url: &str) -> anyhow::Result<Answer> {
    post_with(url, &[], "").await
}

/// POST with headers and a body.
pub async fn post_with(url: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<Answer> {
    send(Method::POST, url, headers, Bytes::copy_from_slice(body.as_bytes())).await
}

/// The sum of a metric over its labels that contain `labels`, as a tier's `/_vivid/metrics` says.
pub async fn metric(tier: &str, name: &str, labels: &str) -> anyhow::Result<f64> {
    let text = get(&format!("{tier}/_vivid/metrics")).await?.text();
    let series =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(labels);
    Ok(text.lines().filter(series).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// The head of an answer to GET; its body comes chunk by chunk.
pub(crate) async fn open(url: &str) -> anyhow::Result<Response> {
    Ok(tokio::time::timeout(DEADLINE, CLIENT.get(url).send()).await??)
}

async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: Bytes) -> anyhow::Result<Answer> {
    let mut request = CLIENT.request(method, url).body(body).timeout(DEADLINE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await? })
}
