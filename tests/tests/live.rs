//! One live stream through every tier: the same bytes everywhere, and what players other than ours make of it.

use anyhow::{Context, ensure};
use manifest::follow::{self, Class, Followed, Media};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tests::{Dev, get, get_with};
use tokio::process::{Child, Command};

#[tokio::test]
async fn every_tier_serves_the_same_bytes() {
    let dev = Dev::start(&[]).await.unwrap();
    dev.wait_live(&format!("{}/live/demo/index.m3u8", dev.url("cdn-b"))).await.unwrap();
    for rendition in ["720p", "360p", "audio"] {
        let path = format!("/live/demo/{rendition}");
        // Through an edge first: what it names must be at every tier.
        let media = whole_segment(&format!("{}{path}/index.m3u8", dev.url("cdn-a"))).await.unwrap();
        for class in [Class::Init, Class::Segment, Class::Part] {
            let uri = media.objects.iter().rev().find(|object| object.class == class).map(|object| object.uri.clone());
            let uri = uri.unwrap_or_else(|| panic!("{rendition} names no {class:?}"));
            let expected = get(&format!("{}{path}/{uri}", dev.url("origin"))).await.unwrap();
            assert_eq!(expected.status, 200, "{rendition} {uri}");
            for tier in ["shield", "cdn-a", "cdn-b"] {
                let answer = get(&format!("{}{path}/{uri}", dev.url(tier))).await.unwrap();
                assert_eq!(answer.status, 200, "{tier} {uri}");
                assert_eq!(answer.body, expected.body, "{tier} {uri}");
                assert_eq!(answer.header("access-control-allow-origin"), "*", "{tier} {uri}");
                assert!(answer.header("cache-control").contains("immutable"), "{tier} {uri}");
            }
        }
    }
}

