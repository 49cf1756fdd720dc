//! What the origin answers over HTTP: playlists, blocking or not, init sections, segments, parts, and its own health.

mod answer;
mod archive;
mod bearer;
mod digest;
mod growing;
mod holds;
mod keys;
mod ladders;
mod markers;
mod posted;
mod range;
mod refusal;
mod serve;
mod stalls;
mod stored;
mod twin;

pub(crate) use markers::read as read_marker;
pub(crate) use serve::serve;

use crate::archive::Archive;
use crate::clock::unix_ms;
use crate::epoch::EpochId;
use crate::medium::Medium;
use crate::metrics::Metrics;
use crate::streams::{Bounds, Directory, Stream};
use crate::window::{Lookup, Name, Rendition};
use answer::{Caching, Manifest};
use archive::Recordings;
use axum::Router;
use axum::extract::{FromRequestParts, Path, RawQuery, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use config::Token;
use digest::Digests;
use growing::Growing;
use holds::Holds;
use manifest::{Directives, Position, Rfc3339, Verdict, Wait};
use prometheus::{Registry, TextEncoder};
use refusal::Refusal;
use stalls::Patience;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use stored::Disk;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowHeaders, CorsLayer};

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    directory: Directory,
    registry: Registry,
    metrics: Metrics,
    holds: Holds,
    disk: Disk,
    recordings: Option<Recordings>,
    hold_target_durations: u32,
    send_timeout: Duration,
    digests: Digests,
    /// What the other of two origins sends.
    twin_token: Option<Token>,
    /// Of those who change ladders.
    admin_token: Option<Token>,
    /// Of those who mark events, and how many of them a stream keeps.
    markers_token: Option<Token>,
    markers_max: Bounds,
    /// Where encoders publish, for the text of a 404.
    rtmp_port: u16,
    stop: CancellationToken,
}

const CONNECTIONS_BESIDE_HOLDS: usize = 1024;

