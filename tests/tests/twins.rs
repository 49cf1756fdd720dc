//! An edge before two origins that one encoder publishes to: the one in use goes, and who watches goes on.

use anyhow::{Context, ensure};
use manifest::follow::{self, Class, Followed, Media};
use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::{free_ports, get, metric, vivid_binary, wait_until};
use tokio::process::{Child, Command};
use tokio::sync::{Barrier, Mutex};
use tokio::time::timeout;

/// One pair at a time: what is measured is how late a part is.
static MACHINE: Mutex<()> = Mutex::const_new(());

const RENDITIONS: [&str; 2] = ["180p", "audio"];
/// Parts that a player sees before one origin goes, and after.
const BEFORE: usize = 20;
const AFTER: usize = 40;
/// A part takes 0.27 s. Going over costs about another one; a hold that ends by itself would take six seconds.
const LATEST: Duration = Duration::from_millis(1500);
/// No event takes longer, on a machine that is shared.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_killed_is_gone_on_without() {
    goes_on_without(libc::SIGKILL).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_stopped_is_gone_on_without() {
    goes_on_without(libc::SIGTERM).await.unwrap();
}

async fn goes_on_without(signal: i32) -> anyhow::Result<()> {
    let _machine = MACHINE.lock().await;
    let folder = tempfile::tempdir()?;
    let base = free_ports(5)?;
    let [http_a, rtmp_a, http_b, rtmp_b, edge] = [0, 1, 2, 3, 4].map(|offset| base + offset);
    let origins =
        [origin(folder.path(), "a", (http_a, rtmp_a), http_b)?, origin(folder.path(), "b", (http_b, rtmp_b), http_a)?];
    let urls = [http_a, http_b].map(|port| format!("http://127.0.0.1:{port}"));
    let upstreams = urls.each_ref().map(|url| format!("{{ url = \"{url}\" }}")).join(", ");
    let text = format!("[edge]\nlisten = \"127.0.0.1:{edge}\"\nupstreams = [{upstreams}]\n");
    let _edge = tier("edge", folder.path(), "edge", &text)?;
    for url in &urls {
        wait_until(&format!("{url}/_vivid/readyz"), |answer| answer.status == 200).await?;
    }
    let _encoder = encoder([rtmp_a, rtmp_b])?;
    for url in &urls {
        wait_until(&format!("{url}/live/show/index.m3u8"), |answer| answer.status == 200).await?;
    }
    let edge = format!("http://127.0.0.1:{edge}");
    let midway = Arc::new(Barrier::new(RENDITIONS.len() + 1));
    let players = RENDITIONS.map(|rendition| tokio::spawn(play(edge.clone(), rendition, midway.clone())));
    timeout(PATIENCE, midway.wait()).await.context("players do not play")?;
    let page: serde_json::Value = serde_json::from_slice(&get(&format!("{edge}/_vivid/streams/show")).await?.body)?;
    let in_use = page["renditions"][0]["upstream"].as_str().context("the page names no upstream")?;
    let (goes, stays) = if in_use == urls[0] { (0, 1) } else { (1, 0) };
    let asked = async || metric(&edge, "vivid_edge_peer_requests_total", &urls[stays]).await;
    let before = asked().await?;
    // SAFETY: kill has no memory effects, and the child was not waited for: the number is its own.
    unsafe { libc::kill(i32::try_from(origins[goes].id().context("it has ended")?)?, signal) };
    for player in players {
        let latest = timeout(PATIENCE, player).await.context("players stand still")???;
        ensure!(latest < LATEST, "a part came {latest:?} after the one before");
    }
    ensure!(asked().await? - before > AFTER as f64, "the other origin was not asked");
    Ok(())
}

/// Follows a rendition part by part and loads all that is new. Returns the longest that a part was away after one origin had
/// gone.
async fn play(edge: String, rendition: &str, midway: Arc<Barrier>) -> anyhow::Result<Duration> {
    let folder = format!("{edge}/live/show/{rendition}");
    let (mut text, mut media) = playlist(&format!("{folder}/index.m3u8")).await?;
    let (mut loaded, mut latest, mut came) = (HashSet::new(), Duration::ZERO, Instant::now());
    for step in 0..BEFORE + AFTER {
        if step == BEFORE {
            midway.wait().await;
            came = Instant::now();
        }
        let next = media.head.next;
        let (text_now, now) =
            playlist(&format!("{folder}/index.m3u8?_HLS_msn={}&_HLS_part={}", next.msn, next.part)).await?;
        if step >= BEFORE {
            latest = latest.max(came.elapsed());
        }
        came = Instant::now();
        ensure!(now.head.next > next && now.first_msn >= media.first_msn, "back from {next:?}:\n{text}\n{text_now}");
        ensure!(!text_now.contains("#EXT-X-DISCONTINUITY\n"), "{text_now}");
        let gaps = |text: &str| text.matches("#EXT-X-GAP\n").count();
        ensure!(gaps(&text_now) <= gaps(&text), "{text_now}");
        (text, media) = (text_now, now);
        for object in media.objects.iter().filter(|object| object.class != Class::Hint) {
            if loaded.insert(object.uri.clone()) {
                let answer = get(&format!("{folder}/{}", object.uri)).await?;
                ensure!(answer.status == 200 && !answer.body.is_empty(), "{}: {}", object.uri, answer.text());
            }
        }
    }
    Ok(latest)
}

async fn playlist(url: &str) -> anyhow::Result<(String, Media)> {
    let answer = get(url).await?;
    ensure!(answer.status == 200, "{url}: {} {}", answer.status, answer.text());
    match follow::read(&answer.text())? {
        Followed::Media(media) => Ok((answer.text(), media)),
        Followed::Multivariant(_) => anyhow::bail!("{url} is a multivariant playlist"),
    }
}

fn origin(folder: &Path, name: &str, (http, rtmp): (u16, u16), other: u16) -> anyhow::Result<Child> {
    let text = format!(
        "[origin]\nhttp_listen = \"127.0.0.1:{http}\"\nrtmp_listen = \"127.0.0.1:{rtmp}\"\n\
         [origin.ingest]\nopen = true\n[origin.ladder]\nrungs = [{{ height = 180, bitrate = 200000 }}]\n\
         [origin.twin]\nurl = \"http://127.0.0.1:{other}\"\ntoken = \"0123456789abcdef\"\n"
    );
    tier("origin", folder, name, &text)
}

fn tier(role: &str, folder: &Path, name: &str, config: &str) -> anyhow::Result<Child> {
    let file = folder.join(name).with_extension("toml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(vivid_binary()?);
    command.arg(role).arg("--config").arg(&file).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command.spawn()?)
}

/// One encoder that publishes to both, and does not mind that one of them goes.
fn encoder(ports: [u16; 2]) -> anyhow::Result<Child> {
    let to = ports.map(|port| format!("[f=flv:onfail=ignore]rtmp://127.0.0.1:{port}/live/show")).join("|");
    Command::new("ffmpeg")
        .args(["-nostdin", "-v", "fatal", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"])
        .args(["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-map", "0:v", "-map", "1:a"])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "60", "-sc_threshold", "0"])
        .args(["-pix_fmt", "yuv420p", "-b:v", "200k", "-c:a", "aac", "-flags", "+global_header", "-f", "tee"])
        .args(["-use_fifo", "1", "-fifo_options", "attempt_recovery=1:recovery_wait_time=1:drop_pkts_on_overflow=1"])
        .arg(to)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("ffmpeg does not start")
}
