//! Asks the other origin, and reads its answer: one small POST.

use super::{Answer, Offer};
use crate::causes::causes;
use crate::clock::unix_ms;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Where the other origin is.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pool: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
    config: config::Twin,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Silence {
    #[error("it did not answer within origin.twin.deadline_ms")]
    Late,
    #[error("it cannot be reached: {}", causes(.0))]
    Unreachable(#[from] hyper_util::client::legacy::Error),
    #[error("its answer breaks off")]
    Torn,
    #[error("it answered {0}; is origin.twin.token the same at both?")]
    Status(StatusCode),
    #[error("its answer is none that an origin gives")]
    Answer,
}

/// A picture that the other has not seen yet is on its way there.
const AGAIN: Duration = Duration::from_millis(40);
/// Of an answer or an offer; both have less than 2 KiB.
pub(crate) const BODY_MAX: usize = 16 << 10;

impl Client {
    pub(crate) fn new(config: &config::Twin) -> Self {
        let pool = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { pool, config: config.clone() }
    }

    /// Offers an epoch until there is an answer that lasts, or the deadline has come.
    pub(crate) async fn offer(&self, stream: &str, offer: &Offer) -> Result<Answer, Silence> {
        let deadline = Instant::now() + self.config.deadline;
        loop {
            let answer = timeout_at(deadline, self.ask(stream, offer)).await.map_err(|_| Silence::Late)??;
            let again = Instant::now() + AGAIN;
            if answer != Answer::Later || again >= deadline {
                return Ok(answer);
            }
            sleep_until(again).await;
        }
    }

    async fn ask(&self, stream: &str, offer: &Offer) -> Result<Answer, Silence> {
        let body = serde_json::to_vec(offer).map_err(|_| Silence::Answer)?;
        let request = Request::post(format!("{}/_vivid/twin/{stream}", self.config.url))
            .header(header::AUTHORIZATION, format!("Bearer {}", &*self.config.token))
            .body(Full::from(body))
            .map_err(|_| Silence::Answer)?;
        let response = self.pool.request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(Silence::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await.map_err(|_| Silence::Torn)?;
        let answer: Answer = serde_json::from_slice(&body.to_bytes()).map_err(|_| Silence::Answer)?;
        if answer.suits(offer, unix_ms()) { Ok(answer) } else { Err(Silence::Answer) }
    }
}
