//! An origin with a publisher that sends a clip again and again at its own pace, and who follows each rendition.

use crate::http1::Answer;
use crate::ladder::clip::{self, Clip};
use anyhow::{Context, ensure};
use config::Config;
use manifest::Position;
use manifest::follow::{self, Class, Followed};
use media::Frame;
use origin::{Ingested, PublishRequest, Server};
use prometheus::Registry;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use transcode::{Input, WorkerProgram};

pub(super) const STREAM: &str = "bench";

/// What is under test: the origin in this process, its workers as processes below it.
pub(super) struct Site {
    /// Until it is dropped.
    runtime: Option<Runtime>,
    pub(super) registry: Registry,
    addr: SocketAddr,
    stop: CancellationToken,
    quiet: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    begun: Instant,
}

/// A part that a follower was told of: when that was, how late its end then was, and whether it is one to be had.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) at: Duration,
    pub(super) late_ms: i64,
    pub(super) gap: bool,
    /// The path of its epoch.
    pub(super) epoch: String,
}

/// Follows one rendition in a thread of its own until the site stops.
pub(super) struct Follower {
    pub(super) rendition: String,
    told: Arc<Mutex<Vec<Told>>>,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Site {
    /// `text` is a configuration without addresses.
    pub(super) fn start(text: &str, path: &Path) -> anyhow::Result<Self> {
        let text = format!(
            "[origin]\nhttp_listen = \"127.0.0.1:0\"\nrtmp_listen = \"127.0.0.1:0\"\n\
            [origin.ingest]\nopen = true\nlinger_ms = 500\n{text}"
        );
        let parsed = Config::parse(&text, []).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let config = parsed.origin.context("an origin is configured")?;
        let clip = clip::read(path)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (registry, stop) = (Registry::new(), CancellationToken::new());
        let (quiet, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let entered = runtime.enter();
        let program = WorkerProgram { path: std::env::current_exe()?, args: vec!["transcode-worker".into()] };
        let server = Server::bind(config, program, &registry)?;
        let (addr, publishing) = (server.http_addr(), server.publishing());
        runtime.spawn(server.run(stop.clone()));
        let publisher =
            publishing.publish(&PublishRequest { app: "live".into(), stream: STREAM.into(), key: None }, None)?;
        runtime.spawn(publish(publisher, clip, (Arc::clone(&quiet), Arc::clone(&sent))));
        drop(entered);
        Ok(Self { registry, addr, stop, quiet, sent, begun: Instant::now(), runtime: Some(runtime) })
    }

    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A gauge or counter, summed over its labels that contain `label`.
    pub(super) fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let of = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let of = of.filter(|one| label.is_empty() || one.get_label().iter().any(|pair| pair.value() == label));
        of.map(|one| one.get_gauge().get_value() + one.get_counter().get_value()).sum()
    }

    /// Waits for the multivariant playlist: the names of its video renditions, in order.
    pub(super) fn renditions(&self) -> anyhow::Result<Vec<String>> {
        let until = Instant::now() + PATIENCE;
        let mut socket = connect(self.addr)?;
        loop {
            if let Ok(text) = get(&mut socket, &format!("/live/{STREAM}/index.m3u8")) {
                let names = text.lines().filter(|line| !line.starts_with('#') && line.ends_with("/index.m3u8"));
                return Ok(names.filter_map(|line| Some(line.split_once('/')?.0.to_owned())).collect());
            }
            ensure!(Instant::now() < until, "the origin shows no stream");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn follow(&self, rendition: &str) -> Follower {
        let told = Arc::new(Mutex::new(Vec::new()));
        let follower = Follower { rendition: rendition.to_owned(), told: Arc::clone(&told) };
        let (addr, begun, rendition) = (self.addr, self.begun, rendition.to_owned());
        // It ends with the stream, or with the origin.
        std::thread::spawn(move || follow(addr, begun, &rendition, &told));
        follower
    }

    /// The publisher leaves; the whole playlist of a rendition once the stream has ended, and how many frames were sent.
    pub(super) fn end(&self, rendition: &str) -> anyhow::Result<(String, u64)> {
        self.quiet.store(true, Ordering::Release);
        let until = Instant::now() + PATIENCE;
        let mut socket = connect(self.addr)?;
        loop {
            let text = get(&mut socket, &format!("/live/{STREAM}/{rendition}/index.m3u8"))?;
            if text.ends_with("#EXT-X-ENDLIST\n") {
                return Ok((text, self.sent.load(Ordering::Acquire)));
            }
            ensure!(Instant::now() < until, "the stream does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(3));
        }
    }
}

impl Follower {
    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends the clip over and over, each frame when it is due.
async fn publish(publisher: origin::Publisher, clip: Clip, (quiet, sent): (Arc<AtomicBool>, Arc<AtomicU64>)) {
    let ticks = clip.source.rate.timescale().0;
    let ms = |frame: &Frame, scale: u32| (frame.dts as f64 * 1000.0 / f64::from(scale)).round() as i64;
    let pictures = clip.inputs.iter().filter(|input| matches!(input, Input::Video(_))).count();
    let length_ms = (pictures as f64 * 1000.0 / clip.source.rate.hz()).round() as i64;
    let begun = tokio::time::Instant::now();
    let mut head = vec![Ingested::Video(clip.source.video.clone())];
    head.extend(clip.source.audio.clone().map(Ingested::Audio));
    for item in head {
        if publisher.send(item).await.is_err() {
            return;
        }
    }
    for turn in 0.. {
        for input in &clip.inputs {
            let (frame, at) = match input {
                Input::Video(frame) => (frame, ms(frame, ticks)),
                Input::Audio(frame) => (frame, ms(frame, transcode::AUDIO_RATE)),
                Input::Finish => continue,
            };
            let at = at + turn * length_ms;
            tokio::time::sleep_until(begun + Duration::from_millis(at.max(0) as u64)).await;
            if quiet.load(Ordering::Acquire) || publisher.send(frame_at(frame, at)).await.is_err() {
                return;
            }
            sent.fetch_add(u64::from(matches!(input, Input::Video(_))), Ordering::AcqRel);
        }
    }
}

/// Its pictures are in the order in which they are shown.
fn frame_at(frame: &Frame, ms: i64) -> Ingested {
    Ingested::Frame(Frame { dts: ms, pts: ms, ..frame.clone() })
}

fn follow(addr: SocketAddr, begun: Instant, rendition: &str, told: &Mutex<Vec<Told>>) {
    let Ok(mut socket) = connect(addr) else { return };
    let path = format!("/live/{STREAM}/{rendition}/index.m3u8");
    let mut next: Option<Position> = None;
    while let Ok(text) = get(&mut socket, &next.map_or_else(|| path.clone(), |next| blocking(&path, next))) {
        let Ok(Followed::Media(media)) = follow::read(&text) else { return };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let newest = media.objects.iter().rev().find(|object| matches!(object.class, Class::Part | Class::Segment));
        let epoch = newest.and_then(|object| Some(object.uri.split_once('/')?.0.to_owned())).unwrap_or_default();
        let is_news = next.is_some_and(|next| next != media.head.next);
        if let Some(edge_ms) = media.edge_unix_ms.filter(|_| is_news) {
            let gap = ends_with_gap(&text);
            let told_now = Told { at: begun.elapsed(), late_ms: now_ms - edge_ms, gap, epoch };
            told.lock().unwrap_or_else(PoisonError::into_inner).push(told_now);
        }
        if media.head.ended {
            return;
        }
        next = Some(media.head.next);
    }
}

fn blocking(path: &str, next: Position) -> String {
    format!("{path}?_HLS_msn={}&_HLS_part={}", next.msn, next.part)
}

/// Whether the newest part, or segment, is not to be had.
pub(super) fn ends_with_gap(text: &str) -> bool {
    let mut gap = false;
    let mut said = false;
    for line in text.lines() {
        if line.starts_with("#EXT-X-PART:") {
            gap = line.ends_with(",GAP=YES");
        } else if line == "#EXT-X-GAP" {
            said = true;
        } else if !line.starts_with('#') {
            gap = std::mem::take(&mut said);
        }
    }
    gap
}

fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn get(socket: &mut TcpStream, target: &str) -> anyhow::Result<String> {
    socket.write_all(format!("GET {target} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())?;
    let (mut answer, mut buffer) = (Answer::default(), vec![0; 1 << 16]);
    loop {
        let count = socket.read(&mut buffer)?;
        ensure!(count > 0, "the origin closed the connection");
        if answer.push(&buffer[..count])? {
            break;
        }
    }
    ensure!(answer.status() == 200, "the origin answered {} to {target}", answer.status());
    Ok(String::from_utf8(answer.body().to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_a_playlist_is_there_or_a_gap() {
        let segment = "#EXTINF:2.00000,\ne/1.m4s\n";
        for (text, gap) in [
            (segment.to_owned(), false),
            (format!("#EXT-X-GAP\n{segment}"), true),
            (format!("#EXT-X-GAP\n{segment}#EXT-X-PART:DURATION=0.3,URI=\"e/2.0.m4s\"\n"), false),
            (format!("{segment}#EXT-X-PART:DURATION=0.3,URI=\"e/2.0.m4s\",GAP=YES\n"), true),
        ] {
            assert_eq!(ends_with_gap(&text), gap, "{text}");
        }
    }
}