/// The class of a resource, as metrics name it. Set by each handler.
#[derive(Clone, Copy)]
struct Class(&'static str);

impl App {
    pub(crate) fn new(
        config: &config::Origin,
        (directory, archive): (Directory, Option<Archive>),
        (metrics, registry): (Metrics, Registry),
        rtmp_port: u16,
    ) -> Self {
        let stop = CancellationToken::new();
        let holds = Holds::new(config.window.holds_max, metrics.clone(), stop.clone());
        let hold_target_durations = config.window.hold_target_durations;
        let disk = Disk::new(&config.disk, metrics.disk.clone());
        let twin_token = config.twin.as_ref().map(|twin| twin.token.clone());
        let (markers_token, markers_max) = (config.markers.token.clone(), Bounds::of(&config.markers));
        Self(Arc::new(Inner {
            directory,
            registry,
            metrics,
            holds,
            disk,
            recordings: archive.map(|archive| Recordings::new(&config.archive, archive)),
            hold_target_durations,
            send_timeout: config.http_send_timeout,
            digests: Digests::default(),
            twin_token,
            admin_token: config.admin.token.clone(),
            markers_token,
            markers_max,
            rtmp_port,
            stop,
        }))
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/live/{stream}/index.m3u8", get(multivariant))
            .route("/live/{stream}/index.mpd", get(mpd))
            .route("/live/{stream}/keys", post(keys::licensed))
            .route("/live/{stream}/keys/{id}", get(keys::key))
            .route("/live/{stream}/{rendition}/index.m3u8", get(playlist))
            .route("/live/{stream}/{rendition}/iframes.m3u8", get(iframes))
            .route("/live/{stream}/{rendition}/index.vtt", get(sprites))
            .route("/live/{stream}/{rendition}/{epoch}/{file}", get(object))
            .route("/archive/{*path}", get(archive::asked))
            .route("/_vivid/archive/{stream}/{started}", delete(archive::withdrawn))
            .route("/_vivid/markers/{stream}", post(markers::marked))
            .route("/_vivid/ladders/{stream}", get(ladders::shown).put(ladders::edited).delete(ladders::withdrawn))
            .route("/_vivid/twin/{stream}", post(twin::offered))
            .route("/_vivid/metrics", get(metrics))
            .route("/_vivid/livez", get(async || "alive\n"))
            .route("/_vivid/readyz", get(ready))
            .route("/_vivid/time", get(time))
            .fallback(async || Refusal::NoSuchPath)
            .method_not_allowed_fallback(async || Refusal::Method)
            .layer(middleware::from_fn(hosted))
            .layer(middleware::from_fn_with_state(self.clone(), count))
            // Nothing of the answer depends on who asks, so no cache shall keep one copy for each asking site. `*` would not
            // let players send a token (Fetch, 4.8).
            .layer(
                CorsLayer::permissive()
                    .allow_headers(AllowHeaders::mirror_request())
                    .expose_headers(tower_http::cors::Any)
                    .vary([] as [HeaderName; 0]),
            )
            .with_state(self.clone())
    }

    /// Lets every request go that waits, and takes no more that would.
    pub(crate) fn release(&self) {
        self.0.stop.cancel();
    }

    /// Every hold may have a connection of its own; the rest is for those who do not wait.
    pub(crate) fn connections_max(&self) -> usize {
        self.0.holds.max() + CONNECTIONS_BESIDE_HOLDS
    }

    /// How long a client may take nothing of an answer.
    fn patience_of_answers(&self) -> Patience {
        Patience { limit: self.0.send_timeout, stalled: self.0.metrics.answers_stalled.clone() }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn stream(&self, name: String) -> Result<Arc<Stream>, Refusal> {
        // Nor is it said again in the answer.
        if !config::is_stream_name(&name) {
            return Err(Refusal::NoSuchPath);
        }
        let port = self.0.rtmp_port;
        self.0.directory.find(&name).ok_or(Refusal::NoSuchStream { stream: name, port })
    }

    fn rendition(&self, stream: &Stream, name: String) -> Result<Arc<Rendition>, Refusal> {
        match stream.rendition(&name) {
            Some(rendition) => Ok(rendition),
            None if stream.multivariant().is_none() => Err(Refusal::starting(stream)),
            None => Err(Refusal::NoSuchRendition { stream: stream.name.clone(), rendition: name }),
        }
    }

    /// Waits for what a request for a playlist waits for. Its class as metrics name it, and how long the answer lasts.
    async fn wait(
        &self,
        stream: &Stream,
        rendition: &Rendition,
        wait: Option<Wait>,
    ) -> Result<(&'static str, Caching), Refusal> {
        let limit = rendition.advance_limit();
        let mut head = rendition.watch();
        let verdict = head.borrow_and_update().admit(wait, limit);
        match verdict {
            Verdict::Now => {}
            Verdict::TooFar => return Err(Refusal::TooFar { next: rendition.head().next }),
            Verdict::Hold => {
                let moved = head.wait_for(|head| head.admit(wait, limit) != Verdict::Hold);
                let moved = async { moved.await.is_ok() };
                self.0.holds.wait(self.patience(rendition), stream.abandoned(), moved).await?;
            }
        }
        Ok(match wait {
            Some(_) => ("blocking", Caching::Blocking { target_duration_s: rendition.target_duration_s() }),
            None => ("playlist", Caching::Briefly),
        })
    }

    /// How long a request may wait: RFC 8216bis, 6.2.5.2, names three target durations.
    fn patience(&self, rendition: &Rendition) -> Duration {
        Duration::from_secs(rendition.target_duration_s()) * self.0.hold_target_durations
    }
}

/// The steps of a path. One that is no text is the path of nothing.
struct Steps<T>(T);

impl<T, S> FromRequestParts<S> for Steps<T>
where
    Path<T>: FromRequestParts<S>,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Path::from_request_parts(parts, state).await.map(|Path(steps)| Self(steps)).map_err(|_| Refusal::NoSuchPath)
    }
}

async fn multivariant(
    State(app): State<App>,
    Steps(stream): Steps<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stream = app.stream(stream)?;
    let text = stream.multivariant().ok_or_else(|| Refusal::starting(&stream))?;
    Ok(classed("multivariant", answer::manifest(&text, &headers, (Manifest::Hls, Caching::Briefly))))
}

/// ISO/IEC 23009-1. Its times need no part, so it is as good as a playlist for whoever cannot wait.
async fn mpd(State(app): State<App>, Steps(stream): Steps<String>, headers: HeaderMap) -> Result<Response, Refusal> {
    let stream = app.stream(stream)?;
    if stream.medium() == Medium::Whole {
        return Err(Refusal::NoMpd { stream: stream.name.clone() });
    }
    let text = stream.mpd(unix_ms()).ok_or_else(|| Refusal::starting(&stream))?;
    Ok(classed("mpd", answer::manifest(&text, &headers, (Manifest::Dash, Caching::Briefly))))
}

async fn playlist(
    State(app): State<App>,
    Steps((stream, rendition)): Steps<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stream = app.stream(stream)?;
    let rendition = app.rendition(&stream, rendition)?;
    let directives = Directives::from_query(query.as_deref().unwrap_or_default())?;
    let wait = if rendition.medium.has_parts() { directives.wait } else { directives.wait.map(whole_segment) };
    let (class, caching) = app.wait(&stream, &rendition, wait).await?;
    let text = stream.playlist(&rendition, directives.skip);
    Ok(classed(class, answer::manifest(&text, &headers, (Manifest::Hls, caching))))
}

