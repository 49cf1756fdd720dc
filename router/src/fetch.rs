//! One GET of a short text, with a bound on its length; the caller bounds its time.

use crate::sample::Failure;
use reqwest::{Client, Url};
use std::time::{Duration, Instant};

pub(crate) struct Fetched {
    /// Where it came from, after redirects: what its relative URIs are relative to.
    pub(crate) url: Url,
    pub(crate) text: String,
    /// From the request to the first byte of the answer.
    pub(crate) ttfb: Duration,
}

/// A client for playlists. It ignores the environment's proxies: a probe must measure the CDN and nothing else.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    // Another part of the process may have installed the same provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent("vivid-router")
        .no_proxy()
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
        .tcp_nodelay(true)
        .build()
}

pub(crate) async fn text(client: &Client, url: Url, bytes_max: usize) -> Result<Fetched, Failure> {
    let asked = Instant::now();
    let mut response = client.get(url).send().await.map_err(|error| failure(&error))?;
    let ttfb = asked.elapsed();
    if !response.status().is_success() {
        return Err(Failure::Status(response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Failure::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(bytes).map_err(|_| Failure::Unreadable)?;
    Ok(Fetched { url: response.url().clone(), text, ttfb })
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_timeout() { Failure::Timeout } else { Failure::Unreachable }
}

/// A CDN may send a probe to another of its hosts; more hops than these are a loop.
const REDIRECTS_MAX: usize = 3;
