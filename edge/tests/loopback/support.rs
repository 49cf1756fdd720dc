//! A scripted upstream that counts what it is asked, nodes on free ports, and a plain HTTP/1.1 viewer.

use edge::Server;
use manifest::media::{MediaPlaylist, OpenSegment, Part, Segment, SegmentStart};
use manifest::{Directives, Head, Position, Verdict};
use prometheus::Registry;
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No event of a test takes longer, on a machine that is shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What the upstream was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) head: String,
}

/// What it says.
pub(crate) enum Said {
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Status line and fields as given, then bytes as they come; the end of the channel ends the connection.
    Raw(String, mpsc::UnboundedReceiver<Vec<u8>>),
}

pub(crate) type Saying = Pin<Box<dyn Future<Output = Said> + Send>>;

pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepting: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start(script: impl Fn(Asked) -> Saying + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    pub(crate) async fn start_at(addr: SocketAddr, script: impl Fn(Asked) -> Saying + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), asked.clone());
        let accepting = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.spawn(serve(stream, script.clone(), log.clone()));
            }
        });
        Self { addr, asked, accepting }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, part_of_target: &str) -> usize {
        self.asked().iter().filter(|asked| asked.target.contains(part_of_target)).count()
    }

    /// Ends every connection and listens no more.
    pub(crate) async fn die(self) {
        self.accepting.abort();
        let _ = self.accepting.await;
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<impl Fn(Asked) -> Saying + Send + Sync + 'static>,
    log: Arc<Mutex<Vec<Asked>>>,
) {
    let mut input = Vec::new();
    loop {
        let Some(end) = find(&input, b"\r\n\r\n") else {
            if stream.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let head = String::from_utf8(input.drain(..end + 4).collect()).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let asked = Asked { target, head };
        log.lock().unwrap().push(asked.clone());
        // A client that leaves while it is held shows as an end of input.
        let said = tokio::select! {
            said = script(asked) => said,
            _ = stream.read_buf(&mut input) => return,
        };
        match said {
            Said::Whole(status, fields, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                head.push_str("\r\n");
                let all = [head.into_bytes(), body].concat();
                if stream.write_all(&all).await.is_err() {
                    return;
                }
            }
            Said::Raw(head, mut bytes) => {
                stream.write_all(head.as_bytes()).await.unwrap();
                while let Some(bytes) = bytes.recv().await {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                return;
            }
        }
    }
}

/// An origin with one live rendition, advanced by the test.
#[derive(Clone)]
pub(crate) struct Origin {
    state: watch::Sender<Live>,
}

#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) epoch: &'static str,
    pub(crate) next: Position,
    pub(crate) ended: bool,
}

pub(crate) const PARTS: u32 = 4;
pub(crate) const RENDITION: &str = "/live/test/720p/index.m3u8";

impl Origin {
    pub(crate) fn at(msn: u64, part: u32) -> Self {
        Self { state: watch::Sender::new(Live { epoch: "e1", next: Position { msn, part }, ended: false }) }
    }

    pub(crate) async fn start(&self) -> Fake {
        let origin = self.clone();
        Fake::start(move |asked| Box::pin(origin.clone().answer(asked))).await
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Live)) {
        self.state.send_modify(change);
    }

    /// Publishes one part.
    pub(crate) fn advance(&self) {
        self.change(|live| {
            live.next.part += 1;
            if live.next.part == PARTS {
                live.next = Position { msn: live.next.msn + 1, part: 0 };
            }
        });
    }

    pub(crate) fn playlist(&self) -> String {
        playlist(&self.state.borrow())
    }

    pub(crate) fn next(&self) -> Position {
        self.state.borrow().next
    }

    pub(crate) async fn answer(self, asked: Asked) -> Said {
        let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
        if !path.ends_with(".m3u8") {
            return self.media(path).await;
        }
        let wait = Directives::from_query(query).unwrap().wait;
        let mut state = self.state.subscribe();
        loop {
            let live = state.borrow_and_update().clone();
            let head = Head { next: live.next, last_parts: PARTS, ended: live.ended };
            match head.admit(wait, 12) {
                Verdict::Now => return whole("application/vnd.apple.mpegurl", playlist(&live)),
                Verdict::TooFar => return Said::Whole(400, Vec::new(), b"too far\n".to_vec()),
                Verdict::Hold => state.changed().await.unwrap(),
            }
        }
    }

    /// A part is there once it is published; asked for before, it is waited for.
    async fn media(self, path: &str) -> Said {
        let Some((msn, part)) = path.rsplit('/').next().and_then(|file| file.strip_suffix(".m4s")?.split_once('.'))
        else {
            return whole("video/mp4", format!("bytes of {path}").repeat(500));
        };
        let at = Position { msn: msn.parse().unwrap(), part: part.parse().unwrap() };
        let mut state = self.state.subscribe();
        state.wait_for(|live| at < live.next).await.unwrap();
        whole("video/mp4", format!("bytes of {path}").repeat(500))
    }
}

