//! Recordings that move, to a folder and to a server that speaks S3: read from there, found again, and waited for.

use crate::archive::{check_file, keeping, list, playlist, recorded, segments, until};
use crate::clip::Recipe;
use crate::world::World;
use bytes::Bytes;
use config::{Place, S3, Tier};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

const KEY: &str = "a-key";
const SECRET: &str = "a-secret";
const BUCKET: &str = "tape";

/// A server that speaks S3, on a folder. It is gone with its connections when it is dropped.
struct Server {
    addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(folder: &Path, addr: Option<SocketAddr>) -> Self {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let listener = TcpListener::bind(addr.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                connections.spawn(async move {
                    let served =
                        Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
                    drop(served);
                });
            }
        });
        Self { addr, serving }
    }

    fn tier(&self, secret: &str) -> Tier {
        let place = Place::S3(S3 {
            bucket: BUCKET.to_owned(),
            prefix: "vivid/eu".to_owned(),
            endpoint: Some(format!("http://{}", self.addr)),
            region: None,
            access_key_id: Some(KEY.to_owned()),
            secret_access_key: Some(secret.to_owned()),
        });
        Tier { name: "cold".to_owned(), after: Duration::ZERO, place }
    }

    async fn stop(self) {
        self.serving.abort();
        // Only then its port is free.
        assert!(self.serving.await.unwrap_err().is_cancelled());
    }
}

/// Media in the folder of the origin.
fn media_in(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if ["m4s", "mp4", "m3u8", "mpd"]
                .iter()
                .any(|ending| entry.path().extension().is_some_and(|e| e == *ending))
            {
                found.push(entry.path());
            }
        }
    }
    found
}

async fn record(world: &World) -> (String, Vec<(String, Bytes)>) {
    let playing = world.play("a", Recipe::regular(8).clip(), 5.0);
    tokio::spawn(async { drop(playing.await) });
    let folder = recorded(&world.client, 1).await.remove(0).folder;
    let (_, media) = playlist(&world.client, &format!("{folder}/180p/index.m3u8")).await;
    let mut seen = Vec::new();
    for uri in segments(&media) {
        let path = format!("{folder}/180p/{uri}");
        seen.push((path.clone(), world.client.get(&path).await.body));
    }
    assert_eq!(seen.len(), 4);
    (folder, seen)
}

async fn moved(world: &World, tier: &str) {
    until("the move", async || {
        list(&world.client, "/archive/index.json").await.first().is_some_and(|one| one.tier == tier).then_some(())
    })
    .await;
}

