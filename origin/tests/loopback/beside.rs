//! Thumbnails and subtitles: their segments on the line of the others, told everywhere, and there again after a restart.

use crate::archive::{keeping, recorded};
use crate::clip::{Clip, Recipe};
use crate::follower::Follower;
use crate::http::Client;
use crate::world::{World, config};
use config::{ExpectedTrack, Streams};
use media::TrackKind;
use origin::{Ingested, Said};
use std::path::Path;
use std::time::Duration;

fn on_disk(path: &Path) -> config::Origin {
    config(|config| {
        config.disk.path = Some(path.to_owned());
        config.window.memory = Duration::from_secs(6);
        config.window.length = Duration::from_secs(300);
        config.ingest.linger = Duration::from_secs(30);
    })
}

async fn text(client: &Client, path: &str) -> String {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text().to_owned()
}

/// Asks until it says so.
async fn until(client: &Client, path: &str, holds: impl Fn(&str) -> bool) {
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    while !holds(client.get(path).await.text()) {
        clock.tick().await;
    }
}

/// The URIs of a playlist's segments, without their extension.
fn stems(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| !line.starts_with('#')).map(|uri| uri.rsplit_once('.').unwrap().0).collect()
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9])
}

/// Texts by the time of the clip, in milliseconds from its first picture.
fn with_texts(mut clip: Clip, texts: &[(i64, Option<&str>, &str)]) -> Clip {
    let picture = |item: &Ingested| match item {
        Ingested::Frame(frame) if frame.kind == TrackKind::Video => Some(frame.pts),
        _ => None,
    };
    let zero_ms = clip.items.iter().find_map(picture).unwrap();
    for (ms, language, text) in texts {
        let at_ms = zero_ms + ms;
        let at = clip.items.iter().position(|item| picture(item).is_some_and(|pts| pts >= at_ms)).unwrap();
        let (language, text) = (language.map(str::to_owned), (*text).to_owned());
        clip.items.insert(at, Ingested::Text(Said { at_ms, language, track: None, text }));
    }
    clip
}

