//! A ladder in several codecs: live, recorded, over a restart, and told to players as its init sections have it.

use crate::archive::{keeping, playlist, recorded, segments, until, watch};
use crate::clip::Recipe;
use crate::encryption::periods;
use crate::follower::Follower;
use crate::http::Client;
use crate::players::{Told, decode, read_whole};
use crate::world::{World, config, send};
use bytes::Bytes;
use config::{Config, Ladder};
use manifest::follow::Media;
use mp4_atom::{Codec, Decode, Ftyp, Hvcc, Moov};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Each rung in its codec, and the codec's name in a file.
pub(crate) const PICTURES: [(&str, &str); 5] =
    [("180p", "avc1"), ("90p", "avc1"), ("90p-av1", "av01"), ("90p-hevc", "hvc1"), ("90p-vp9", "vp09")];
pub(crate) const SOUNDS: [(&str, &str); 2] = [("audio", "mp4a"), ("audio-opus", "opus")];

/// Rungs of these codecs as small and as fast as can be, and sound in AAC and Opus.
pub(crate) fn ladder(codecs: &[&str]) -> Ladder {
    let rung = |codec: &&str| {
        let preset = match *codec {
            "h264" | "hevc" => "\"ultrafast\"",
            "av1" => "13",
            _ => "8",
        };
        format!("{{ height = 90, bitrate = 100000, codec = \"{codec}\", preset = {preset} }}")
    };
    let rungs: Vec<String> = codecs.iter().map(rung).collect();
    let text = format!("[origin.ladder]\naudio_codecs = [\"aac\", \"opus\"]\nrungs = [{}]\n", rungs.join(", "));
    Config::parse(&text, []).unwrap().origin.unwrap().ladder
}

/// Nothing is left out for want of time, however busy the machine is: what is counted here is what must be there.
pub(crate) fn patient(config: &mut config::Origin) {
    config.worker.behind = Duration::from_secs(60);
    config.worker.hang = Duration::from_secs(60);
}

/// What `CODECS` has to say of an init section (RFC 6381, and the bindings of each codec), by another reader than ours.
fn codec_of(init: &Bytes) -> String {
    let mut rest: &[u8] = init;
    Ftyp::decode(&mut rest).unwrap();
    let moov = Moov::decode(&mut rest).unwrap();
    match &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] {
        Codec::Avc1(entry) => {
            let record = &entry.avcc;
            let [profile, limits] = [record.avc_profile_indication, record.profile_compatibility];
            format!("avc1.{profile:02x}{limits:02x}{:02x}", record.avc_level_indication)
        }
        Codec::Av01(entry) => {
            let record = &entry.av1c;
            assert!(!record.high_bitdepth && !record.seq_tier_0);
            format!("av01.{}.{:02}M.08", record.seq_profile, record.seq_level_idx_0)
        }
        Codec::Hvc1(entry) => {
            let Hvcc { general_profile_idc, general_profile_compatibility_flags, .. } = &entry.hvcc;
            let Hvcc { general_level_idc, general_constraint_indicator_flags: constraints, .. } = &entry.hvcc;
            let compatible = u32::from_be_bytes(*general_profile_compatibility_flags).reverse_bits();
            assert_eq!(constraints[1..], [0; 5]);
            format!("hvc1.{general_profile_idc}.{compatible:X}.L{general_level_idc}.{:X}", constraints[0])
        }
        Codec::Vp09(entry) => {
            let record = &entry.vpcc;
            format!("vp09.{:02}.{:02}.{:02}", record.profile, record.level, record.bit_depth)
        }
        Codec::Mp4a(entry) => {
            let set_up = entry.esds.es_desc.dec_config.dec_specific.as_ref().unwrap();
            format!("mp4a.40.{}", set_up.raw[0] >> 3)
        }
        Codec::Opus(_) => "opus".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The value of an attribute of a playlist or an MPD.
fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name}: {line}"));
    rest.split('"').next().unwrap()
}