async fn is_same(world: &World, seen: &[(String, Bytes)]) {
    for (path, bytes) in seen {
        let answer = world.client.get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, bytes), "{path}: {}", answer.status);
    }
    check_file(&world.client, &seen[0].0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_moves_to_s3_and_is_read_from_there() {
    let (folder, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(far.path(), None).await;
    let tier = server.tier(SECRET);
    let config = || {
        keeping(folder.path(), |archive| {
            archive.tiers = vec![tier.clone()];
            archive.grace = Duration::from_millis(100);
            archive.read_timeout = Duration::from_secs(4);
        })
    };
    let world = World::start(config());
    let (recording, seen) = record(&world).await;
    moved(&world, "cold").await;
    is_same(&world, &seen).await;
    let (text, _) = playlist(&world.client, &format!("{recording}/180p/index.m3u8")).await;
    assert_eq!(world.metric("vivid_origin_archive_moves_total{outcome=\"moved\"}").await, 1.0);
    assert!(world.metric("vivid_origin_archive_bytes{tier=\"cold\"}").await > 100_000.0);
    // As long as the window is read from the folder, it stays there; then it goes.
    until("the end of the copy", async || {
        let gone = media_in(folder.path()).is_empty();
        let shown = world.client.get("/live/a/180p/index.m3u8").await.status == 200;
        assert!(!(gone && shown), "its window is shown and has no media");
        gone.then_some(())
    })
    .await;
    is_same(&world, &seen).await;
    world.stop().await;

    // The next process finds it, and so does one on a machine that has never heard of it.
    let world = World::start(config());
    assert_eq!(list(&world.client, "/archive/index.json").await[0].tier, "cold");
    is_same(&world, &seen).await;
    world.stop().await;
    let empty = tempfile::tempdir().unwrap();
    let mut elsewhere = config();
    elsewhere.disk.path = Some(empty.path().to_owned());
    let world = World::start(elsewhere);
    assert_eq!(recorded(&world.client, 1).await[0].folder, recording);
    is_same(&world, &seen).await;
    assert_eq!(playlist(&world.client, &format!("{recording}/180p/index.m3u8")).await.0, text);

    // The store is away: that is said, and mended when it is back.
    let addr = server.addr;
    server.stop().await;
    let answer = world.client.get(&seen[0].0).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "10"));
    assert!(answer.text().contains("the store that keeps this recording"), "{}", answer.text());
    assert_eq!(world.metric("vivid_origin_archive_failing{tier=\"cold\"}").await, 1.0);
    let _server = Server::start(far.path(), Some(addr)).await;
    until("the store", async || {
        (world.metric("vivid_origin_archive_failing{tier=\"cold\"}").await == 0.0).then_some(())
    })
    .await;
    is_same(&world, &seen).await;

    // What is removed is removed there.
    let with = ("authorization", &*format!("Bearer {}", crate::archive::TOKEN));
    let path = format!("/_vivid{recording}");
    assert_eq!(world.client.send(http::Method::DELETE, &path, &[with]).await.status, 200);
    until("the end of it", async || media_in(far.path()).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_told_at_the_start_and_lose_nothing() {
    let (folder, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(far.path(), None).await;
    let with = |secret: &str| {
        let tier = server.tier(secret);
        keeping(folder.path(), |archive| archive.tiers = vec![tier])
    };
    let world = World::start(with("another"));
    until("the check", async || {
        (world.metric("vivid_origin_archive_failing{tier=\"cold\"}").await == 1.0).then_some(())
    })
    .await;
    let (_, seen) = record(&world).await;
    assert_eq!(list(&world.client, "/archive/index.json").await[0].tier, "hot");
    is_same(&world, &seen).await;
    world.stop().await;
    let world = World::start(with(SECRET));
    moved(&world, "cold").await;
    is_same(&world, &seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_cut_off_is_gone_on_with() {
    let (folder, warm) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::start(keeping(folder.path(), |_| {}));
    let (recording, seen) = record(&world).await;
    world.stop().await;
    // One segment has been copied, and of another a piece; no mark says that all is there.
    let id = recording.trim_start_matches("/archive/");
    let (from, to) = (folder.path().join(id), warm.path().join(id));
    for (index, (path, bytes)) in seen.iter().take(2).enumerate() {
        let file = to.join(path.strip_prefix(&format!("{recording}/")).unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, &bytes[..bytes.len() - 100 * index]).unwrap();
    }
    let place = Place::Folder(warm.path().to_owned());
    let world = World::start(keeping(folder.path(), |archive| {
        archive.tiers = vec![Tier { name: "warm".to_owned(), after: Duration::ZERO, place }];
    }));
    is_same(&world, &seen).await;
    moved(&world, "warm").await;
    is_same(&world, &seen).await;
    assert!(warm.path().join(".recordings").join(format!("{id}.json")).exists());
    // It is in both for the while of the grace.
    assert_eq!(media_in(&from).len(), media_in(&to).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_go_from_a_folder_to_s3_as_they_grow_old() {
    let (folder, warm, far) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(far.path(), None).await;
    let place = Place::Folder(warm.path().to_owned());
    let world = World::start(keeping(folder.path(), |archive| {
        archive.grace = Duration::from_millis(100);
        let first = Tier { name: "warm".to_owned(), after: Duration::ZERO, place };
        archive.tiers = vec![first, Tier { after: Duration::from_secs(14), ..server.tier(SECRET) }];
    }));
    let (_, seen) = record(&world).await;
    moved(&world, "warm").await;
    is_same(&world, &seen).await;
    assert!(!media_in(warm.path()).is_empty());
    moved(&world, "cold").await;
    is_same(&world, &seen).await;
    until("the end of the copy", async || media_in(warm.path()).is_empty().then_some(())).await;
    assert!(media_in(folder.path()).is_empty());
    assert_eq!(world.metric("vivid_origin_archive_moves_total{outcome=\"moved\"}").await, 2.0);
    is_same(&world, &seen).await;
}
