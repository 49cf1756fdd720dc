//! Every answer that the router gives over HTTP.

use crate::origin::Answer;
use crate::rank::{Ranking, Viewer, rank};
use crate::report::Report;
use crate::sample::Scope;
use crate::session::Session;
use crate::state::State as Shared;
use crate::stream::StreamName;
use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use geo::Lookup;
use manifest::rewrite::Pathway;
use manifest::steering::{
    CONTENT_TYPE as STEERING_LIST, PATHWAY_PARAMETER, ServerUri, SteeringList, THROUGHPUT_PARAMETER,
};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Instant;
use tower_http::cors::{Any, CorsLayer};
use tracing::error;

/// The socket that a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// All routes. Any page may read them: players run on other people's sites.
pub(crate) fn routes(state: Arc<Shared>) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::OPTIONS])
        .allow_headers(Any)
        .expose_headers([RETRY_AFTER])
        .vary([] as [HeaderName; 0]);
    Router::new()
        .route("/live/{stream}/index.m3u8", get(multivariant))
        // Whatever stands behind it: a player that gets a 404 here never asks again.
        .route("/steer", get(steer))
        .route("/steer/", get(steer))
        .route("/steer/{*stream}", get(steer))
        .route("/_vivid/router", get(report))
        .route("/_vivid/metrics", get(metrics))
        .route("/_vivid/livez", get(async || plain(StatusCode::OK, "live")))
        .route("/_vivid/readyz", get(async || plain(StatusCode::OK, "ready")))
        .fallback(async || plain(StatusCode::NOT_FOUND, NOTHING_HERE))
        .method_not_allowed_fallback(async || plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD are answered here"))
        .layer(cors)
        .with_state(state)
}

async fn multivariant(
    State(state): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    let named = stream_in(request.uri(), "/live/", "/index.m3u8");
    let Some(stream) = named else {
        return plain(StatusCode::NOT_FOUND, "a stream's name is 1 to 64 letters, digits, '_' or '-'; check the URL");
    };
    let Some(base) = base_url(&state, &request) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "the request has no usable Host; send one, or set router.public_url in the configuration",
        );
    };
    let template = match state.playlists.get(&stream, &state.metrics).await {
        Answer::Playlist(template) => template,
        Answer::Absent => {
            let sentence = format!("no stream named {stream} is live; publish it, or check the name");
            return plain(StatusCode::NOT_FOUND, sentence);
        }
        Answer::Failing(trouble) => {
            let sentence = format!("the stream cannot be played now: {trouble}; try again in a few seconds");
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, sentence);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            return response;
        }
    };
    state.watched.lock().seen(&stream, state.now());
    let session = query(request.uri(), SESSION).and_then(Session::parse).unwrap_or_else(|| state.sessions.fresh());
    let ranking = decide(&state, session, peer.ip(), "playlist");
    let server_uri = match ServerUri::new(format!("{base}/steer/{stream}?{SESSION}={session}")) {
        Ok(server_uri) => server_uri,
        Err(problem) => {
            error!(%stream, %problem, "steering url is unusable");
            return plain(
                StatusCode::BAD_REQUEST,
                "the Host of the request is no host; send the name you see in the URL",
            );
        }
    };
    let began = Instant::now();
    let pathways: Vec<_> = ranking
        .order()
        .iter()
        .map(|ranked| Pathway { id: &ranked.id, base_url: &state.config.cdns[ranked.index].url })
        .collect();
    let text = match pathways.split_first() {
        Some((&first, others)) => template.render(first, others, &server_uri),
        None => String::new(),
    };
    state.metrics.rewrite.observe(began.elapsed().as_secs_f64());
    ([(CONTENT_TYPE, PLAYLIST), (CACHE_CONTROL, "no-store")], text).into_response()
}

/// Always 200 with a valid document: players take any other status as a reason to never ask again, or to ask at once.
async fn steer(State(state): State<Arc<Shared>>, Extension(Peer(peer)): Extension<Peer>, request: Request) -> Response {
    let stream = stream_in(request.uri(), "/steer/", "");
    if let Some(stream) = &stream {
        state.watched.lock().steered(stream, state.now());
    }
    let token = query(request.uri(), SESSION).and_then(Session::parse);
    let ranking = decide(&state, token.unwrap_or_else(|| Session::of_address(peer.ip())), peer.ip(), "steering");
    count_report(&state, request.uri(), &ranking);
    let reload = stream.zip(base_url(&state, &request)).and_then(|(stream, base)| {
        // Nothing but the token that the player came with: what it reports and what the router learned stay out of it.
        let token = token.map_or_else(String::new, |token| format!("?{SESSION}={token}"));
        ServerUri::new(format!("{base}/steer/{stream}{token}")).ok()
    });
    let ttl = state.config.steering.ttl;
    let list = SteeringList::new(ttl, ranking.ids()).map(|list| match reload {
        Some(uri) => list.reload_at(uri),
        None => list,
    });
    match list {
        Ok(list) => ([(CONTENT_TYPE, STEERING_LIST), (CACHE_CONTROL, "no-store")], list.to_json()).into_response(),
        // The ids were a valid list when the server was bound, and a ranking has all of them.
        Err(problem) => {
            error!(%problem, "ranking is no steering list");
            plain(StatusCode::INTERNAL_SERVER_ERROR, problem.to_string())
        }
    }
}