#[tokio::test(flavor = "multi_thread")]
async fn every_segment_has_an_image_and_every_way_to_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(on_disk(folder.path()));
    drop(world.play("a", Recipe::regular(21).clip(), 3.0).await.unwrap());
    // The last segment is half as long as the others.
    for rendition in ["thumbs", "180p"] {
        until(&world.client, &format!("/live/a/{rendition}/index.m3u8"), |said| stems(said).len() == 11).await;
    }
    let multivariant = text(&world.client, "/live/a/index.m3u8").await;
    assert!(multivariant.contains("RESOLUTION=160x90,CODECS=\"jpeg\",URI=\"thumbs/index.m3u8\"\n"), "{multivariant}");
    let images = text(&world.client, "/live/a/thumbs/index.m3u8").await;
    let pictures = text(&world.client, "/live/a/180p/index.m3u8").await;
    assert!(images.contains("#EXT-X-IMAGES-ONLY\n") && !images.contains("EXT-X-MAP"), "{images}");
    assert!(!images.contains("#EXT-X-PART") && !images.contains("RENDITION-REPORT:URI=\"../thumbs"), "{images}");
    assert!(!pictures.contains("thumbs"), "{pictures}");
    assert_eq!(stems(&pictures), stems(&images));
    let tiles = "#EXT-X-TILES:RESOLUTION=160x90,LAYOUT=2x1,DURATION=1.00000\n#EXTINF:2.00000,\n";
    assert_eq!(images.matches(tiles).count(), 10, "{images}");
    for line in
        ["#EXT-X-MEDIA-SEQUENCE", "#EXT-X-TARGETDURATION", "#EXT-X-PROGRAM-DATE-TIME", "#EXT-X-DISCONTINUITY-SEQUENCE"]
    {
        let first = |text: &str| text.lines().find(|said| said.starts_with(line)).map(str::to_owned);
        assert_eq!(first(&images), first(&pictures));
    }
    let stem = stems(&images)[1];
    let image = world.client.get(&format!("/live/a/thumbs/{stem}.jpg")).await;
    assert_eq!((image.status.as_u16(), image.header("content-type")), (200, "image/jpeg"));
    assert!(is_jpeg(&image.body));
    for path in [
        format!("thumbs/{stem}.m4s"),
        format!("180p/{stem}.jpg"),
        "thumbs/iframes.m3u8".into(),
        "180p/index.vtt".into(),
    ] {
        assert_eq!(world.client.get(&format!("/live/a/{path}")).await.status, 404, "{path}");
    }
    let sprites = text(&world.client, "/live/a/thumbs/index.vtt").await;
    let cue = format!("\n\n00:00:03.000 --> 00:00:04.000\n{stem}.jpg#xywh=160,0,160,90\n");
    assert!(sprites.starts_with("WEBVTT\n\nNOTE 00:00:00.000 is 20") && sprites.contains(&cue), "{sprites}");
    let mpd = text(&world.client, "/live/a/index.mpd").await;
    let tile = "value=\"2x1\"/>";
    assert!(mpd.contains("mimeType=\"image/jpeg\"") && mpd.contains(tile) && mpd.contains("$Number$.jpg\""), "{mpd}");

    // A new process finds them.
    world.stop().await;
    let world = World::start(on_disk(folder.path()));
    let again = text(&world.client, "/live/a/thumbs/index.m3u8").await;
    assert!(stems(&again).starts_with(&stems(&images)), "{again}");
    for stem in stems(&images) {
        assert!(is_jpeg(&world.client.get(&format!("/live/a/thumbs/{stem}.jpg")).await.body), "{stem}");
    }
    assert_eq!(world.client.get(&format!("/live/a/thumbs/{stem}.jpg")).await.body, image.body);
    assert!(text(&world.client, "/live/a/index.m3u8").await.contains("EXT-X-IMAGE-STREAM-INF"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_the_images_waits_for_the_next() {
    let world = World::start(config(|_| {}));
    let playing = world.play("a", Recipe::regular(12).clip(), 2.0);
    let mut follower = Follower::join(&world.client, "a", "180p").await;
    let next = follower.media.head.next.msn;
    let path = format!("/live/a/thumbs/index.m3u8?_HLS_msn={next}&_HLS_part=0");
    let (answer, _) = tokio::join!(world.client.get(&path), follower.step());
    assert!(stems(answer.text()).last().unwrap().ends_with(&next.to_string()), "{}", answer.text());
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_thumbnails_nothing_of_them_is_told() {
    let world = World::start(config(|config| config.ladder.thumbnails = None));
    let publisher = world.play("a", Recipe::regular(8).clip(), 3.0).await.unwrap();
    assert!(!text(&world.client, "/live/a/index.m3u8").await.contains("IMAGE"));
    assert!(!text(&world.client, "/live/a/index.mpd").await.contains("image"));
    assert_eq!(world.client.get("/live/a/thumbs/index.m3u8").await.status, 404);
    drop(publisher);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_the_publisher_is_a_rendition_on_the_line_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(on_disk(folder.path()));
    let texts = [
        (4_500, Some("en"), "Hello <b>there</b> -->"),
        (7_000, Some("en"), "Goodbye"),
        (8_200, None, "no language"),
        (9_000, Some("en"), ""),
    ];
    drop(world.play("a", with_texts(Recipe::regular(16).clip(), &texts), 2.0).await.unwrap());
    let multivariant = text(&world.client, "/live/a/index.m3u8").await;
    let told = "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"subtitles\",NAME=\"en\",LANGUAGE=\"en\",AUTOSELECT=YES,URI=\"text-en/index.m3u8\"\n";
    assert!(multivariant.contains(told), "{multivariant}");
    assert_eq!(multivariant.matches(",SUBTITLES=\"subtitles\"\n").count(), 2, "{multivariant}");
    let subtitles = text(&world.client, "/live/a/text-en/index.m3u8").await;
    let pictures = text(&world.client, "/live/a/180p/index.m3u8").await;
    // It begins with the segment in which the first text came: the third.
    assert_eq!(stems(&pictures)[2..].first(), stems(&subtitles).first(), "{subtitles}");
    assert!(pictures.contains("#EXT-X-RENDITION-REPORT:URI=\"../text-en/index.m3u8\",LAST-MSN="), "{pictures}");
    let mut said = Vec::new();
    for stem in stems(&subtitles) {
        let file = world.client.get(&format!("/live/a/text-en/{stem}.vtt")).await;
        assert_eq!((file.status.as_u16(), file.header("content-type")), (200, "text/vtt; charset=utf-8"));
        let file = file.text().to_owned();
        assert!(file.starts_with("WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:"), "{file}");
        said.push(file.split_once("\n\n").map_or("", |(_, cues)| cues).to_owned());
    }
    let expected = [
        "00:00:04.500 --> 00:00:06.000\nHello &lt;b&gt;there&lt;/b&gt; --&gt;\n",
        "00:00:06.000 --> 00:00:07.000\nHello &lt;b&gt;there&lt;/b&gt; --&gt;\n\n00:00:07.000 --> 00:00:08.000\nGoodbye\n",
        "00:00:08.000 --> 00:00:09.000\nGoodbye\n",
        "",
    ];
    assert_eq!(said[..4], expected);
    // In the media's own time, which the epoch's zero has in its date.
    let mpegts = text(&world.client, &format!("/live/a/text-en/{}.vtt", stems(&subtitles)[0])).await;
    let mpegts: u64 = mpegts.split("MPEGTS:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!(mpegts < 1 << 33);
    assert!(!text(&world.client, "/live/a/index.mpd").await.contains("vtt"));
    assert_eq!(world.metric("vivid_origin_texts_total{result=\"shown\"}").await, 4.0);

    world.stop().await;
    let world = World::start(on_disk(folder.path()));
    let again = text(&world.client, "/live/a/text-en/index.m3u8").await;
    assert!(stems(&again).starts_with(&stems(&subtitles)), "{again}\nafter\n{subtitles}");
    for (stem, cues) in stems(&subtitles).iter().zip(&said) {
        assert!(text(&world.client, &format!("/live/a/text-en/{stem}.vtt")).await.ends_with(cues.as_str()), "{stem}");
    }
    assert!(text(&world.client, "/live/a/index.m3u8").await.contains(told));
    // And a publisher that comes back goes on with them, whether it says anything or not.
    let publisher = world.publish("a").unwrap();
    crate::world::send(&publisher, Recipe::regular(8).clip().later(60_000), 3.0).await;
    let (subtitles, pictures) =
        (text(&world.client, "/live/a/text-en/index.m3u8").await, text(&world.client, "/live/a/180p/index.m3u8").await);
    assert_eq!(stems(&subtitles).last(), stems(&pictures).last());
    assert!(subtitles.contains("#EXT-X-DISCONTINUITY\n") && !subtitles.contains("EXT-X-GAP"), "{subtitles}");
    // A period that was told without them stays as it was; the next one has them from its beginning.
    let mpd = text(&world.client, "/live/a/index.mpd").await;
    let periods: Vec<_> = mpd.split("<Period ").skip(1).map(|period| period.matches("wvtt").count()).collect();
    let (last, before) = periods.split_last().unwrap();
    assert!(*last == 2 && !before.is_empty() && before.iter().all(|&count| count == 0), "{mpd}");
}

/// Numbers and folder of a set's segments in an MPD, from its `startNumber` on.
fn text_set(mpd: &str) -> (u64, String) {
    let set = mpd
        .split("<AdaptationSet ")
        .find(|set| set.contains("contentType=\"text\""))
        .unwrap_or_else(|| panic!("{mpd}"));
    let of = |name: &str| set.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap().to_owned();
    assert!(set.contains("lang=\"en\" mimeType=\"application/mp4\"") && set.contains("codecs=\"wvtt\""), "{set}");
    assert_eq!(of("Representation id"), "cues-en");
    (of("startNumber").parse().unwrap(), of(" media").replace("$RepresentationID$/", "").replace("$Number$.m4s", ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mpd_has_the_same_text_in_mp4_live_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let english = ExpectedTrack { streams: Streams::of("a"), language: Some("en".to_owned()), track: None };
    let mut config = keeping(folder.path(), |_| {});
    (config.subtitles.expected, config.window.length) = (vec![english], Duration::from_secs(60));
    let world = World::start(config);
    let texts = [(4_500, Some("en"), "one & two"), (7_000, Some("en"), "")];
    let publisher = world.play("a", with_texts(Recipe::regular(10).clip(), &texts), 3.0).await.unwrap();
    let (first, epoch) = text_set(&text(&world.client, "/live/a/index.mpd").await);
    let files = text(&world.client, "/live/a/text-en/index.m3u8").await;
    let mut live = Vec::new();
    for (index, stem) in stems(&files).iter().enumerate() {
        assert_eq!(*stem, format!("{epoch}{}", first + index as u64));
        let segment = world.client.get(&format!("/live/a/cues-en/{stem}.m4s")).await;
        assert_eq!((segment.status.as_u16(), segment.header("content-type")), (200, "application/mp4"));
        let file = text(&world.client, &format!("/live/a/text-en/{stem}.vtt")).await;
        let says = |bytes: &[u8]| bytes.windows(13).any(|window| window == b"one &amp; two");
        assert_eq!(says(&segment.body), says(file.as_bytes()), "{file}");
        live.push((format!("{stem}.m4s"), segment.body));
    }
    let is_said = |bytes: &[u8]| bytes.windows(4).any(|name| name == b"payl");
    assert_eq!(
        live.iter().map(|(_, bytes)| is_said(bytes)).collect::<Vec<_>>()[..5],
        [false, false, true, true, false]
    );
    let init = world.client.get(&format!("/live/a/cues-en/{epoch}init.mp4")).await;
    assert_eq!((init.status.as_u16(), init.header("content-type")), (200, "application/mp4"));
    let playlist = text(&world.client, "/live/a/cues-en/index.m3u8").await;
    assert!(playlist.contains(&format!("#EXT-X-MAP:URI=\"{epoch}init.mp4\"\n")), "{playlist}");
    let multivariant = text(&world.client, "/live/a/index.m3u8").await;
    assert!(!multivariant.contains("cues"), "players of HLS have the files: {multivariant}");

    drop(publisher);
    let recording = recorded(&world.client, 1).await.remove(0).folder;
    let mpd = text(&world.client, &format!("{recording}/index.mpd")).await;
    assert_eq!(text_set(&mpd), (first, epoch.clone()));
    let again = world.client.get(&format!("{recording}/cues-en/{epoch}init.mp4")).await;
    assert_eq!((again.body, again.headers["content-type"].to_str().unwrap()), (init.body, "application/mp4"));
    for (name, bytes) in live {
        let again = world.client.get(&format!("{recording}/cues-en/{name}")).await;
        assert_eq!((again.status.as_u16(), again.header("content-type")), (200, "application/mp4"), "{name}");
        assert_eq!(again.body, bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tracks_than_may_be_are_not_taken() {
    let world = World::start(config(|config| config.subtitles.tracks_max = 2));
    let texts: Vec<_> =
        ["a", "b", "c", "d"].iter().enumerate().map(|(at, name)| (5000 + at as i64 * 100, Some(*name), "x")).collect();
    let publisher = world.play("a", with_texts(Recipe::regular(10).clip(), &texts), 3.0).await.unwrap();
    assert_eq!(text(&world.client, "/live/a/index.m3u8").await.matches("TYPE=SUBTITLES").count(), 2);
    assert_eq!(world.metric("vivid_origin_texts_total{result=\"bounded\"}").await, 2.0);
    drop(publisher);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_that_is_expected_is_told_before_anything_is_said() {
    let english = |stream| ExpectedTrack { streams: Streams::of(stream), language: Some("en".to_owned()), track: None };
    let world = World::start(config(|config| config.subtitles.expected = vec![english("a"), english("b*")]));
    let publisher = world.play("a", with_texts(Recipe::regular(10).clip(), &[(6000, Some("en"), "hi")]), 3.0);
    let publisher = publisher.await.unwrap();
    let playlist = text(&world.client, "/live/a/index.m3u8").await;
    assert_eq!(playlist.matches("TYPE=SUBTITLES").count(), 1, "{playlist}");
    let segments = text(&world.client, "/live/a/text-en/index.m3u8").await;
    let pictures = text(&world.client, "/live/a/180p/index.m3u8").await;
    assert_eq!(stems(&segments).first(), stems(&pictures).first(), "from the first segment on");
    drop(publisher);
}
