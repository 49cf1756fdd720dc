//! An edge that is replaced while it serves: nobody who watches notices.

use anyhow::{Context, bail, ensure};
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;
use manifest::media::{MediaPlaylist, OpenSegment, Part, Segment, SegmentStart};
use manifest::{Directives, Head, Position, Verdict};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// No event takes longer, on a machine that is shared.
const PATIENCE: Duration = Duration::from_secs(60);
const HELD: usize = 500;
const LOADING: usize = 8;
const PARTS: u32 = 4;
const CADENCE: Duration = Duration::from_millis(250);
const PLAYLIST: &str = "/live/test/v/index.m3u8";

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_replaced_under_load_and_no_request_fails() {
    let (origin, _publishing) = origin().await.unwrap();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let edge = socket.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("edge.toml");
    let text = format!("[edge]\nname = \"e\"\nlisten = \"{edge}\"\n[edge.upstream]\nurl = \"http://{origin}\"\n");
    std::fs::write(&config, text).unwrap();
    // As systemd would start it, with its socket open: no port is chosen twice.
    let (mut old, mut log) = start(&config, &socket).unwrap();
    drop(socket);

    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Rounds::default());
    let mut viewers = JoinSet::new();
    for _ in 0..HELD {
        viewers.spawn(hold(edge, stop.clone(), rounds.held.clone()));
    }
    for _ in 0..LOADING {
        viewers.spawn(load(edge, stop.clone(), rounds.loaded.clone()));
    }
    rounds.more(3).await;
    // SAFETY: kill has no memory effects, and the child was not waited for: the number is its own.
    unsafe { libc::kill(i32::try_from(old.id().unwrap()).unwrap(), libc::SIGUSR2) };
    let successor = successor(&mut log).await.unwrap();
    rounds.more(3).await;
    let ended = timeout(PATIENCE, old.wait()).await.expect("the old one goes").unwrap();
    assert!(ended.success(), "{ended}");
    rounds.more(3).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(viewer) = timeout(PATIENCE, viewers.join_next()).await.expect("viewers end") {
        viewer.unwrap().expect("no request fails");
    }
    // SAFETY: as above; the successor said its number and nobody else has waited for it.
    unsafe { libc::kill(successor, libc::SIGTERM) };
    let goodbye = async { while log.next_line().await.unwrap().is_some() {} };
    timeout(PATIENCE, goodbye).await.expect("the successor ends when told to");
}

#[derive(Default)]
struct Rounds {
    held: Arc<AtomicUsize>,
    loaded: Arc<AtomicUsize>,
}

impl Rounds {
    /// Waits until viewers have had so many more answers each, on average.
    async fn more(&self, count: usize) {
        let from = [self.held.load(Ordering::Relaxed), self.loaded.load(Ordering::Relaxed)];
        let mut look = interval(Duration::from_millis(10));
        let seen = async {
            while self.held.load(Ordering::Relaxed) < from[0] + count * HELD
                || self.loaded.load(Ordering::Relaxed) < from[1] + count * LOADING
            {
                look.tick().await;
            }
        };
        timeout(PATIENCE, seen).await.expect("viewers go on");
    }
}

