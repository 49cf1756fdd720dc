//! Multivariant playlists as the origin has them: one request for all viewers of a stream, and the last good one kept.

use crate::fetch;
use crate::metrics::Metrics;
use crate::sample::Failure;
use crate::stream::StreamName;
use manifest::rewrite::{RewriteError, Source, Template};
use moka::future::Cache;
use reqwest::{Client, Url};
use std::sync::Arc;
use tracing::warn;

/// The playlists of all streams, each read once and ready to be written for any viewer.
pub(crate) struct Playlists {
    client: Client,
    origin_url: String,
    limits: config::Manifest,
    /// Answers that are young enough to serve. A request that finds none waits for the one that fetches.
    fresh: Cache<StreamName, Answer>,
    good: Cache<StreamName, Arc<Template>>,
}

/// What the origin says of a stream.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Playlist(Arc<Template>),
    /// There is no such stream.
    Absent,
    Failing(Trouble),
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the origin gave {0}")]
    Fetch(Failure),
    #[error("the origin's playlist cannot be used: {0}")]
    Rewrite(RewriteError),
}

impl Playlists {
    pub(crate) fn new(client: Client, config: &config::Router) -> Self {
        let limits = config.manifest.clone();
        let fresh = Cache::builder().max_capacity(limits.streams_max).time_to_live(limits.fresh);
        let good = Cache::builder().max_capacity(limits.streams_max).time_to_live(limits.keep);
        Self {
            client,
            origin_url: config.origin_url.clone(),
            fresh: fresh.weigher(|_, answer: &Answer| answer.weight()).build(),
            good: good.weigher(|_, template: &Arc<Template>| weight(template)).build(),
            limits,
        }
    }

    /// The playlist of a stream, from the last `fresh`, or fetched once however many ask.
    pub(crate) async fn get(&self, stream: &StreamName, metrics: &Metrics) -> Answer {
        self.fresh.get_with(stream.clone(), self.fetch(stream, metrics)).await
    }

    async fn fetch(&self, stream: &StreamName, metrics: &Metrics) -> Answer {
        let (outcome, answer) = match self.template(stream).await {
            Ok(template) => {
                let template = Arc::new(template);
                self.good.insert(stream.clone(), template.clone()).await;
                ("ok", Answer::Playlist(template))
            }
            Err(Trouble::Fetch(Failure::Status(404 | 410))) => ("absent", Answer::Absent),
            Err(trouble) => match self.good.get(stream).await {
                Some(template) => {
                    warn!(%stream, %trouble, "origin fails, the last good playlist serves");
                    ("kept", Answer::Playlist(template))
                }
                None => {
                    warn!(%stream, %trouble, "origin fails");
                    (trouble.label(), Answer::Failing(trouble))
                }
            },
        };
        metrics.origin_fetches.with_label_values(&[outcome]).inc();
        answer
    }

    async fn template(&self, stream: &StreamName) -> Result<Template, Trouble> {
        let playlist_url = format!("{}/live/{stream}/index.m3u8", self.origin_url);
        let url = Url::parse(&playlist_url).map_err(|_| Trouble::Fetch(Failure::Unreachable))?;
        let fetched = tokio::time::timeout(self.limits.timeout, fetch::text(&self.client, url, self.limits.bytes_max));
        let fetched = fetched.await.unwrap_or(Err(Failure::Timeout)).map_err(Trouble::Fetch)?;
        let source = Source { playlist_url: &playlist_url, base_url: &self.origin_url };
        Template::parse(&fetched.text, &source).map_err(Trouble::Rewrite)
    }
}

impl Answer {
    fn weight(&self) -> u32 {
        match self {
            Self::Playlist(template) => weight(template),
            Self::Absent | Self::Failing(_) => 1,
        }
    }
}

impl Trouble {
    fn label(self) -> &'static str {
        match self {
            Self::Fetch(failure) => failure.label(),
            Self::Rewrite(_) => "not_rewritable",
        }
    }
}

/// A playlist longer than most takes the room of several, so that the bound on streams bounds memory too.
fn weight(template: &Template) -> u32 {
    u32::try_from(template.length() / ORDINARY_BYTES).unwrap_or(u32::MAX).saturating_add(1)
}

/// The longest playlists of common packagers are about this long.
const ORDINARY_BYTES: usize = 64 << 10;