#[tokio::test]
async fn a_blocking_reload_through_edge_and_shield_brings_the_next_part() {
    let dev = Dev::start(&[]).await.unwrap();
    dev.wait_live(&format!("{}/live/demo/index.m3u8", dev.url("cdn-a"))).await.unwrap();
    let url = format!("{}/live/demo/360p/index.m3u8", dev.url("cdn-a"));
    let mut next = media(&url).await.unwrap().head.next;
    for _ in 0..12 {
        let answer = get(&format!("{url}?_HLS_msn={}&_HLS_part={}", next.msn, next.part)).await.unwrap();
        assert_eq!(answer.status, 200);
        let Ok(Followed::Media(media)) = follow::read(&answer.text()) else { panic!("{}", answer.text()) };
        assert!(media.head.next > next, "{:?} after {next:?}", media.head.next);
        next = media.head.next;
    }
    for (query, status) in [
        ("_HLS_part=1", 400),
        ("_HLS_msn=x", 400),
        (&*format!("_HLS_msn={}", next.msn + 9), 400),
        ("_HLS_msn=1&_HLS_part=9999", 200),
        ("_HLS_msn=1", 200),
    ] {
        let answer = get(&format!("{url}?{query}")).await.unwrap();
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_router_declares_both_cdns_and_steers() {
    let dev = Dev::start(&[]).await.unwrap();
    let url = format!("{}/live/demo/index.m3u8", dev.url("router"));
    dev.wait_live(&url).await.unwrap();
    let playlist = get(&url).await.unwrap().text();
    for (id, tier) in [("cdn-a", "cdn-a"), ("cdn-b", "cdn-b")] {
        assert!(playlist.contains(&format!("PATHWAY-ID=\"{id}\"")), "{playlist}");
        assert!(playlist.contains(&format!("{}/live/demo/", dev.url(tier))), "{playlist}");
    }
    let (_, server) = playlist.split_once("SERVER-URI=\"").expect("steering is declared");
    let server = server.split('"').next().unwrap();
    let steering = get(&format!("{server}?_HLS_pathway=cdn-a&_HLS_throughput=5000000")).await.unwrap();
    assert_eq!(steering.status, 200);
    let document: serde_json::Value = serde_json::from_slice(&steering.body).unwrap();
    assert_eq!(document["VERSION"], 1);
    assert_eq!(document["PATHWAY-PRIORITY"].as_array().unwrap().len(), 2, "{document}");
}

#[tokio::test]
async fn a_file_with_long_irregular_gops_is_published_and_read_back() {
    let dev = Dev::start(&["--no-source"]).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clip.mp4");
    clip(&file, 30).await.unwrap();
    let mut publisher = publish(&file, &dev.publish_url("clip")).unwrap();
    let path = "/live/clip/index.m3u8";
    dev.wait_live(&format!("{}{path}", dev.url("router"))).await.unwrap();
    for tier in ["cdn-a", "router"] {
        let warnings = read(&format!("{}{path}", dev.url(tier))).await.unwrap();
        assert!(warnings.is_empty(), "{tier}: {warnings}");
    }
    publisher.kill().await.unwrap();
}

#[tokio::test]
async fn range_requests_of_native_players_are_answered_everywhere() {
    let dev = Dev::start(&[]).await.unwrap();
    let master = format!("{}/live/demo/index.m3u8", dev.url("cdn-a"));
    dev.wait_live(&master).await.unwrap();
    let playlist = format!("{}/live/demo/360p/index.m3u8", dev.url("cdn-a"));
    let media = whole_segment(&playlist).await.unwrap();
    let segment = media.objects.iter().find(|object| object.class == Class::Segment).expect("a segment");
    let segment = format!("{}/live/demo/360p/{}", dev.url("cdn-a"), segment.uri);
    for url in [master, playlist, segment.clone()] {
        let answer = get_with(&url, &[("range", "bytes=0-")]).await.unwrap();
        assert!(answer.status == 200 || answer.status == 206, "{url}: {}", answer.status);
        assert!(!answer.body.is_empty());
    }
    let whole = get(&segment).await.unwrap().body;
    let middle = get_with(&segment, &[("range", "bytes=10-19")]).await.unwrap();
    assert_eq!((middle.status.as_u16(), &middle.body[..]), (206, &whole[10..20]));
    assert_eq!(middle.header("content-range"), format!("bytes 10-19/{}", whole.len()));
}

async fn media(url: &str) -> anyhow::Result<Media> {
    match follow::read(&get(url).await?.text())? {
        Followed::Media(media) => Ok(media),
        Followed::Multivariant(_) => anyhow::bail!("{url} is a multivariant playlist"),
    }
}

/// The playlist once it has a whole segment.
async fn whole_segment(url: &str) -> anyhow::Result<Media> {
    let first = media(url).await?;
    if first.objects.iter().any(|object| object.class == Class::Segment) {
        return Ok(first);
    }
    media(&format!("{url}?_HLS_msn={}", first.head.next.msn)).await
}

/// A picture and a tone; key frames where the encoder likes, up to 250 frames apart.
async fn clip(file: &Path, seconds: u32) -> anyhow::Result<()> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x480:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", &seconds.to_string()])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac"])
        .arg(file)
        .output()
        .await
        .context("ffmpeg does not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Decodes 4 s of picture and tone; what FFmpeg has to warn of.
async fn read(url: &str) -> anyhow::Result<String> {
    let read = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "warning", "-i", url, "-t", "4", "-map", "0:v:0", "-map", "0:a:0", "-f", "null", "-"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), read).await.context("ffmpeg does not end")??;
    ensure!(output.status.success(), "ffmpeg fails: {}", String::from_utf8_lossy(&output.stderr));
    // What FFmpeg 5.1 says of itself: it reads the same init section again after each playlist reload and then warns
    // that it has it, and it tries to keep one connection for two hosts.
    let habits =
        ["Found duplicated MOOV Atom", "Cannot reuse HTTP connection for different host", "keepalive request failed"];
    let own = |line: &&str| !habits.iter().any(|habit| line.contains(habit));
    Ok(String::from_utf8_lossy(&output.stderr).lines().filter(own).collect::<Vec<_>>().join("\n"))
}

/// The very command of the README.
fn publish(file: &Path, url: &str) -> anyhow::Result<Child> {
    let command = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-re", "-i"])
        .arg(file)
        .args(["-c", "copy", "-f", "flv", url])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    command.context("ffmpeg does not start")
}