pub(crate) fn whole(content_type: &str, body: impl Into<Vec<u8>>) -> Said {
    let fields = vec![("Content-Type", content_type.to_owned()), ("Cache-Control", "public, max-age=60".to_owned())];
    Said::Whole(200, fields, body.into())
}

pub(crate) fn text(status: u16, body: &str) -> Said {
    let fields = vec![("Content-Type", "text/plain".to_owned()), ("Cache-Control", "no-store".to_owned())];
    Said::Whole(status, fields, body.into())
}

fn playlist(live: &Live) -> String {
    let epoch = live.epoch;
    let part = |msn: u64, part: u32| Part {
        duration_s: 0.5,
        independent: part == 0,
        gap: false,
        uri: format!("{epoch}/{msn}.{part}.m4s"),
    };
    let first_msn = live.next.msn.saturating_sub(6);
    let start = |msn: u64| SegmentStart {
        discontinuity: false,
        key: None,
        ends_key: false,
        map: (msn == first_msn).then(|| format!("{epoch}/init.mp4")),
        program_date_time_ms: 1_700_000_000_000 + 2000 * msn as i64,
    };
    let segments = (first_msn..live.next.msn).map(|msn| Segment {
        start: start(msn),
        parts: if msn + 3 > live.next.msn { (0..PARTS).map(|at| part(msn, at)).collect() } else { Vec::new() },
        duration_s: 2.0,
        uri: format!("{epoch}/{msn}.m4s"),
        gap: false,
        tiles: None,
    });
    let open = OpenSegment {
        start: Some(start(live.next.msn)),
        parts: (0..live.next.part).map(|at| part(live.next.msn, at)).collect(),
        hint: Some(format!("{epoch}/{}.{}.m4s", live.next.msn, live.next.part)),
    };
    let playlist = MediaPlaylist {
        target_duration_s: 2,
        content: manifest::media::Content::Parts,
        part_target_s: Some(0.5),
        skip_until_s: None,
        first_msn,
        discontinuity_sequence: 0,
        segments: segments.collect(),
        open: (!live.ended).then_some(open),
        reports: Vec::new(),
    };
    playlist.render()
}

/// A node, its registry, and the way to stop it.
pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    pub(crate) tls_addrs: Vec<SocketAddr>,
    pub(crate) admin_addr: Option<SocketAddr>,
    pub(crate) registry: Registry,
    stop: CancellationToken,
    handed_over: CancellationToken,
    running: JoinHandle<()>,
}

pub(crate) fn config(name: &str, upstream: SocketAddr) -> config::Edge {
    let text =
        format!("[edge]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\n[edge.upstream]\nurl = \"http://{upstream}\"\n");
    config::Config::parse(&text, []).unwrap().edge.unwrap()
}

/// An edge with several upstreams, the first of which is everybody's first choice.
pub(crate) fn config_with(name: &str, upstreams: &[SocketAddr]) -> config::Edge {
    let mut config = config(name, upstreams[0]);
    let peer = |(index, addr): (usize, &SocketAddr)| config::UpstreamPeer {
        url: format!("http://{addr}"),
        weight: if index == 0 { 1e9 } else { 1.0 },
    };
    config.upstream.peers = upstreams.iter().enumerate().map(peer).collect();
    config
}

impl Node {
    pub(crate) fn start(name: &str, upstream: SocketAddr) -> Self {
        Self::with(config(name, upstream))
    }

    pub(crate) fn with(config: config::Edge) -> Self {
        let registry = Registry::new();
        let server = Server::bind(config, &registry).unwrap();
        let (addr, tls_addrs, admin_addr) = (server.addr(), server.tls_addrs(), server.admin_addr());
        let stop = CancellationToken::new();
        let handed_over = server.handed_over();
        let running = tokio::spawn(server.run(stop.clone()));
        Self { addr, tls_addrs, admin_addr, registry, stop, handed_over, running }
    }

    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metric(&self.registry, name, labels)
    }

    pub(crate) async fn until(&self, name: &str, labels: &[&str], value: f64) {
        until(|| self.metric(name, labels) >= value, &format!("{name}{labels:?} >= {value}")).await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        in_time(self.running).await.unwrap();
    }

    pub(crate) fn order_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) fn hand_over(&self) {
        self.handed_over.cancel();
    }

    /// Waits for its end.
    pub(crate) async fn gone(self) {
        in_time(self.running).await.unwrap();
    }

    pub(crate) async fn get(&self, target: &str) -> Got {
        Viewer::connect(self.addr).await.get(target).await
    }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The value of a metric, all children whose labels contain `labels` summed.
pub(crate) fn metric(registry: &Registry, name: &str, labels: &[&str]) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no metric {name}"));
    let wanted = |metric: &&prometheus::proto::Metric| {
        labels.iter().all(|label| metric.get_label().iter().any(|pair| pair.value() == *label))
    };
    let value = |metric: &prometheus::proto::Metric| {
        let histogram = metric.get_histogram().get_sample_count() as f64;
        metric.get_counter().get_value() + metric.get_gauge().get_value() + histogram
    };
    family.get_metric().iter().filter(wanted).map(value).sum()
}