/// Every picture is a variant with each of the sounds, and says of both what their init sections say.
fn check_multivariant(text: &str, held: &BTreeMap<&str, String>) {
    let mut pairs = BTreeSet::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("#EXT-X-STREAM-INF:") {
            let picture = lines.next().unwrap().split('/').next().unwrap();
            let sound = attribute(line, "AUDIO");
            assert_eq!(attribute(line, "CODECS"), format!("{},{}", held[picture], held[sound]), "{line}");
            assert!(pairs.insert((picture, sound)), "{picture} with {sound} is there twice: {text}");
        }
        if line.starts_with("#EXT-X-I-FRAME-STREAM-INF:") {
            let picture = attribute(line, "URI").split('/').next().unwrap();
            assert_eq!(attribute(line, "CODECS"), held[picture], "{line}");
        }
    }
    assert_eq!(pairs.len(), PICTURES.len() * SOUNDS.len(), "{text}");
    assert_eq!(text.matches("#EXT-X-I-FRAME-STREAM-INF:").count(), PICTURES.len(), "{text}");
    // RFC 8216bis, 4.4.6.1.1: groups have the same members.
    let groups: Vec<&str> = text.lines().filter(|line| line.starts_with("#EXT-X-MEDIA:TYPE=AUDIO")).collect();
    assert!(groups.len() == SOUNDS.len() && groups.iter().all(|line| attribute(line, "NAME") == "audio"), "{text}");
}

/// Players switch within a set without setting up a decoder anew: each has one codec, said as the init sections say it.
fn check_mpd(text: &str, held: &BTreeMap<&str, String>) {
    let mut families = Vec::new();
    for set in text.split("<AdaptationSet ").skip(1).filter(|set| !set.contains("image/jpeg")) {
        let of_set: BTreeSet<&str> = set
            .split("<Representation ")
            .skip(1)
            .map(|one| {
                let codecs = attribute(one, "codecs");
                assert_eq!(codecs, held[attribute(one, "id")], "{one}");
                codecs.split('.').next().unwrap()
            })
            .collect();
        assert_eq!(of_set.len(), 1, "{set}");
        families.extend(of_set);
    }
    assert_eq!(families, ["avc1", "av01", "hvc1", "vp09", "mp4a", "opus"], "{text}");
}

