//! Asks a key server for the keys of a stream, each a whole period ahead.

use super::answer::{self, KeyAnswerError};
use super::{KeyRing, hex};
use crate::causes::causes;
use crate::clock::unix_ms;
use crate::metrics::Share;
use crate::segmenter::Grid;
use crate::streams::Stream;
use config::{KeyServer, fill_key_uri};
use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry, Result, opts};
use reqwest::{Client, StatusCode};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Where keys are made.
#[derive(Clone)]
pub(super) struct Server {
    config: KeyServer,
    metrics: KeyMetrics,
    /// `None` where no client can be had, which is told with the first key.
    client: Option<Client>,
}

/// The task that fetches a stream's keys: ends with this.
pub(super) struct Fetching(AbortHandle);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is counted of keys that are fetched.
#[derive(Clone, Debug)]
pub(crate) struct KeyMetrics {
    requests: IntCounterVec,
    overdue: IntGauge,
}

/// How a request for a key ended, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FetchOutcome {
    Fetched,
    Late,
    Unreachable,
    Refused,
    Malformed,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
enum NoKey {
    #[error("it did not answer within origin.encryption.key_server_timeout_ms")]
    Late,
    #[error("it cannot be reached, or does not answer as HTTP servers do: {}", causes(.0))]
    Unreachable(#[from] reqwest::Error),
    #[error("there is no client to reach it with")]
    NoClient,
    #[error("it answered {0}; {advice}", advice = advice(*.0))]
    Status(StatusCode),
    #[error("its answer is longer than {BODY_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Answer(#[from] KeyAnswerError),
}

/// Of an answer: a set of some dozen keys.
const BODY_MAX: usize = 16 << 10;
/// Between two looks at what is missing: less than any segment lasts.
const LOOK: Duration = Duration::from_millis(500);

impl Server {
    pub(super) fn new(config: &KeyServer, metrics: KeyMetrics) -> Self {
        // Another part of the process may have installed the same provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            Client::builder().user_agent("vivid-origin").no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.build().inspect_err(|error| tracing::error!(%error, "no client for the key server")).ok();
        Self { config: config.clone(), metrics, client }
    }

    /// Fetches what the ring lacks, from now on. Segments are to last for `segment`.
    pub(super) fn fetch_for(&self, stream: &Arc<Stream>, ring: &Arc<Mutex<KeyRing>>, segment: Duration) -> Fetching {
        let (server, stream, ring) = (self.clone(), Arc::downgrade(stream), Arc::clone(ring));
        Fetching(tokio::spawn(async move { server.run(&stream, &ring, segment).await }).abort_handle())
    }

    async fn run(&self, stream: &Weak<Stream>, ring: &Mutex<KeyRing>, segment: Duration) {
        let mut overdue = Share::new(&self.metrics.overdue, 0);
        while let Some((name, next_msn)) = stream.upgrade().map(|stream| (stream.name.clone(), stream.next_msn())) {
            let msn = next_msn.unwrap_or_else(|| Grid::fresh_msn(unix_ms().max(0) as u64, segment));
            let wanted = ring.lock().wanted(msn);
            let mut pause = LOOK;
            for (period, key) in wanted {
                let id = hex(&key.id);
                let fetched = timeout(self.config.timeout, self.fetch(&name, &key.id)).await;
                let fetched = fetched.unwrap_or(Err(NoKey::Late));
                self.metrics.count(FetchOutcome::of(&fetched));
                match fetched {
                    Ok(key) => ring.lock().take(period, key),
                    Err(error) => {
                        tracing::warn!(stream = name, id, %error, "no key from the key server; the one before stays in use");
                        pause = self.config.retry;
                        break;
                    }
                }
            }
            overdue.set(i64::from(ring.lock().is_overdue(msn)));
            sleep(pause).await;
        }
    }

    async fn fetch(&self, stream: &str, id: &[u8; 16]) -> std::result::Result<[u8; 16], NoKey> {
        let client = self.client.as_ref().ok_or(NoKey::NoClient)?;
        let mut request = client.get(fill_key_uri(&self.config.uri, stream, &hex(id)));
        if let Some(token) = &self.config.token {
            request = request.bearer_auth(token);
        }
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        if response.status() != StatusCode::OK {
            return Err(NoKey::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(NoKey::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(answer::read(&body, id)?)
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "is origin.encryption.key_server_token the one it wants?",
        _ if status.is_redirection() => {
            "redirects are not followed, so write the address that it names in origin.encryption.key_server"
        }
        _ => "a key comes with 200, so look at its own log, and whether origin.encryption.key_server is its address",
    }
}

impl FetchOutcome {
    const ALL: [Self; 5] = [Self::Fetched, Self::Late, Self::Unreachable, Self::Refused, Self::Malformed];

    fn of(fetched: &std::result::Result<[u8; 16], NoKey>) -> Self {
        match fetched {
            Ok(_) => Self::Fetched,
            Err(NoKey::Late) => Self::Late,
            Err(NoKey::Unreachable(_) | NoKey::NoClient) => Self::Unreachable,
            Err(NoKey::Status(_)) => Self::Refused,
            Err(NoKey::TooLong | NoKey::Answer(_)) => Self::Malformed,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Late => "late",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}

impl KeyMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self> {
        let metrics = Self {
            requests: IntCounterVec::new(
                opts!("vivid_origin_key_requests_total", "keys asked of the key server, by what came of it"),
                &["outcome"],
            )?,
            overdue: IntGauge::with_opts(Opts::new(
                "vivid_origin_keys_overdue",
                "encrypted streams whose key for the time now has not come: the one before stays in use, or nothing is published",
            ))?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.overdue.clone()))?;
        for outcome in FetchOutcome::ALL {
            metrics.requests.with_label_values(&[outcome.label()]);
        }
        Ok(metrics)
    }

    fn count(&self, outcome: FetchOutcome) {
        self.requests.with_label_values(&[outcome.label()]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// What is said of a server that answers so; `None` is none.
    async fn told(answer: Option<&'static [u8]>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/{{stream}}/{{kid}}", listener.local_addr().unwrap());
        let (timeout, retry) = (Duration::from_secs(5), Duration::from_secs(5));
        let config = KeyServer { uri, token: None, timeout, retry };
        let server = Server::new(&config, KeyMetrics::register(&Registry::new()).unwrap());
        let answering = async move {
            let Some(answer) = answer else { return drop(listener) };
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            socket.write_all(answer).await.unwrap();
        };
        if answer.is_none() {
            answering.await;
        } else {
            tokio::spawn(answering);
        }
        server.fetch("show", &[7; 16]).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn why_there_is_no_key_is_told() {
        for (answer, text) in [
            (None, "refused"),
            (Some(&b""[..]), "closed"),
            (Some(b"220 mail.example ESMTP\r\n"), "invalid HTTP"),
            (Some(b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\nshort"), "end of file"),
            (Some(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"), "key_server_token"),
            (Some(b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n"), "redirects are not followed"),
            (Some(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"), "look at its own log"),
            (Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"), "JWK set"),
        ] {
            let told = told(answer).await;
            assert!(told.contains(text), "{text}: {told}");
        }
    }
}