/// Waits for something that is counted, not signalled.
pub(crate) async fn until(condition: impl Fn() -> bool, what: &str) {
    let turning = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, turning).await.is_ok(), "never came: {what}");
}

pub(crate) async fn in_time<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.expect("never came")
}

/// What a viewer's connection may be made of.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A `Cache-Status` without its lifetimes.
pub(crate) fn timeless(told: &str) -> String {
    let hop = |hop: &str| {
        let parameters = hop.split("; ").filter(|parameter| !parameter.starts_with("ttl="));
        parameters.collect::<Vec<_>>().join("; ")
    };
    told.split(", ").map(hop).collect::<Vec<_>>().join(", ")
}

/// A viewer with one connection.
pub(crate) struct Viewer {
    stream: Box<dyn Wire>,
    input: Vec<u8>,
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// `Cache-Status` is without lifetimes here, which depend on the clock.
    pub(crate) fields: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn read(head: String, body: Vec<u8>) -> Self {
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut fields = HashMap::<String, String>::new();
        for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
            let known = fields.entry(name.to_ascii_lowercase()).or_default();
            *known = if known.is_empty() { value.to_owned() } else { format!("{known}, {value}") };
        }
        if let Some(told) = fields.get_mut("cache-status") {
            *told = timeless(told);
        }
        Self { status, head, fields, body }
    }

    /// The head of an answer that came in frames.
    pub(crate) fn of(head: &http::response::Parts) -> Self {
        let mut fields = HashMap::<String, String>::new();
        for (name, value) in &head.headers {
            let known = fields.entry(name.as_str().to_owned()).or_default();
            let comma = if known.is_empty() { "" } else { ", " };
            *known = format!("{known}{comma}{}", value.to_str().unwrap());
        }
        Self { status: head.status.as_u16(), head: format!("{head:?}"), fields, body: Vec::new() }
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Viewer {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::over(in_time(TcpStream::connect(addr)).await.unwrap())
    }

    pub(crate) fn over(stream: impl Wire + 'static) -> Self {
        Self { stream: Box::new(stream), input: Vec::new() }
    }

    pub(crate) async fn get(&mut self, target: &str) -> Got {
        self.ask(target, "").await;
        self.read().await.unwrap()
    }

    pub(crate) async fn get_with(&mut self, target: &str, fields: &str) -> Got {
        self.ask(target, fields).await;
        self.read().await.unwrap()
    }

    /// Sends a request; `fields` are whole lines.
    pub(crate) async fn ask(&mut self, target: &str, fields: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: edge\r\n{fields}\r\n").as_bytes()).await;
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        // The other side may have closed already, which is as good.
        let _ = self.stream.shutdown().await;
    }

    /// Reads one answer; an error if the connection ends before the answer does.
    pub(crate) async fn read(&mut self) -> Result<Got, String> {
        let got = self.read_head().await?;
        in_time(self.read_body(got)).await
    }

    pub(crate) async fn read_head(&mut self) -> Result<Got, String> {
        let end = loop {
            match find(&self.input, b"\r\n\r\n") {
                Some(end) => break end,
                None => self.more().await?,
            }
        };
        let head = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
        Ok(Got::read(head, Vec::new()))
    }

    async fn read_body(&mut self, mut got: Got) -> Result<Got, String> {
        if got.field("transfer-encoding") == "chunked" {
            loop {
                let chunk = self.chunk().await?;
                if chunk.is_empty() {
                    return Ok(got);
                }
                got.body.extend(chunk);
            }
        }
        let length = match got.status {
            204 | 304 => 0,
            _ => got.field("content-length").parse().map_err(|_| format!("no length in {}", got.head))?,
        };
        got.body = self.bytes(length).await?;
        Ok(got)
    }

    /// One chunk of a chunked body; empty at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Vec<u8>, String> {
        let end = loop {
            match find(&self.input, b"\r\n") {
                Some(end) => break end,
                None => self.more().await?,
            }
        };
        let line: Vec<u8> = self.input.drain(..end + 2).collect();
        let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let mut chunk = self.bytes(length + 2).await?;
        assert_eq!(chunk.split_off(length), b"\r\n");
        Ok(chunk)
    }

    pub(crate) async fn bytes(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.input.len() < count {
            self.more().await?;
        }
        Ok(self.input.drain(..count).collect())
    }

    /// Waits until the other side ends the connection.
    pub(crate) async fn ended(&mut self) {
        while self.more().await.is_ok() {}
    }

    async fn more(&mut self) -> Result<(), String> {
        match in_time(self.stream.read_buf(&mut self.input)).await {
            Ok(0) => Err(format!("connection ended after {} bytes", self.input.len())),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Thousands of viewers need two descriptors each in one process.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the value they are given.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}