/// Frames in their order, as many as there should be, without a word of complaint.
fn assert_whole(told: &Told, rendition: &str, seconds: usize) {
    assert_eq!(told.complaints, "", "{rendition}");
    let frames = match rendition {
        "audio" => seconds * 48_000 / 1024,
        "audio-opus" => seconds * 50,
        _ => seconds * 30,
    };
    assert!(told.frames.abs_diff(frames) <= 3, "{rendition}: {} of {frames}", told.frames);
    assert!(told.times_s.windows(2).all(|pair| pair[0] < pair[1]), "{rendition} is out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_told_as_it_is_and_recorded_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = keeping(folder.path(), |_| {});
    config.ladder = ladder(&["h264", "av1", "hevc", "vp9"]);
    patient(&mut config);
    let world = World::start(config);
    let playing = world.play("a", Recipe::regular(10).clip(), 2.5);
    tokio::spawn(async { drop(playing.await) });
    let (client, all) = (&world.client, PICTURES.iter().chain(&SOUNDS));
    let watching: Vec<_> = all.clone().map(|(name, _)| tokio::spawn(watch(client.clone(), name))).collect();
    Follower::join(client, "a", "180p").await;
    let live = [client.get("/live/a/index.m3u8").await, client.get("/live/a/index.mpd").await];

    let mut seen = BTreeMap::new();
    for watching in watching {
        let (rendition, objects) = watching.await.unwrap();
        seen.insert(rendition, objects);
    }
    let held: BTreeMap<&str, String> = seen
        .iter()
        .map(|(rendition, objects)| {
            let inits: Vec<&Bytes> = objects.iter().filter(|(uri, _)| uri.contains("init")).map(|(_, b)| b).collect();
            assert_eq!(inits.len(), 1, "{rendition}");
            (*rendition, codec_of(inits[0]))
        })
        .collect();
    for (rendition, family) in all.clone() {
        assert_eq!(held[rendition].split('.').next(), Some(*family), "{rendition}");
        assert_whole(&decode(world.addr, &format!("a/{rendition}/index.m3u8")).await, rendition, 10);
    }
    let recording = recorded(client, 1).await.remove(0);
    let at = |kind: &str| format!("{}/index.{kind}", recording.folder);
    for [playlist, mpd] in [live, [client.get(&at("m3u8")).await, client.get(&at("mpd")).await]] {
        assert!(playlist.status == 200 && mpd.status == 200, "{} {}", playlist.text(), mpd.text());
        check_multivariant(playlist.text(), &held);
        check_mpd(mpd.text(), &held);
    }
    for (rendition, _) in all {
        let path = format!("{}/{rendition}", recording.folder);
        let (_, media) = playlist(client, &format!("{path}/index.m3u8")).await;
        for uri in segments(&media) {
            let recorded = client.get(&format!("{path}/{uri}")).await;
            assert_eq!((recorded.status.as_u16(), Some(&recorded.body)), (200, seen[rendition].get(&uri)), "{uri}");
        }
        assert_whole(&read_whole(&format!("http://{}{path}/index.m3u8", world.addr)).await, rendition, 10);
    }
}

/// Each life of the encoder, from its init section on, as a file that FFmpeg reads; so many segments of two seconds.
async fn check_lives(client: &Client, folder: &Path, (rendition, lives): (&str, &[usize])) {
    let at = format!("/live/a/{rendition}/");
    let periods = periods(client, &at).await;
    assert_eq!(periods.len(), lives.len(), "{rendition}");
    for ((_, init, segments), least) in periods.iter().zip(lives) {
        assert!(segments.len() >= *least, "{rendition}: {segments:?}");
        let mut file = client.get(&format!("{at}{init}")).await.body.to_vec();
        for uri in segments {
            file.extend_from_slice(&client.get(&format!("{at}{uri}")).await.body);
        }
        let path = folder.join("life.mp4");
        std::fs::write(&path, file).unwrap();
        assert_whole(&read_whole(path.to_str().unwrap()).await, rendition, 2 * segments.len());
    }
}

/// The playlist once it has so many segments.
async fn with_segments(client: &Client, rendition: &str, count: usize) -> (String, Media) {
    until("the segments", async || {
        let (text, media) = playlist(client, &format!("/live/a/{rendition}/index.m3u8")).await;
        (segments(&media).len() >= count).then_some((text, media))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_shows_every_codec_again_and_its_publisher_goes_on_behind_a_discontinuity() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = || {
        config(|config| {
            config.disk.path = Some(folder.path().to_owned());
            config.ingest.linger = Duration::from_secs(30);
            config.ladder = ladder(&["av1", "hevc", "vp9"]);
            patient(config);
        })
    };
    let renditions = || PICTURES.iter().chain(&SOUNDS).map(|(name, _)| *name).filter(|name| *name != "90p");
    let clip = Recipe::regular(6).clip();
    let world = World::start(config());
    drop(world.play("a", clip.clone(), 3.0).await.unwrap());
    Follower::join(&world.client, "a", "180p").await;
    for rendition in renditions() {
        with_segments(&world.client, rendition, 3).await;
    }
    world.stop().await;

    let world = World::start(config());
    let client = &world.client;
    let mut before = BTreeMap::new();
    for rendition in renditions() {
        let (text, media) = with_segments(client, rendition, 3).await;
        // Sound of which an encoder has more than there are pictures is no segment of its own.
        assert!(!text.contains("EXT-X-GAP") && segments(&media).len() == 3, "{rendition}: {text}");
        check_lives(client, files.path(), (rendition, &[3])).await;
        before.insert(rendition, media);
    }
    let publisher = world.publish("a").unwrap();
    send(&publisher, Recipe::regular(8).clip().later(60_000), 3.0).await;
    for rendition in renditions() {
        let (text, is) = with_segments(client, rendition, 6).await;
        let was = &before[rendition];
        assert!(is.head.next > was.head.next && is.first_msn == was.first_msn, "{rendition}: {text}");
        assert_eq!(segments(&is)[..3], segments(was), "{rendition}");
        assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{rendition}: {text}");
        check_lives(client, files.path(), (rendition, &[3, 3])).await;
    }
    assert_eq!(world.metric("vivid_origin_epochs_total{reason=\"publisher_back\"}").await, 1.0);
    drop(publisher);
}
