//! Other people's readers on what the origin says: FFmpeg plays a live and an ended stream without a complaint.

use crate::clip::{Clip, REGULAR, Recipe};
use crate::follower::Follower;
use crate::world::{World, config};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_decodes_an_ended_stream_to_the_last_frame() {
    let world = World::start(config(|_| {}));
    drop(world.play("a", Recipe::regular(6).clip(), 3.0).await.unwrap());
    Follower::join(&world.client, "a", "180p").await.follow_to_end().await;
    for (rendition, frames) in [("180p", 180), ("90p", 180), ("audio", 281)] {
        let told = decode(world.addr, &format!("a/{rendition}/index.m3u8")).await;
        assert_eq!(told.complaints, "", "{rendition}");
        assert!((frames - 2..=frames + 2).contains(&told.frames), "{rendition}: {} of {frames}", told.frames);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_decodes_reordered_frames_in_their_order() {
    let world = World::start(config(|_| {}));
    let video = &["-g", "60", "-sc_threshold", "0", "-bf", "3", "-b_strategy", "0"];
    drop(world.play("a", Recipe { video, ..Recipe::regular(6) }.clip(), 3.0).await.unwrap());
    Follower::join(&world.client, "a", "180p").await.follow_to_end().await;
    let told = decode(world.addr, "a/180p/index.m3u8").await;
    assert_eq!((told.complaints.as_str(), told.frames), ("", 180));
    assert!(told.times_s.windows(2).all(|pair| (pair[1] - pair[0] - 1.0 / 30.0).abs() < 0.002));
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_picture_begin_together() {
    let world = World::start(config(|_| {}));
    drop(world.play("a", Recipe::regular(5).clip(), 3.0).await.unwrap());
    Follower::join(&world.client, "a", "180p").await.follow_to_end().await;
    let (picture, sound) =
        (decode(world.addr, "a/180p/index.m3u8").await, decode(world.addr, "a/audio/index.m3u8").await);
    let apart = picture.times_s[0] - sound.times_s[0];
    assert!(apart.abs() < 0.022, "{apart} s apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_reads_the_ladder() {
    let world = World::start(config(|_| {}));
    drop(world.play("a", Recipe { video: REGULAR, ..Recipe::regular(5) }.clip(), 3.0).await.unwrap());
    Follower::join(&world.client, "a", "180p").await.follow_to_end().await;
    let url = format!("http://{}/live/a/index.m3u8", world.addr);
    let show = ["-v", "warning", "-err_detect", "explode", "-show_entries", "stream=codec_name,width,height"];
    let probed = Command::new("ffprobe").args(show).args(["-of", "csv=p=0", &url]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&probed.stderr), "");
    let mut streams: Vec<_> = std::str::from_utf8(&probed.stdout).unwrap().split_whitespace().collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams, ["aac", "h264,160,90", "h264,320,180"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ffmpeg_publishes_over_rtmp_is_played() {
    let world = World::start(config(|_| {}));
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=8"]);
    ffmpeg.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=8"]);
    ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p"]);
    ffmpeg.args(REGULAR).args(["-c:a", "aac", "-f", "flv", &format!("rtmp://{}/live/r", world.rtmp_addr)]);
    let mut publishing = ffmpeg.kill_on_drop(true).spawn().unwrap();
    let mut followers = Vec::new();
    for rendition in ["180p", "90p", "audio"] {
        let client = world.client.clone();
        followers.push(tokio::spawn(async move {
            let mut follower = Follower::join(&client, "r", rendition).await;
            follower.follow_to_end().await;
            follower
        }));
    }
    assert!(publishing.wait().await.unwrap().success());
    for follower in followers {
        let follower = follower.await.unwrap();
        assert!(follower.segments_checked >= 3, "{}", follower.text);
        assert!(!follower.text.contains("#EXT-X-DISCONTINUITY\n"), "{}", follower.text);
    }
    for rendition in ["180p", "90p", "audio"] {
        assert_eq!(decode(world.addr, &format!("r/{rendition}/index.m3u8")).await.complaints, "", "{rendition}");
    }
}

/// Not a check of speed: the bound is what a part may be late before players notice. The figures are printed.
#[tokio::test(flavor = "multi_thread")]
async fn parts_are_published_soon_after_their_last_frame() {
    let world = World::start(config(|_| {}));
    let clip: Clip = Recipe::regular(12).clip();
    drop(world.play("a", clip, 1.0).await.unwrap());
    let page = world.client.get("/_vivid/metrics").await;
    for make in ["passthrough", "encoded", "audio"] {
        let count = |le: &str| {
            let series = format!("vivid_origin_part_publish_delay_seconds_bucket{{make=\"{make}\",le=\"{le}\"}} ");
            let line = page.text().lines().find_map(|line| line.strip_prefix(&series));
            line.map_or(0.0, |value| value.parse::<f64>().unwrap())
        };
        let all = count("+Inf");
        println!(
            "{make}: {all} parts; within 1 ms {}, 20 ms {}, 100 ms {}",
            count("0.001"),
            count("0.02"),
            count("0.1")
        );
        assert!(all >= 24.0, "{make}: only {all} parts were measured");
        assert!(count("0.35") >= 0.95 * all, "{make}: too many parts were late");
    }
}

pub(crate) struct Told {
    pub(crate) complaints: String,
    pub(crate) frames: usize,
    pub(crate) times_s: Vec<f64>,
}

/// Decodes everything there is; any damage is an error.
pub(crate) async fn decode(addr: SocketAddr, manifest: &str) -> Told {
    read_whole(&format!("http://{addr}/live/{manifest}")).await
}

/// The same of any URL.
pub(crate) async fn read_whole(url: &str) -> Told {
    let show = ["-v", "warning", "-err_detect", "explode", "-show_entries", "frame=pts_time", "-of", "csv=p=0"];
    let mut ffprobe = Command::new("ffprobe");
    if url.ends_with(".m3u8") {
        ffprobe.args(["-live_start_index", "0"]);
    }
    ffprobe.args(show).arg(url).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), ffprobe.output()).await.expect("ffprobe hangs").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let times_s: Vec<f64> = text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    Told { complaints, frames: times_s.len(), times_s }
}
