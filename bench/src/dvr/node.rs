//! The origin under test: a process of its own, with a publisher that sends as many parts as it is told to on standard input.

use anyhow::Context;
use bytes::Bytes;
use config::Config;
use media::{AvcConfig, Frame, TrackKind};
use origin::{Ingested, PublishRequest, Publisher, Server};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use transcode::WorkerProgram;

/// What it says once it listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) addr: std::net::SocketAddr,
}

/// At 30 frames a second; the origin cuts segments of 60 of them.
pub(crate) const FRAMES_PER_PART: u64 = 10;
pub(crate) const PARTS_PER_SEGMENT: u64 = 6;
pub(crate) const PART_S: f64 = 1.0 / 3.0;
pub(crate) const STREAM: &str = "bench";
pub(crate) const RENDITION: &str = "180p";
/// A part has some 10 KB: what a rung of 250 kbit/s has. What they hold does not matter here.
const FRAME_BYTES: usize = 1000;
/// x264, 320x180.
const AVCC: &[u8] = &[
    1, 100, 0, 13, 0xff, 0xe1, 0, 25, 0x67, 0x64, 0, 0x0d, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9e, 0x10, 0, 0, 3, 0, 0x10,
    0, 0, 3, 3, 0xc0, 0xf1, 0x42, 0x99, 0x60, 1, 0, 6, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0, 0xfd, 0xf8, 0xf8, 0,
];

/// Serves until its standard input ends.
pub(crate) async fn run(window_s: u64, disk: Option<PathBuf>) -> anyhow::Result<()> {
    let text = "[origin]\nhttp_listen = \"127.0.0.1:0\"\nrtmp_listen = \"127.0.0.1:0\"\n\
        [origin.ingest]\nopen = true\nlinger_ms = 600000\n[origin.ladder]\nrungs = []\n";
    let parsed = Config::parse(text, []).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let mut config = parsed.origin.context("an origin is configured")?;
    config.window.length = std::time::Duration::from_secs(window_s);
    config.disk.path = disk;
    let program = WorkerProgram { path: "none".into(), args: Vec::new() };
    let server = Server::bind(config, program, &Registry::new())?;
    let (addr, publishing) = (server.http_addr(), server.publishing());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.run(stop.clone()));
    crate::say(&Started { addr })?;
    let (commands, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        let read = std::io::stdin().lines().map_while(Result::ok);
        read.map(|line| commands.blocking_send(line)).take_while(Result::is_ok).for_each(drop);
    });
    let mut source = None;
    while let Some(line) = lines.recv().await {
        let parts: u64 = line.trim().parse()?;
        if source.is_none() {
            let request = PublishRequest { app: "live".into(), stream: STREAM.into(), key: None };
            let publisher = publishing.publish(&request, None)?;
            source = Some(Source::begin(publisher).await?);
        }
        let source = source.as_mut().context("it publishes")?;
        for _ in 0..parts * FRAMES_PER_PART {
            source.frame().await?;
        }
    }
    stop.cancel();
    serving.await?;
    Ok(())
}

struct Source {
    publisher: Publisher,
    index: u64,
    data: Bytes,
}

impl Source {
    async fn begin(publisher: Publisher) -> anyhow::Result<Self> {
        let config = AvcConfig { record: Bytes::from_static(AVCC), width: 320, height: 180 };
        publisher.send(Ingested::Video(config)).await?;
        let length = (FRAME_BYTES as u32 - 4).to_be_bytes();
        let data: Vec<u8> = length.into_iter().chain([0x65]).chain((5..FRAME_BYTES).map(|at| at as u8)).collect();
        Ok(Self { publisher, index: 0, data: data.into() })
    }

    async fn frame(&mut self) -> anyhow::Result<()> {
        let ms = (self.index as f64 * 1000.0 / 30.0).round() as i64;
        let keyframe = self.index.is_multiple_of(FRAMES_PER_PART * PARTS_PER_SEGMENT);
        let frame = Frame { kind: TrackKind::Video, dts: ms, pts: ms, keyframe, data: self.data.clone() };
        self.index += 1;
        Ok(self.publisher.send(Ingested::Frame(frame)).await?)
    }
}
