//! The test source: publishes a picture of the time, with a beep each second, like any encoder would.

mod barcode;
mod canvas;
mod font;
mod pace;
mod picture;
mod publish;
mod tone;

use pace::{Due, Pace};
use picture::Picture;
use publish::{Form, Session};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};

/// What `vivid source` takes.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where to publish: rtmp://HOST[:PORT]/live/NAME, with ?key=KEY where the origin asks for one
    #[arg(long, default_value = "rtmp://127.0.0.1:1935/live/demo")]
    url: String,
    /// Width of the picture in pixels, even
    #[arg(long, default_value_t = 1280, value_parser = even)]
    width: u32,
    /// Height of the picture in pixels, even
    #[arg(long, default_value_t = 720, value_parser = even)]
    height: u32,
    /// Frames per second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=60))]
    fps: u32,
    /// Most bits per second of the video; the picture is calm and rarely needs them
    #[arg(long, default_value_t = 2_500_000, value_parser = clap::value_parser!(u32).range(50_000..=50_000_000))]
    bitrate: u32,
    /// Stop after so many seconds; without it, on SIGTERM or Ctrl-C
    #[arg(long)]
    seconds: Option<u64>,
}

/// Publishes until told to stop. Connects again, ever more patiently, when the origin goes away.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ffmpeg_next::init()?;
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Error);
    ffmpeg_next::format::network::init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = channel::<()>();
    let source = Source { args: args.clone(), stopped, deadline: args.seconds.map(Duration::from_secs) };
    runtime.block_on(async move {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut publishing = tokio::task::spawn_blocking(move || source.publish());
        tokio::select! {
            done = &mut publishing => return Ok(done?),
            _ = term.recv() => (),
            _ = interrupt.recv() => (),
        }
        drop(stop);
        // FFmpeg may be waiting for an origin that does not answer; the process ends all the same.
        if tokio::time::timeout(GOODBYE_MAX, publishing).await.is_err() {
            tracing::warn!("the origin takes nothing; leaving without a goodbye");
            std::process::exit(0);
        }
        Ok(())
    })
}

struct Source {
    args: Args,
    /// Closed when it is time to stop.
    stopped: Receiver<()>,
    deadline: Option<Duration>,
}

impl Source {
    fn publish(&self) {
        let started = Instant::now();
        let mut patience = PATIENCE_MIN;
        loop {
            let connected = Instant::now();
            match self.publish_once(started) {
                Ok(()) => return,
                Err(error) => {
                    if connected.elapsed() > SETTLED {
                        patience = PATIENCE_MIN;
                    }
                    tracing::warn!(url = %self.args.url, retry_in = ?patience, "{error:#}");
                }
            }
            if self.wait(patience).is_break() {
                return;
            }
            patience = (patience * 2).min(PATIENCE_MAX);
        }
    }

    /// One connection, from its first frame to the last; an error if it was lost.
    fn publish_once(&self, started: Instant) -> anyhow::Result<()> {
        let Args { url, width, height, fps, bitrate, .. } = &self.args;
        let form = Form { width: *width, height: *height, fps: *fps, bitrate: *bitrate as usize };
        let mut picture = Picture::new(*width, *height);
        let mut pace = Pace::new(*fps, form.gop());
        // Connecting takes a while; the clock of the frames starts after it.
        let mut session = Session::open(url, form)?;
        tracing::info!(%url, width, height, fps, "publishing");
        let zero = Instant::now();
        session.start(unix_ms());
        loop {
            let Due { index, wait, dropped } = pace.next(zero.elapsed());
            if dropped > 0 {
                tracing::warn!(dropped, "frames left out: this machine or the connection is too slow");
            }
            let over = self.deadline.is_some_and(|deadline| started.elapsed() + wait >= deadline);
            if over || self.wait(wait).is_break() {
                return session.close();
            }
            session.send(index, picture.draw(index, unix_ms()))?;
        }
    }

    /// Waits, unless it is time to stop.
    fn wait(&self, time: Duration) -> ControlFlow<()> {
        match self.stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

fn even(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(size) if (90..=4096).contains(&size) && size % 2 == 0 => Ok(size),
        _ => Err("write an even number from 90 to 4096".to_owned()),
    }
}

const PATIENCE_MIN: Duration = Duration::from_millis(250);
const PATIENCE_MAX: Duration = Duration::from_secs(4);
/// A connection that lasted so long was a good one; the next attempt comes soon.
const SETTLED: Duration = Duration::from_secs(1);
/// Leaves time for the other processes within the five seconds that a stop may take.
const GOODBYE_MAX: Duration = Duration::from_secs(3);