/// Key frames of whole segments: what blocks waits for its segment, whatever part it names.
async fn iframes(
    State(app): State<App>,
    Steps((stream, rendition)): Steps<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stream = app.stream(stream)?;
    let rendition = app.rendition(&stream, rendition)?;
    let directives = Directives::from_query(query.as_deref().unwrap_or_default())?;
    let (class, caching) = app.wait(&stream, &rendition, directives.wait.map(whole_segment)).await?;
    let text = stream.iframes(&rendition).ok_or(Refusal::NoSuchPath)?;
    Ok(classed(class, answer::manifest(&text, &headers, (Manifest::Hls, caching))))
}

/// Where each thumbnail is, for players' plug-ins.
async fn sprites(
    State(app): State<App>,
    Steps((stream, rendition)): Steps<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stream = app.stream(stream)?;
    let rendition = app.rendition(&stream, rendition)?;
    let text = rendition.sprites().ok_or(Refusal::NoSuchPath)?;
    Ok(classed("sprites", answer::manifest(&text, &headers, (Manifest::WebVtt, Caching::Briefly))))
}

/// What to wait for in a playlist without parts.
fn whole_segment(wait: Wait) -> Wait {
    match wait {
        Wait::Segment(msn) | Wait::Part(Position { msn, .. }) => Wait::Segment(msn),
    }
}

async fn object(
    State(app): State<App>,
    Steps((stream, rendition, epoch, file)): Steps<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stream = app.stream(stream)?;
    let rendition = app.rendition(&stream, rendition)?;
    let unknown = || Refusal::NoSuchObject;
    let epoch: EpochId = epoch.parse().map_err(|_| unknown())?;
    let medium = rendition.medium;
    let name = Name::from_file(&file, medium).ok_or_else(unknown)?;
    let class = match name {
        Name::Init(_) => "init",
        Name::Segment(_) => "segment",
        Name::Part(_) => "part",
    };
    let asked = Asked { app: &app, stream: &stream, rendition: &rendition, epoch, name };
    let response = match asked.find().await? {
        Lookup::Found(bytes) => {
            let length = answer::length(&bytes);
            let digest = if digest::wanted(&headers) { app.0.digests.of(&bytes).await } else { None };
            let mut response =
                answer::object((name, medium), length, (&method, &headers), |range| answer::pieces(bytes, range))?;
            digest.into_iter().for_each(|digest| answer::set(response.headers_mut(), digest::REPR_DIGEST, &digest));
            response
        }
        Lookup::OnDisk { msn, range, .. } => {
            let file = stream.life().file((&rendition.name, medium), epoch, msn).ok_or_else(unknown)?;
            let stored = app.0.disk.open(&file, range.start).await?;
            answer::object((name, medium), range.end - range.start, (&method, &headers), |range| stored.body(range))?
        }
        Lookup::Growing(_) => answer::growing(Growing::new(app.clone(), stream, rendition, (epoch, name)), &method),
        Lookup::Hinted | Lookup::Over | Lookup::Unknown => return Err(Refusal::NoSuchObject),
    };
    Ok(classed(class, response))
}

/// A resource that is asked for.
struct Asked<'a> {
    app: &'a App,
    stream: &'a Stream,
    rendition: &'a Rendition,
    epoch: EpochId,
    name: Name,
}

impl Asked<'_> {
    /// Looks it up; a part that is hinted at is waited for, so that its first byte comes with its last, and of a segment
    /// its first part.
    async fn find(&self) -> Result<Lookup, Refusal> {
        let mut head = self.rendition.watch();
        let now = self.lookup();
        if !is_awaited(&now) {
            return self.outlast(now).await;
        }
        let come = head.wait_for(|_| !is_awaited(&self.lookup()));
        let come = async { come.await.is_ok() };
        self.app.0.holds.wait(self.app.patience(self.rendition), self.stream.abandoned(), come).await?;
        // The epoch may have ended before the part: a hint that is cancelled (6.2.6).
        self.outlast(self.lookup()).await
    }

    /// What is over is refused, but not before players have had the time to read in an MPD that it is: dash.js stops for good
    /// where a segment is refused to it that its MPD promises. Of two origins the other may have it.
    async fn outlast(&self, found: Lookup) -> Result<Lookup, Refusal> {
        if found != Lookup::Over || self.app.0.twin_token.is_some() {
            return Ok(found);
        }
        let mut head = self.rendition.watch();
        let goes_on = head.wait_for(|_| self.lookup() != Lookup::Over);
        let goes_on = async { goes_on.await.is_ok() };
        match self.app.0.holds.wait(self.app.patience(self.rendition), pending(), goes_on).await {
            Ok(()) => Ok(self.lookup()),
            Err(Refusal::Late) => Err(Refusal::NoSuchObject),
            Err(refusal) => Err(refusal),
        }
    }

    fn lookup(&self) -> Lookup {
        let found = self.rendition.lookup(self.epoch, self.name);
        let Name::Init(Some(key)) = self.name else { return found };
        if found != Lookup::Unknown {
            return found;
        }
        let planned = self.stream.planned_init(self.rendition, self.epoch, &key);
        planned.map_or(found, |init| Lookup::Found(vec![init]))
    }
}

