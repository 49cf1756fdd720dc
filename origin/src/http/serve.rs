//! Accepts HTTP connections, HTTP/1.1 and HTTP/2 with prior knowledge on the same port, and drains them at the end.

use super::App;
use super::stalls::{Patience, Taken, Watched};
use crate::metrics::Share;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A client that has not sent its request line and headers by then, or nothing since its last answer, is let go.
const HEADERS_MAX: Duration = Duration::from_secs(10);
/// Requests at once on one HTTP/2 connection; RFC 9113, 6.5.2, advises 100 or more. An edge holds one per rendition and asks
/// for parts beside them, and opens one more connection for what is beyond 250.
const STREAMS_MAX: u32 = 256;
/// What one client may send before its request is known to be good: names and directives are short.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// HTTP/2 connections are asked for a sign of life as often, and have as long to give it.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// After an accept that failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`; then lets open requests finish, those that wait with 503.
pub(crate) async fn serve(listener: TcpListener, app: App, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(app.connections_max().min(Semaphore::MAX_PERMITS)));
    let service = TowerToHyperService::new(app.router());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((socket, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let (service, app, stop) = (service.clone(), app.clone(), stop.clone());
                    connections.spawn(async move {
                        connection(socket, service, app, stop).await;
                        drop(place);
                    });
                }
                // The client sees a closed connection, and its proxy tries another origin.
                Err(_) => app.metrics().connections_refused.inc(),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    app.release();
    connections.close();
    connections.wait().await;
}

async fn connection(socket: TcpStream, service: TowerToHyperService<axum::Router>, app: App, stop: CancellationToken) {
    // A part is one small burst; it must not wait for an acknowledgement.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let _open = Share::new(&app.metrics().connections, 1);
    exchange(socket, service, (HEADERS_MAX, app.patience_of_answers()), stop).await;
}