async fn report(State(state): State<Arc<Shared>>) -> Response {
    let report = Report::of(&state);
    ([(CACHE_CONTROL, "no-store")], axum::Json(report)).into_response()
}

async fn metrics(State(state): State<Arc<Shared>>) -> Response {
    let age = state.now().saturating_sub(state.snapshot.load().taken_at);
    state.metrics.snapshot_age.set(age.as_secs_f64());
    match prometheus::TextEncoder::new().encode_to_string(&state.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT), (CACHE_CONTROL, "no-store")], text).into_response(),
        Err(problem) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics cannot be written: {problem}")),
    }
}

fn decide(state: &Shared, session: Session, address: IpAddr, said_in: &str) -> Ranking {
    let (country, asn) = (state.geo.country(address), state.geo.asn(address));
    let counted = &state.metrics.geo_lookups;
    for (database, outcome) in [("country", country.label()), ("asn", asn.label())] {
        if outcome != Lookup::<()>::Off.label() {
            counted.with_label_values(&[database, outcome]).inc();
        }
    }
    let scope = Scope { country: country.found(), asn: asn.found() };
    let ranking = rank(&state.snapshot.load(), &Viewer { session, scope }, &state.rules);
    if let Some(first) = ranking.order().first() {
        state.metrics.decisions.with_label_values(&[first.id.as_str(), first.reason.label(), said_in]).inc();
    }
    ranking
}

/// Counts what the player says of the pathway it uses. Anyone can say anything, so it decides nothing.
fn count_report(state: &Shared, uri: &Uri, ranking: &Ranking) {
    let first = ranking.order().first().map(|ranked| ranked.id.as_str());
    // The standard quotes the id; most players do not.
    let reported = query(uri, PATHWAY_PARAMETER).map(|id| id.replace("%22", ""));
    let known = reported.as_deref().map(|id| id.trim_matches('"'));
    let known = known.filter(|id| state.rules.ids().any(|cdn| cdn.as_str() == *id));
    let effect = match known {
        Some(id) if Some(id) == first => "stays",
        Some(_) => "moves",
        None => "unreported",
    };
    state.metrics.steering_requests.with_label_values(&[effect]).inc();
    let throughput = query(uri, THROUGHPUT_PARAMETER).and_then(|value| value.parse::<f64>().ok());
    if let Some((id, throughput)) = known.zip(throughput.filter(|value| value.is_finite() && *value >= 0.0)) {
        state.metrics.reported_throughput.with_label_values(&[id]).observe(throughput);
    }
}

fn stream_in(uri: &Uri, before: &str, after: &str) -> Option<StreamName> {
    uri.path().strip_prefix(before)?.strip_suffix(after).and_then(StreamName::parse)
}

fn query<'a>(uri: &'a Uri, key: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// How viewers reach this router: as configured, or as this one just did.
fn base_url(state: &Shared, request: &Request) -> Option<String> {
    if let Some(url) = &state.config.public_url {
        return Some(url.clone());
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let host = authority.or_else(|| request.headers().get(HOST)?.to_str().ok())?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    (host.len() <= HOST_MAX && host.bytes().all(allowed) && names_a_host(host)).then(|| format!("http://{host}"))
}

/// Whether a player could connect to `host`: a name or an address (RFC 3986, 3.2.2), and a port if there is a colon.
fn names_a_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let port = host.strip_prefix(name).unwrap_or(host);
    let reachable = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<NonZeroU16>().is_ok());
    let named = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        // A fully qualified name may end in a dot; between dots there is a label.
        None => name.strip_suffix('.').unwrap_or(name).split('.').all(|label| !label.is_empty()),
    };
    reachable && named
}

fn plain(status: StatusCode, sentence: impl Into<String>) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (status, headers, format!("{}\n", sentence.into())).into_response()
}

const NOTHING_HERE: &str =
    "there is nothing at this path; streams are at /live/STREAM/index.m3u8, which names the CDNs that have their media";
const PLAYLIST: &str = "application/vnd.apple.mpegurl";
/// The parameter of our own URLs that carries the session.
const SESSION: &str = "s";
/// A DNS name has at most 253 bytes, and a port 6 more.
const HOST_MAX: usize = 259;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_passes_for_a_host_makes_a_url() {
        const BYTES: &[u8] = b"a0.-_:[]";
        let (mut state, mut passed) = (7_u64, 0);
        for _ in 0..50_000 {
            let mut draw = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % bound
            };
            let length = draw(9);
            let host: String = (0..length).map(|_| char::from(BYTES[draw(8) as usize])).collect();
            if names_a_host(&host) {
                passed += 1;
                let uri: Uri = format!("http://{host}/steer/x").parse().unwrap();
                assert_eq!((uri.authority().unwrap().as_str(), uri.path()), (host.as_str(), "/steer/x"));
                assert!(!uri.host().unwrap().is_empty(), "{host}");
            }
        }
        assert!(passed > 1000, "{passed}");
    }
}