fn is_awaited(lookup: &Lookup) -> bool {
    match lookup {
        Lookup::Hinted => true,
        Lookup::Growing(pieces) => pieces.is_empty(),
        Lookup::Found(_) | Lookup::OnDisk { .. } | Lookup::Over | Lookup::Unknown => false,
    }
}

/// What players of an MPD set their clocks by: UTCTiming `urn:mpeg:dash:utc:http-iso:2014`.
async fn time() -> Response {
    answer::text(StatusCode::OK, Rfc3339(unix_ms()).to_string())
}

async fn metrics(State(app): State<App>) -> Response {
    match TextEncoder::new().encode_to_string(&app.0.registry.gather()) {
        Ok(text) => answer::text(StatusCode::OK, text),
        Err(error) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be said: {error}\n")),
    }
}

async fn ready(State(app): State<App>) -> Response {
    if app.0.stop.is_cancelled() {
        answer::text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
    } else {
        answer::text(StatusCode::OK, "ready\n".to_owned())
    }
}

/// RFC 9112, 3.2: a request of HTTP/1.1 has one Host field; nobody may have several. Proxies and this server could take
/// such a request for different ones.
async fn hosted(request: Request, next: Next) -> Result<Response, Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let refused = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() == Version::HTTP_11,
        (Some(host), None) => Authority::try_from(host.as_bytes()).is_err(),
        (Some(_), Some(_)) => true,
    };
    if refused { Err(Refusal::Host) } else { Ok(next.run(request).await) }
}

fn classed(class: &'static str, mut response: Response) -> Response {
    response.extensions_mut().insert(Class(class));
    response
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let response = next.run(request).await.into_response();
    let class = response.extensions().get::<Class>().map_or("other", |class| class.0);
    app.0.metrics.requests.with_label_values(&[class, response.status().as_str()]).inc();
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Context;
    use axum::body::Body;
    use axum::http;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use transcode::WorkerProgram;

    async fn answer(request: http::request::Builder) -> Response {
        let registry = Registry::new();
        let config = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
        let metrics = Metrics::register(&registry).unwrap();
        let program = WorkerProgram { path: "none".into(), args: Vec::new() };
        let transcode_metrics = transcode::Metrics::register(&registry).unwrap();
        let directory =
            Directory::new(Context::new(config.clone(), (program, None), (metrics.clone(), transcode_metrics), None).0);
        let app = App::new(&config, (directory, None), (metrics, registry), 1935);
        TowerToHyperService::new(app.router()).call(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_names_one_host() {
        for (version, hosts, status) in [
            (Version::HTTP_11, &["origin:8081"][..], 200),
            (Version::HTTP_11, &["[::1]:80"], 200),
            (Version::HTTP_11, &[], 400),
            (Version::HTTP_11, &["a", "a"], 400),
            (Version::HTTP_11, &["a b"], 400),
            (Version::HTTP_11, &[""], 400),
            (Version::HTTP_10, &[], 200),
            (Version::HTTP_10, &["a", "b"], 400),
            // HTTP/2 has `:authority` for it.
            (Version::HTTP_2, &[], 200),
            (Version::HTTP_2, &["a", "b"], 400),
        ] {
            let request = Request::get("/_vivid/livez").version(version);
            let answer = answer(hosts.iter().fold(request, |request, host| request.header("host", *host))).await;
            assert_eq!(answer.status().as_u16(), status, "{version:?} {hosts:?}");
        }
    }

    #[tokio::test]
    async fn a_path_that_is_no_text_is_refused_like_any_other() {
        let none = "/live/%00/keys/00112233445566778899aabbccddeeff";
        for path in [
            "/live/%ff/index.m3u8",
            "/live/%ff/a/index.m3u8",
            "/live/a/b/c/%ff",
            "/%ff",
            "/",
            "/live/%00/index.m3u8",
            none,
        ] {
            let answer = answer(Request::get(path).header("host", "origin")).await;
            assert_eq!(
                (answer.status(), &answer.headers()["cache-control"]),
                (StatusCode::NOT_FOUND, &"no-store".parse().unwrap())
            );
            let body = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
            assert_eq!(body, "there is nothing at this path; streams are at /live/STREAM/index.m3u8\n", "{path}");
        }
    }

    #[tokio::test]
    async fn answers_do_not_vary_with_the_site_that_asks() {
        let answer = answer(Request::get("/_vivid/livez").header("host", "origin").header("origin", "http://x")).await;
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert!(answer.headers().get("vary").is_none(), "{:?}", answer.headers());
    }
}