/// Serves one connection, which has `headers_max` for each request's head, and takes its answers in time.
async fn exchange<Io>(
    io: Io,
    service: TowerToHyperService<axum::Router>,
    (headers_max, patience): (Duration, Patience),
    stop: CancellationToken,
) where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = Taken::new(io, patience.clone());
    let mut builder = Builder::new(patience);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(headers_max).max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let asked = CancellationToken::new();
    let first = asked.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        first.cancel();
        let answered = service.call(request);
        async move { answered.await.map(|answer| answer.map(Watched::new)) }
    });
    let connection = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    // The builder's own deadlines begin once it has seen which version the client speaks; a silent one never says.
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        () = asked.cancelled() => None,
        () = stop.cancelled() => return,
        () = tokio::time::sleep(headers_max) => return tracing::debug!("HTTP connection without a request closed"),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: origin\r\n\r\n";
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// An empty SETTINGS frame.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    /// On the paused clock it passes as soon as nothing else can happen.
    const NEVER: Duration = Duration::from_secs(3600);

    /// A client that has sent `bytes` to a server whose answer takes `work`.
    async fn client(bytes: &[u8], work: Duration, stop: &CancellationToken) -> DuplexStream {
        let (mut client, server) = duplex(1 << 16);
        let routes = axum::Router::new().route(
            "/",
            axum::routing::get(move || async move {
                // On the paused clock, work that takes so long.
                let _ = tokio::time::timeout(work, std::future::pending::<()>()).await;
                "done"
            }),
        );
        tokio::spawn(exchange(server, TowerToHyperService::new(routes), (HEADERS_MAX, patience()), stop.clone()));
        client.write_all(bytes).await.unwrap();
        client
    }

    fn patience() -> Patience {
        Patience {
            limit: Duration::from_secs(10),
            stalled: prometheus::IntCounter::new("stalled", "in tests").unwrap(),
        }
    }

    /// A body that counts its pieces, of 100 kB each.
    fn large(taken: &prometheus::IntCounter) -> axum::Router {
        let taken = taken.clone();
        let body = move || {
            let taken = taken.clone();
            let pieces = std::iter::repeat_with(move || {
                taken.inc();
                Ok::<_, std::convert::Infallible>(vec![0_u8; 100_000])
            });
            std::future::ready(axum::body::Body::from_stream(futures_util::stream::iter(pieces)))
        };
        axum::Router::new().route("/", axum::routing::get(body))
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_an_answer_is_let_go() {
        for is_http2 in [false, true] {
            let taken = prometheus::IntCounter::new("taken", "in tests").unwrap();
            let (client, server) = duplex(1 << 16);
            let (patience, stop) = (patience(), CancellationToken::new());
            let service = TowerToHyperService::new(large(&taken));
            let serving = exchange(server, service, (HEADERS_MAX, patience.clone()), stop.clone());
            let serving = tokio::spawn(serving);
            let began = tokio::time::Instant::now();
            if is_http2 {
                let (mut asking, connection) =
                    hyper::client::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                        .initial_stream_window_size(1)
                        .handshake(TokioIo::new(client))
                        .await
                        .unwrap();
                tokio::spawn(connection);
                let request = || hyper::Request::get("http://origin/").body(axum::body::Body::empty()).unwrap();
                let mut answers = Vec::new();
                for _ in 0..10 {
                    answers.push(asking.send_request(request()).await.unwrap());
                }
                until(|| patience.stalled.get() == 10).await;
                drop(answers);
                stop.cancel();
            } else {
                let mut client = client;
                client.write_all(HEAD).await.unwrap();
                tokio::time::timeout(NEVER, serving).await.expect("never let go").unwrap();
                assert_eq!(patience.stalled.get(), 1);
                drop(client);
            }
            let took = began.elapsed();
            assert!(took < 3 * patience.limit, "{took:?}");
        }
    }

    /// On the paused clock.
    async fn until(is_so: impl Fn() -> bool) {
        let mut clock = tokio::time::interval(Duration::from_millis(100));
        let waiting = async {
            while !is_so() {
                clock.tick().await;
            }
        };
        tokio::time::timeout(NEVER, waiting).await.expect("it never was so");
    }

    /// What the server sends until it closes the connection, and how long that takes.
    async fn rest(mut client: DuplexStream) -> (Vec<u8>, Duration) {
        let (began, mut answer) = (tokio::time::Instant::now(), Vec::new());
        tokio::time::timeout(NEVER, client.read_to_end(&mut answer)).await.expect("never closed").unwrap();
        (answer, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_sends_a_whole_request_is_let_go() {
        let asked_nothing = [PREFACE, SETTINGS].concat();
        for bytes in [b"".as_slice(), &PREFACE[..16], &HEAD[..20], &asked_nothing] {
            let (_, took) = rest(client(bytes, Duration::ZERO, &CancellationToken::new()).await).await;
            assert!(took < HEADERS_MAX + Duration::from_secs(1), "{took:?} after {bytes:?}");
        }
    }

    /// RFC 9113, 6.5.2.
    #[tokio::test(start_paused = true)]
    async fn a_connection_is_told_how_many_streams_it_may_have() {
        let asked_nothing = [PREFACE, SETTINGS].concat();
        let (said, _) = rest(client(&asked_nothing, Duration::ZERO, &CancellationToken::new()).await).await;
        let length = usize::from(said[1]) << 8 | usize::from(said[2]);
        let settings = said[9..9 + length].chunks(6);
        let streams: Vec<_> = settings.filter(|setting| setting[..2] == [0, 3]).map(|setting| &setting[2..]).collect();
        assert_eq!(streams, [STREAMS_MAX.to_be_bytes()]);
        assert!((100..=256).contains(&STREAMS_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_wait_longer_than_its_head_and_the_idle_connection_then_ends() {
        let (answer, took) = rest(client(HEAD, 3 * HEADERS_MAX, &CancellationToken::new()).await).await;
        assert!(answer.ends_with(b"done"), "{answer:?}");
        assert!(took < 4 * HEADERS_MAX + Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_cuts_who_has_not_asked_at_once_and_lets_the_others_finish() {
        let (stop, work) = (CancellationToken::new(), Duration::from_secs(1));
        let waiting = client(HEAD, work, &stop).await;
        let partial = client(&HEAD[..20], work, &stop).await;
        let silent = client(b"", work, &stop).await;
        stop.cancel();
        assert_eq!(rest(partial).await, (Vec::new(), Duration::ZERO));
        assert_eq!(rest(silent).await, (Vec::new(), Duration::ZERO));
        assert!(rest(waiting).await.0.ends_with(b"done"));
    }
}
