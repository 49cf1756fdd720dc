//! Encrypted streams: FFmpeg decrypts what comes out, keys go to who may have them, and no failure leaves media in the clear.

use crate::archive::{keeping, recorded};
use crate::clip::Recipe;
use crate::codecs::{ladder, patient};
use crate::follower::Follower;
use crate::http::Client;
use crate::players::{decode, read_whole};
use crate::world::{World, config};
use config::{EncryptedStreams, EncryptionMethod, HlsKeys, KeyServer, KeySource, Streams};
use http::Method;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

/// Two segments of it.
const ROTATE: Duration = Duration::from_secs(4);

/// `pay` is encrypted by samples, `old` by whole segments, and nothing else.
fn encrypted(change: impl FnOnce(&mut config::Origin)) -> config::Origin {
    let rule = |stream: &str, method| EncryptedStreams { streams: Streams::of(stream), method };
    config(|config| {
        config.encryption.streams = vec![rule("pay", EncryptionMethod::Cbcs), rule("old", EncryptionMethod::Aes128)];
        config.encryption.rotate = Some(ROTATE);
        config.encryption.keys = KeySource::Secret("0123456789abcdef".to_owned());
        change(config);
    })
}

/// The key, the init section and the segments of each period of a playlist.
pub(crate) async fn periods(client: &Client, folder: &str) -> Vec<(Option<String>, String, Vec<String>)> {
    let playlist = client.get(&format!("{folder}index.m3u8")).await;
    assert_eq!(playlist.status, 200, "{}", playlist.text());
    let value = |line: &str| line.split('"').nth(1).unwrap().to_owned();
    let (mut key, mut periods) = (None, Vec::new());
    for line in playlist.text().lines() {
        match line {
            _ if line.starts_with("#EXT-X-KEY:METHOD=SAMPLE-AES") => key = Some(value(line)),
            _ if line.starts_with("#EXT-X-MAP:") => periods.push((key.clone(), value(line), Vec::new())),
            _ if !line.starts_with('#') => {
                let (_, _, segments) = periods.last_mut().unwrap();
                segments.push(line.to_owned());
            }
            _ => {}
        }
    }
    periods
}

/// Where a playlist of a rendition means, in the folder of its stream or recording.
fn key_path(folder: &str, uri: &str) -> String {
    format!("{folder}/{}", uri.strip_prefix("../").unwrap())
}

/// Hashes of all samples as FFmpeg decrypts them; it complains of nothing. By a pipe: of a file with several fragments it
/// takes the wrong one's encryption.
async fn decrypted(client: &Client, (of, key): (&str, Option<&String>), media: Vec<u8>, input: &[&str]) -> Vec<String> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "warning"]);
    if let Some(uri) = key {
        let key = client.get(&key_path(of, uri)).await.body;
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        ffmpeg.args(["-decryption_key", &hex]);
    }
    ffmpeg.args(input).args(["-c", "copy", "-f", "framemd5", "-"]);
    let piped = ffmpeg.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn().expect("the tests need Debian's ffmpeg");
    let mut stdin = child.stdin.take().unwrap();
    let feeding = tokio::spawn(async move { stdin.write_all(&media).await });
    let output = child.wait_with_output().await.unwrap();
    feeding.await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').nth(5).unwrap().trim().to_owned()).collect()
}

/// Of all samples of a rendition, and under how many keys they were.
async fn samples(client: &Client, of: &str, rendition: &str) -> (Vec<String>, usize) {
    let folder = format!("{of}/{rendition}/");
    let (mut hashes, periods) = (Vec::new(), periods(client, &folder).await);
    for (key, init, segments) in &periods {
        let mut media = client.get(&format!("{folder}{init}")).await.body.to_vec();
        for segment in segments {
            media.extend_from_slice(&client.get(&format!("{folder}{segment}")).await.body);
        }
        hashes.extend(decrypted(client, (of, key.as_ref()), media, &["-i", "pipe:"]).await);
    }
    (hashes, periods.len())
}

