//! An HTTP server that stands for a CDN or an origin, and misbehaves on command.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

pub(crate) const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-VERSION:9\n\
    #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,URI=\"audio/index.m3u8\"\n\
    #EXT-X-STREAM-INF:BANDWIDTH=4200000,CODECS=\"avc1.64001f,mp4a.40.2\",AUDIO=\"audio\"\n720p/index.m3u8\n";

/// What a fake does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    Good,
    /// Its media playlist stands still at this segment.
    Frozen(u64),
    Status(u16),
    /// It takes the request and says nothing.
    Hang,
    /// It does so once, and is good from then on.
    HangOnce,
    /// It answers with this text.
    Text(String),
}

#[derive(Clone)]
struct Fake {
    mode: Arc<Mutex<Mode>>,
    hits: Arc<AtomicU64>,
    /// The segment that all who are in order show as their last.
    live: Arc<AtomicU64>,
}

/// A running fake; dropping it closes its port and its connections.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    fake: Fake,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(live: &Arc<AtomicU64>) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), live).await
    }

    pub(crate) async fn at(address: SocketAddr, live: &Arc<AtomicU64>) -> Self {
        let fake = Fake { mode: Arc::new(Mutex::new(Mode::Good)), hits: Arc::default(), live: live.clone() };
        let routes = Router::new()
            .route("/live/{stream}/index.m3u8", get(multivariant))
            .route("/live/{stream}/{rendition}/index.m3u8", get(media))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        // Own connections, so that a stop cuts them as a crash would.
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(routes.clone());
                let io = hyper_util::rt::TokioIo::new(socket);
                let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                connections.spawn(async move { drop(builder.serve_connection(io, service).await) });
            }
        });
        Self { address, fake, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.fake.mode.lock().unwrap() = mode;
    }

    pub(crate) fn hits(&self) -> u64 {
        self.fake.hits.load(Ordering::SeqCst)
    }

    /// Gone as a crash leaves it: port closed, connections cut.
    pub(crate) async fn kill(self) -> SocketAddr {
        let address = self.address;
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
        address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn multivariant(State(fake): State<Fake>, Path(stream): Path<String>) -> Response {
    fake.hits.fetch_add(1, Ordering::SeqCst);
    if stream == "absent" {
        return StatusCode::NOT_FOUND.into_response();
    }
    fake.answer(|_| MULTIVARIANT.to_owned()).await
}

async fn media(State(fake): State<Fake>) -> Response {
    fake.answer(|msn| {
        let mut text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{}\n", msn - 2);
        (msn - 2..=msn).for_each(|msn| text += &format!("#EXTINF:2.0,\ne/{msn}.m4s\n"));
        text
    })
    .await
}

impl Fake {
    async fn answer(&self, text: impl FnOnce(u64) -> String) -> Response {
        let mode = {
            let mut mode = self.mode.lock().unwrap();
            let now = mode.clone();
            if matches!(now, Mode::HangOnce) {
                *mode = Mode::Good;
            }
            now
        };
        match mode {
            Mode::Good => text(self.live.load(Ordering::SeqCst)).into_response(),
            Mode::Frozen(msn) => text(msn).into_response(),
            Mode::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
            Mode::Hang | Mode::HangOnce => std::future::pending().await,
            Mode::Text(text) => text.into_response(),
        }
    }
}