fn start(
    config: &std::path::Path,
    socket: &std::net::TcpListener,
) -> anyhow::Result<(Child, tokio::io::Lines<BufReader<ChildStderr>>)> {
    let mut command = Command::new(tests::vivid_binary()?);
    command.arg("edge").arg("--config").arg(config).env("LISTEN_FDS", "1").env_remove("LISTEN_PID");
    let descriptor = socket.as_raw_fd();
    let place = move || {
        // SAFETY: both are plain numbers, and dup2 may be called between fork and exec.
        let placed = unsafe { libc::dup2(descriptor, 3) };
        // dup2 of a descriptor onto itself keeps the flag that closes it.
        // SAFETY: a flag of a descriptor that is open.
        let kept = unsafe { libc::fcntl(3, libc::F_SETFD, 0) };
        if placed < 0 || kept < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure calls nothing but dup2 and fcntl, which are safe between fork and exec.
    unsafe { command.pre_exec(place) };
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let log = child.stderr.take().context("no standard error")?;
    Ok((child, BufReader::new(log).lines()))
}

/// The process number of the successor, once it serves.
async fn successor(log: &mut tokio::io::Lines<BufReader<ChildStderr>>) -> anyhow::Result<i32> {
    let saying = async {
        while let Some(line) = log.next_line().await? {
            if let Some((_, pid)) = line.split_once("the successor serves pid=") {
                return Ok(pid.trim().parse()?);
            }
            ensure!(!line.contains("does not serve"), "{line}");
        }
        bail!("the log ended")
    };
    timeout(PATIENCE, saying).await.context("no successor")?
}

/// Asks for the next part of the playlist for as long as it may; every answer is the one asked for.
async fn hold(edge: SocketAddr, stop: Arc<AtomicBool>, rounds: Arc<AtomicUsize>) -> anyhow::Result<()> {
    let mut connection = None;
    let mut next = head(&ask(&mut connection, edge, PLAYLIST).await?)?;
    while !stop.load(Ordering::Relaxed) {
        let target = format!("{PLAYLIST}?_HLS_msn={}&_HLS_part={}", next.msn, next.part);
        let got = head(&ask(&mut connection, edge, &target).await?)?;
        ensure!(got > next, "{got:?} was told to who waits for {next:?}");
        next = got;
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Fetches one object again and again.
async fn load(edge: SocketAddr, stop: Arc<AtomicBool>, rounds: Arc<AtomicUsize>) -> anyhow::Result<()> {
    let mut connection = None;
    while !stop.load(Ordering::Relaxed) {
        let got = ask(&mut connection, edge, "/live/test/v/e/1.m4s").await?;
        ensure!(got == [7; 20_000], "other bytes");
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn head(playlist: &[u8]) -> anyhow::Result<Position> {
    match manifest::follow::read(std::str::from_utf8(playlist)?)? {
        manifest::follow::Followed::Media(media) => Ok(media.head.next),
        manifest::follow::Followed::Multivariant(_) => bail!("a multivariant playlist"),
    }
}

/// One request on a connection that is kept for as long as the edge says so. Nothing is asked twice: a connection that ends
/// without an answer is a failed request.
async fn ask(connection: &mut Option<TcpStream>, edge: SocketAddr, target: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => TcpStream::connect(edge).await.context("cannot connect")?,
    };
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: e\r\n\r\n").as_bytes()).await?;
    let mut input = Vec::new();
    let end = loop {
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        ensure!(stream.read_buf(&mut input).await? > 0, "the connection ended without an answer to {target}");
    };
    let mut body = input.split_off(end);
    let fields = String::from_utf8(input)?.to_ascii_lowercase();
    ensure!(fields.starts_with("http/1.1 200 "), "{target}: {fields}{}", String::from_utf8_lossy(&body));
    let length = fields.lines().find_map(|line| line.strip_prefix("content-length: ")).context("no length")?;
    let length: usize = length.parse()?;
    while body.len() < length {
        ensure!(stream.read_buf(&mut body).await? > 0, "the connection ended in the answer to {target}");
    }
    *connection = (!fields.contains("\r\nconnection: close")).then_some(stream);
    Ok(body)
}

/// A live rendition that goes on by itself.
async fn origin() -> anyhow::Result<(SocketAddr, JoinSet<()>)> {
    let live = watch::Sender::new(Position { msn: 100, part: 0 });
    let app = Router::new()
        .route("/live/test/v/index.m3u8", get(playlist))
        .route("/live/test/v/e/{file}", get(media))
        .with_state(live.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.expect("serves") });
    tasks.spawn(async move {
        let mut tick = interval(CADENCE);
        loop {
            tick.tick().await;
            live.send_modify(|next| {
                let last = next.part + 1 == PARTS;
                *next = Position { msn: next.msn + u64::from(last), part: if last { 0 } else { next.part + 1 } };
            });
        }
    });
    Ok((addr, tasks))
}

async fn playlist(State(live): State<watch::Sender<Position>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let wait = Directives::from_query(&query.unwrap_or_default()).ok().and_then(|asked| asked.wait);
    let mut live = live.subscribe();
    loop {
        let next = *live.borrow_and_update();
        match (Head { next, last_parts: PARTS, ended: false }).admit(wait, 12) {
            Verdict::Now => return (StatusCode::OK, render(next)).into_response(),
            Verdict::TooFar => return StatusCode::BAD_REQUEST.into_response(),
            Verdict::Hold if live.changed().await.is_err() => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Verdict::Hold => {}
        }
    }
}

async fn media(State(live): State<watch::Sender<Position>>, Path(file): Path<String>) -> impl IntoResponse {
    let at = file.strip_suffix(".m4s").and_then(|name| name.split_once('.'));
    if let Some((msn, part)) = at.and_then(|(msn, part)| Some((msn.parse().ok()?, part.parse().ok()?))) {
        let _ = live.subscribe().wait_for(|next| Position { msn, part } < *next).await;
    }
    ([(CONTENT_TYPE, "video/mp4"), (CACHE_CONTROL, "public, max-age=600")], vec![7_u8; 20_000])
}

fn render(next: Position) -> String {
    let first_msn = next.msn - 6;
    let part = |msn: u64, part: u32| Part {
        duration_s: 0.25,
        independent: part == 0,
        gap: false,
        uri: format!("e/{msn}.{part}.m4s"),
    };
    let start = |msn: u64| SegmentStart {
        discontinuity: false,
        key: None,
        ends_key: false,
        map: (msn == first_msn).then(|| "e/init.mp4".to_owned()),
        program_date_time_ms: 1_700_000_000_000 + 1000 * i64::try_from(msn).unwrap_or(0),
    };
    let segments = (first_msn..next.msn).map(|msn| Segment {
        start: start(msn),
        parts: if msn + 3 > next.msn { (0..PARTS).map(|at| part(msn, at)).collect() } else { Vec::new() },
        duration_s: 1.0,
        uri: format!("e/{msn}.m4s"),
        gap: false,
        tiles: None,
    });
    let playlist = MediaPlaylist {
        target_duration_s: 1,
        content: manifest::media::Content::Parts,
        part_target_s: Some(0.25),
        skip_until_s: None,
        first_msn,
        discontinuity_sequence: 0,
        segments: segments.collect(),
        open: Some(OpenSegment {
            start: Some(start(next.msn)),
            parts: (0..next.part).map(|at| part(next.msn, at)).collect(),
            hint: Some(format!("e/{}.{}.m4s", next.msn, next.part)),
        }),
        reports: Vec::new(),
    };
    playlist.render()
}