/// The same of the pictures in an I-frame playlist, each of its range of bytes alone.
async fn key_frames(client: &Client, of: &str, rendition: &str) -> Vec<String> {
    let folder = format!("{of}/{rendition}/");
    let playlist = client.get(&format!("{folder}iframes.m3u8")).await;
    let value = |line: &str| Some(line.split('"').nth(1).unwrap().to_owned());
    let (mut key, mut map, mut range, mut hashes) = (None, None, String::new(), Vec::new());
    for line in playlist.text().lines() {
        match line.split_once(':').map_or(line, |(tag, _)| tag) {
            "#EXT-X-KEY" => key = value(line),
            "#EXT-X-MAP" => map = value(line),
            "#EXT-X-BYTERANGE" => {
                let bytes: u64 = line[17..].strip_suffix("@0").unwrap().parse().unwrap();
                range = format!("bytes=0-{}", bytes - 1);
            }
            _ if !line.starts_with('#') => {
                let mut media = client.get(&format!("{folder}{}", map.as_ref().unwrap())).await.body.to_vec();
                let picture = client.send(Method::GET, &format!("{folder}{line}"), &[("range", &range)]).await;
                assert_eq!(picture.status, 206);
                media.extend_from_slice(&picture.body);
                // The sample after it is announced and not there.
                let first = decrypted(client, (of, key.as_ref()), media, &["-i", "pipe:", "-frames:v", "1"]).await;
                assert_eq!(first.len(), 1, "{line}");
                hashes.extend(first);
            }
            _ => {}
        }
    }
    hashes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decrypted_is_what_went_in() {
    let world = World::start(encrypted(|config| {
        config.ladder = ladder(&["h264", "hevc"]);
        patient(config);
    }));
    let clip = Recipe { video: &["-g", "60", "-sc_threshold", "0", "-bf", "2"], ..Recipe::regular(12) }.clip();
    for stream in ["clear", "pay"] {
        let playing = world.play(stream, clip.clone(), 3.0);
        tokio::spawn(async { drop(playing.await) });
    }
    let mut follower = Follower::join(&world.client, "pay", "180p").await;
    follower.follow_to_end().await;
    assert!(follower.segments_checked >= 3, "parts are the segment: {}", follower.segments_checked);
    Follower::join(&world.client, "clear", "180p").await.follow_to_end().await;
    let all = [("180p", 360), ("90p", 350), ("90p-hevc", 350), ("audio", 550), ("audio-opus", 590)];
    for (rendition, least) in all {
        let ((encrypted, keys), (clear, _)) = (
            samples(&world.client, "/live/pay", rendition).await,
            samples(&world.client, "/live/clear", rendition).await,
        );
        assert!(keys >= 3 && encrypted.len() >= least, "{rendition}: {keys} keys, {} samples", encrypted.len());
        assert_eq!(encrypted, clear, "{rendition}");
    }
    let (encrypted, clear) =
        (key_frames(&world.client, "/live/pay", "90p").await, key_frames(&world.client, "/live/clear", "90p").await);
    assert!(encrypted.len() >= 5 && encrypted == clear, "{} key frames", encrypted.len());
    let bytes = |stream: &'static str| {
        let client = world.client.clone();
        async move {
            let folder = format!("/live/{stream}/180p/");
            let periods = periods(&client, &folder).await;
            client.get(&format!("{folder}{}", periods[0].2[0])).await.body
        }
    };
    let (encrypted, clear) = (bytes("pay").await, bytes("clear").await);
    assert!(encrypted.len() > clear.len() && !encrypted.ends_with(&clear[clear.len() - 2000..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_plays_whole_segments_over_changes_of_keys() {
    let world = World::start(encrypted(|_| {}));
    drop(world.play("old", Recipe::regular(12).clip(), 3.0).await.unwrap());
    while !world.client.get("/live/old/180p/index.m3u8").await.text().contains("#EXT-X-ENDLIST") {
        tokio::task::yield_now().await;
    }
    let playlist = world.client.get("/live/old/180p/index.m3u8").await;
    assert!(!playlist.text().contains("EXT-X-PART"), "{}", playlist.text());
    assert!(playlist.text().matches("METHOD=AES-128").count() >= 6, "{}", playlist.text());
    for (rendition, frames) in [("180p", 360), ("90p", 360), ("audio", 562)] {
        let told = decode(world.addr, &format!("old/{rendition}/index.m3u8")).await;
        assert_eq!(told.complaints, "", "{rendition}");
        assert!((frames - 2..=frames + 2).contains(&told.frames), "{rendition}: {} of {frames}", told.frames);
    }
    let mpd = world.client.get("/live/old/index.mpd").await;
    assert!(mpd.status == 404 && mpd.text().contains("ask for /live/old/index.m3u8"), "{}", mpd.text());
    assert_eq!(world.client.get("/live/old/180p/iframes.m3u8").await.status, 404);
    assert!(!world.client.get("/live/old/index.m3u8").await.text().contains("I-FRAME"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_given_to_who_has_the_token_and_kept_by_nobody() {
    let token = "0123456789abcdefghij";
    let world = World::start(encrypted(|config| config.encryption.token = Some(token.to_owned())));
    let _playing = world.play("pay", Recipe::regular(12).clip(), 2.0);
    Follower::join(&world.client, "pay", "audio").await;
    let periods = periods(&world.client, "/live/pay/audio/").await;
    let path = key_path("/live/pay", periods[0].0.as_ref().unwrap());
    let bearer = format!("Bearer {token}");
    let given = world.client.send(Method::GET, &path, &[("authorization", &bearer)]).await;
    assert_eq!((given.status.as_u16(), given.body.len(), given.header("cache-control")), (200, 16, "no-store"));
    for (fields, status) in [(&[][..], 401), (&[("authorization", "Bearer another")], 401)] {
        assert_eq!(world.client.send(Method::GET, &path, fields).await.status, status);
        assert_eq!(world.client.send_body(Method::POST, "/live/pay/keys", (fields, "{}")).await.status, status);
    }
    let other = format!("/live/pay/keys/{}", "00".repeat(16));
    for (path, status) in [(other.as_str(), 404), ("/live/pay/keys/xx", 404), ("/live/none/keys/xx", 404)] {
        assert_eq!(world.client.send(Method::GET, path, &[("authorization", &bearer)]).await.status, status, "{path}");
    }
    // What a browser sends, and gets.
    use base64::Engine;
    let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let id = path.rsplit('/').next().unwrap();
    let id: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect();
    let body = format!("{{\"kids\":[\"{}\",\"AAAA\"],\"type\":\"temporary\"}}", text(&id));
    let fields = [("authorization", bearer.as_str())];
    let license = world.client.send_body(Method::POST, "/live/pay/keys", (&fields, &body)).await;
    let expected = format!(
        "{{\"keys\":[{{\"kty\":\"oct\",\"kid\":\"{}\",\"k\":\"{}\"}}],\"type\":\"temporary\"}}",
        text(&id),
        text(&given.body)
    );
    assert_eq!((license.text(), license.header("cache-control")), (expected.as_str(), "no-store"));
    for (body, status) in [("", 400), ("{\"kids\":[]}", 404), ("{\"kids\":[\"AAAA\"]}", 404)] {
        let license = world.client.send_body(Method::POST, "/live/pay/keys", (&fields, body)).await;
        assert_eq!(license.status, status, "{body}");
    }
}

/// Whoever sends it could hold a connection for as long as the origin waits for the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_licence_is_refused_before_its_request_is_whole_where_there_are_no_keys() {
    let world = World::start(config(|_| {}));
    let mut socket = TcpStream::connect(world.addr).await.unwrap();
    let head = b"POST /live/a/keys HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n";
    socket.write_all(head).await.unwrap();
    let mut answer = [0; 12];
    timeout(Duration::from_secs(5), socket.read_exact(&mut answer)).await.expect("no answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_is_decrypted_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let kept = |config: &mut config::Origin| {
        config.disk.path = Some(folder.path().to_owned());
        config.ingest.linger = Duration::from_secs(30);
    };
    let world = World::start(encrypted(kept));
    drop(world.play("pay", Recipe::regular(12).clip(), 4.0).await.unwrap());
    Follower::join(&world.client, "pay", "180p").await;
    world.stop().await;
    let world = World::start(encrypted(kept));
    let (before, keys) = samples(&world.client, "/live/pay", "180p").await;
    assert!(keys >= 3 && before.len() == 360, "{keys} keys, {} samples", before.len());
    let journal = std::fs::read_dir(folder.path().join("pay"))
        .unwrap()
        .find_map(|life| std::fs::read_to_string(life.unwrap().path().join("journal")).ok());
    let (journal, periods) = (journal.unwrap(), periods(&world.client, "/live/pay/180p/").await);
    let path = key_path("/live/pay", periods[0].0.as_ref().unwrap());
    assert!(journal.contains(path.rsplit('/').next().unwrap()), "the journal has the key's id");
    let key = world.client.get(&path).await.body;
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!journal.contains(&hex), "and not the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_decrypted_with_keys_that_are_beside_them() {
    let (folder, token) = (tempfile::tempdir().unwrap(), "0123456789abcdefghij");
    let archived = keeping(folder.path(), |_| {});
    let world = World::start(encrypted(|config| {
        (config.disk, config.archive) = (archived.disk, archived.archive);
        config.window = archived.window;
        config.encryption.license_uri = Some("https://keys.example/{stream}".to_owned());
    }));
    for stream in ["pay", "old"] {
        let playing = world.play(stream, Recipe::regular(12).clip(), 3.0);
        tokio::spawn(async { drop(playing.await) });
    }
    let client = &world.client;
    let recordings = recorded(client, 2).await;
    let of = |stream: &str| {
        let folder = recordings.iter().map(|recording| recording.folder.clone());
        folder.into_iter().find(|folder| folder.starts_with(&format!("/archive/{stream}/"))).unwrap()
    };
    let (pay, old) = (of("pay"), of("old"));
    for (rendition, count) in [("180p", 360), ("90p", 360), ("audio", 562)] {
        let (samples, keys) = samples(client, &pay, rendition).await;
        assert!(keys >= 3 && samples.len().abs_diff(count) <= 2, "{rendition}: {keys} keys, {} samples", samples.len());
        let told = read_whole(&format!("http://{}{old}/{rendition}/index.m3u8", world.addr)).await;
        assert_eq!((told.complaints.as_str(), told.frames.abs_diff(count) <= 2), ("", true), "{rendition}");
    }
    let mpd = client.get(&format!("{pay}/index.mpd")).await;
    assert!(mpd.text().matches("cenc:default_KID").count() >= 6, "two sets in three periods: {}", mpd.text());
    assert!(mpd.text().contains(">https://keys.example/pay</dashif:Laurl>"), "{}", mpd.text());
    assert_eq!(client.get(&format!("{old}/index.mpd")).await.status, 404);
    let list = client.get("/archive/index.json").await;
    assert!(list.text().contains(&format!("{pay}/index.mpd")) && !list.text().contains(&format!("{old}/index.mpd")));

    let periods = periods(client, &format!("{pay}/audio/")).await;
    let path = key_path(&pay, periods[0].0.as_ref().unwrap());
    let key = client.get(&path).await;
    assert_eq!((key.status.as_u16(), key.body.len(), key.header("cache-control")), (200, 16, "no-store"));
    let id = path.rsplit('/').next().unwrap();
    for (path, status) in [
        // Where an operator's own address of keys may lead.
        (format!("/live/pay/keys/{id}"), 200),
        // Each recording gives its own keys alone.
        (format!("{old}/keys/{id}"), 404),
        (format!("{pay}/keys/{}", "00".repeat(16)), 404),
        (format!("/archive/pay/1/keys/{id}"), 404),
    ] {
        assert_eq!(client.get(&path).await.status, status, "{path}");
    }
    world.stop().await;

    // Another process, with a token for keys, and no stream of this name.
    let archived = keeping(folder.path(), |_| {});
    let world = World::start(encrypted(|config| {
        (config.disk, config.archive) = (archived.disk, archived.archive);
        config.window = archived.window;
        config.encryption.token = Some(token.to_owned());
    }));
    recorded(&world.client, 2).await;
    assert_eq!(world.client.get(&path).await.status, 401);
    let bearer = format!("Bearer {token}");
    let given = world.client.send(Method::GET, &path, &[("authorization", &bearer)]).await;
    assert_eq!((given.status.as_u16(), given.body), (200, key.body));
}

/// A playlist has parts in it or has none, and whatever was told of segments stays true of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_or_from_whole_segments_ends_the_stream_and_keeps_its_recording_whole() {
    let folder = tempfile::tempdir().unwrap();
    let start = |methods: [Option<EncryptionMethod>; 2]| {
        let kept = keeping(folder.path(), |_| {});
        World::start(encrypted(|config| {
            (config.disk, config.archive) = (kept.disk, kept.archive);
            config.ingest.linger = Duration::from_secs(60);
            let rules = ["old", "pay"].into_iter().zip(methods);
            let rule = |(stream, method): (&str, Option<EncryptionMethod>)| {
                Some(EncryptedStreams { streams: Streams::of(stream), method: method? })
            };
            config.encryption.streams = rules.filter_map(rule).collect();
        }))
    };
    let world = start([Some(EncryptionMethod::Aes128), Some(EncryptionMethod::Cbcs)]);
    let playing = ["old", "pay"].map(|stream| world.play(stream, Recipe::regular(8).clip(), 4.0));
    for playing in playing {
        drop(playing.await.unwrap());
    }
    world.stop().await;

    let world = start([None, Some(EncryptionMethod::Aes128)]);
    let client = &world.client;
    for (stream, says_mpd) in [("old", 404), ("pay", 200)] {
        let playlist = client.get(&format!("/live/{stream}/180p/index.m3u8")).await;
        assert!(playlist.text().ends_with("#EXT-X-ENDLIST\n"), "{}", playlist.text());
        assert_eq!(client.get(&format!("/live/{stream}/index.mpd")).await.status, says_mpd, "{stream}");
    }
    let recordings = recorded(client, 2).await;
    for recording in &recordings {
        assert!((7.5..8.5).contains(&recording.duration_s), "{recording:?}");
    }
    let old = recordings.iter().find(|recording| recording.folder.contains("/old/")).unwrap();
    let told = read_whole(&format!("http://{}{}/180p/index.m3u8", world.addr, old.folder)).await;
    assert_eq!((told.complaints.as_str(), told.frames), ("", 240));

    let playing = world.play("old", Recipe::regular(8).clip(), 4.0);
    let mut follower = Follower::join(client, "old", "180p").await;
    while follower.media.head.ended {
        follower = Follower::join(client, "old", "180p").await;
    }
    assert!(!follower.text.contains("EXT-X-KEY") && follower.text.contains("EXT-X-PART"), "{}", follower.text);
    let mpd = client.get("/live/old/index.mpd").await;
    assert_eq!((mpd.status.as_u16(), mpd.text().matches("<Period ").count()), (200, 1), "{}", mpd.text());
    drop(playing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_no_more_is_played_over_the_end_of_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let start = |change: fn(&mut config::Origin)| {
        World::start(encrypted(|config| {
            config.disk.path = Some(folder.path().to_owned());
            config.ingest.linger = Duration::from_secs(30);
            change(config);
        }))
    };
    let world = start(|config| {
        config.encryption.hls_keys = HlsKeys::Clearkey;
        config.encryption.key_uri = Some("https://keys.example/{stream}/{kid}".to_owned());
    });
    drop(world.play("pay", Recipe::regular(8).clip(), 4.0).await.unwrap());
    world.stop().await;
    let world = start(|config| config.encryption.streams.clear());
    let mut follower = Follower::join(&world.client, "pay", "180p").await;
    let playing = world.play("pay", Recipe::regular(8).clip(), 4.0);
    while !follower.text.contains("#EXT-X-DISCONTINUITY\n") {
        assert!(follower.step().await);
    }
    drop(playing.await.unwrap());
    for file in ["index.m3u8", "iframes.m3u8"] {
        let playlist = world.client.get(&format!("/live/pay/180p/{file}")).await;
        let (before, behind) = playlist.text().rsplit_once("#EXT-X-DISCONTINUITY\n").unwrap();
        let told = before.matches("METHOD=SAMPLE-AES,URI=\"https://keys.example/pay/").count();
        assert!(told >= 2 && before.matches("org.w3.clearkey").count() == told, "as they were told: {before}");
        assert!(behind.starts_with("#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:"), "{behind}");
        assert!(!behind.contains("SAMPLE-AES"), "{behind}");
    }
}

/// A key server that answers each request as `answer` says, by how many there were before; `None` is for ever nothing.
async fn key_server(
    answer: impl Fn(usize) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (asked, answer) = (Arc::clone(&count), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let read = socket.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).to_lowercase();
                assert!(head.contains("authorization: bearer of-the-key-server"), "{head}");
                match answer(asked.fetch_add(1, Ordering::SeqCst)) {
                    // An origin that has had enough hangs up.
                    Some(bytes) => drop(socket.write_all(&bytes).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    (addr, count)
}

fn answered(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn with_server(addr: SocketAddr) -> config::Origin {
    encrypted(|config| {
        config.encryption.keys = KeySource::Server(KeyServer {
            uri: format!("http://{addr}/{{stream}}/{{kid}}"),
            token: Some("of-the-key-server".to_owned()),
            timeout: Duration::from_millis(200),
            retry: Duration::from_millis(50),
        });
        config.encryption.key_uri = Some("https://keys.example/{stream}/{kid}".to_owned());
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_before_the_first_key_whatever_the_server_answers() {
    const HOSTILE: usize = 6;
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let (addr, asked) = key_server(move |count| match count {
        0 => None,
        1 => Some(answered("500 Internal Server Error", &[7; 16])),
        2 => Some(answered("200 OK", &[7; 15])),
        3 => Some([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[7; 1 << 20]].concat()),
        4 => Some(b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\nshort".to_vec()),
        5 => Some(answered("302 Found", b"")),
        _ if !well.load(Ordering::SeqCst) => Some(answered("404 Not Found", b"")),
        _ => Some(answered("200 OK", &[count as u8; 16])),
    })
    .await;
    let world = World::start(with_server(addr));
    let playing = world.play("pay", Recipe::regular(20).clip(), 2.0);
    loop {
        let answer = world.client.get("/live/pay/index.m3u8").await;
        assert_ne!(answer.status, 200, "published without a key");
        let told = answer.status == 503 && answer.text().contains("its key has not come");
        if told && asked.load(Ordering::SeqCst) > HOSTILE {
            break;
        }
        tokio::task::yield_now().await;
    }
    is_well.store(true, Ordering::SeqCst);
    while world.client.get("/live/pay/index.m3u8").await.status != 200 {
        tokio::task::yield_now().await;
    }
    for (outcome, least) in [("late", 1.0), ("refused", 2.0), ("malformed", 2.0), ("fetched", 1.0)] {
        let count = world.metric(&format!("vivid_origin_key_requests_total{{outcome=\"{outcome}\"}}")).await;
        assert!(count >= least, "{outcome}: {count}");
    }
    let periods = periods(&world.client, "/live/pay/180p/").await;
    let (key, init, _) = &periods[0];
    assert!(key.as_ref().unwrap().starts_with("https://keys.example/pay/"), "players go there");
    assert_eq!(world.client.get(&format!("/live/pay/180p/{init}")).await.status, 200);
    let id = key.as_ref().unwrap().rsplit('/').next().unwrap();
    assert_eq!(world.client.get(&format!("/live/pay/keys/{id}")).await.status, 404, "it is not given here");
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_before_stays_in_use_while_the_server_is_away() {
    // Two keys, of this period and the next, and then none.
    let (addr, _) = key_server(|count| match count {
        0 | 1 => Some(answered("200 OK", &[count as u8 + 1; 16])),
        _ => Some(answered("503 Service Unavailable", b"")),
    })
    .await;
    let world = World::start(with_server(addr));
    drop(world.play("pay", Recipe::regular(20).clip(), 3.0).await.unwrap());
    assert!(world.metric("vivid_origin_keys_overdue").await >= 1.0);
    let periods = periods(&world.client, "/live/pay/180p/").await;
    let segments: usize = periods.iter().map(|(_, _, segments)| segments.len()).sum();
    assert!(periods.len() <= 2 && segments >= 9, "{} keys for {segments} segments", periods.len());
    assert!(periods.iter().all(|(key, ..)| key.is_some()));
}
