//! Lives of streams through the disk: what is written is read, and what is not whole is nobody's.

use super::queue::{Entry, Gone, Next, Shelf};
use super::record::{Epoch, Record};
use super::*;
use crate::archive::{ArchiveMetrics, Ledger};
use crate::epoch::{Bitrate, EpochId, Known, Numbers};
use crate::medium::Medium;
use crate::testing::{aac, aac_config, avc, avc_config, plan};
use crate::window::{News, Shape, Window};
use bytes::Bytes;
use prometheus::Registry;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use transcode::Source;

fn open(root: &Path) -> (Store, Vec<Recovered>, DiskMetrics) {
    let origin = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
    let retry = Duration::from_millis(100);
    let config = config::OriginDisk { path: Some(root.to_owned()), retry, ..origin.disk };
    let metrics = DiskMetrics::register(&Registry::new()).unwrap();
    let (store, left) = Store::open(&config, &metrics, None);
    (store, left, metrics)
}

/// Where recordings are kept, of streams of a minute at most.
fn open_keeping(root: &Path) -> (Store, Vec<Recovered>, Keeping) {
    let origin = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
    let config = config::OriginDisk { path: Some(root.to_owned()), ..origin.disk };
    let registry = Registry::new();
    let archive = ArchiveMetrics::register(&registry).unwrap();
    let ledger = Arc::new(Ledger::open(root, archive.clone()));
    let minute = Duration::from_secs(60);
    let keeping = Keeping { ledger, length_max: minute, window: minute, expired: archive.expired };
    let (store, left) = Store::open(&config, &DiskMetrics::register(&registry).unwrap(), Some(keeping.clone()));
    (store, left, keeping)
}

fn epoch(id: u64, first_msn: u64) -> Epoch {
    let plan = plan(30, 60, 10);
    let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
    let known = Known { source, bitrate: Bitrate { average: 1, peak: 2 }, captions: media::Captions::default() };
    let tracks = [(avc(plan.rate.timescale()), Bytes::new()), (aac(), Bytes::new())];
    let numbers = Numbers { id, first_msn, discontinuities: 0, zero_unix_ms: unix_ms() };
    Epoch::new((numbers, 0), (&known, &plan, None), &tracks)
}

fn window(metrics: &DiskMetrics) -> Arc<Mutex<Window>> {
    let shape =
        Shape { medium: Medium::Fragments, length_s: 60.0, memory_s: 12.0, target_duration_s: 2, part_target_s: 0.334 };
    let memory = crate::window::Memory::new(usize::MAX, metrics.shortened.clone());
    Arc::new(Mutex::new(Window::new(shape, memory)))
}

fn whole(epoch: u64, msn: u64) -> News {
    let pieces = vec![Bytes::from(format!("{epoch}.{msn}")), Bytes::from_static(b"more")];
    News::Whole { epoch: EpochId(epoch), msn, pieces, duration_s: 2.0, picture_end: Some(3), key: None }
}

fn msns(records: &[Record]) -> Vec<u64> {
    let segment = |record: &Record| if let Record::Segment(segment) = record { Some(segment.msn) } else { None };
    records.iter().filter_map(segment).collect()
}

#[tokio::test]
async fn what_is_written_is_read_and_nothing_that_is_not_whole() {
    let root = tempfile::tempdir().unwrap();
    let (store, left, metrics) = open(root.path());
    assert!(left.is_empty());
    let life = store.begin("a");
    life.opened(epoch(7, 100));
    life.take(("180p", Medium::Fragments), &window(&metrics), (100..104).map(|msn| whole(7, msn)).collect());
    store.flush(Duration::from_secs(9)).await;
    assert_eq!(metrics.segments.with_label_values(&["written"]).get(), 4);
    assert_eq!(metrics.queue_bytes.get(), 0);
    // A power cut: one segment is shorter than its line says, another has zeros, and the last line is torn.
    fs::write(life.file(("180p", Medium::Fragments), EpochId(7), 101).unwrap(), "7.1").unwrap();
    fs::write(life.file(("180p", Medium::Fragments), EpochId(7), 102).unwrap(), [0; 9]).unwrap();
    let journal = left_folder(root.path()).join("journal");
    let length = fs::metadata(&journal).unwrap().len();
    let line = Record::Break { unix_ms: 5, next_msn: 104 }.line();
    fs::write(&journal, [fs::read(&journal).unwrap(), line.as_bytes()[..20].to_vec()].concat()).unwrap();

    let (store, left, _) = open(root.path());
    assert_eq!((left.len(), msns(&left[0].records)), (1, vec![100, 103]));
    assert_eq!(fs::metadata(&journal).unwrap().len(), length, "the torn line is cut off");
    // It is written on.
    let life = store.resume(&left[0]);
    life.broke_off(104, 9);
    store.flush(Duration::from_secs(9)).await;
    let (_, left, _) = open(root.path());
    assert_eq!(left[0].records.last(), Some(&Record::Break { unix_ms: 9, next_msn: 104 }));
}

fn left_folder(root: &Path) -> PathBuf {
    fs::read_dir(root.join("a")).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_dir()).unwrap()
}

#[tokio::test]
async fn names_that_were_given_stay_given_when_the_clock_goes_back_and_lives_are_gone() {
    let root = tempfile::tempdir().unwrap();
    let (store, _, metrics) = open(root.path());
    let ahead = 1 << 45;
    let life = store.begin("a");
    life.opened(epoch(ahead, 5_000_000_000));
    life.take(("180p", Medium::Fragments), &window(&metrics), vec![whole(ahead, 5_000_000_000)]);
    let given = life.given();
    assert_eq!((given.epoch, given.next_msn), (ahead, 5_000_000_001));
    life.forget();
    let next = store.begin("a");
    assert!(next.given().started > given.started);
    store.flush(Duration::from_secs(9)).await;
    let (store, left, _) = open(root.path());
    assert!(left.is_empty(), "it is forgotten");
    assert_eq!(store.begin("a").given().epoch, ahead);
    assert_eq!(store.begin("a").given().next_msn, 5_000_000_001);
}

/// Somebody made them, or a disk that fails did.
#[tokio::test]
async fn folders_that_no_life_has_made_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let made = ["18446744073709551615", "253402300799999", "+5", "007", "-1", "1e3", "x"];
    for name in made {
        fs::create_dir_all(root.path().join("a").join(name)).unwrap();
    }
    let mad = serde_json::to_string(&Given { epoch: u64::MAX, next_msn: u64::MAX, started: u64::MAX }).unwrap();
    fs::write(root.path().join("a/given"), mad).unwrap();
    let (store, left, _) = open(root.path());
    assert!(left.is_empty());
    let life = store.begin("a");
    assert_eq!((life.given().epoch, life.given().next_msn), (0, 0));
    assert!(life.given().started.abs_diff(unix_ms() as u64) < 60_000, "{:?}", life.given());
    assert!(made.iter().all(|name| root.path().join("a").join(name).is_dir()));
}

#[tokio::test]
async fn of_several_lives_the_last_is_left() {
    let root = tempfile::tempdir().unwrap();
    let (store, _, metrics) = open(root.path());
    for (id, msn) in [(7, 100), (8, 200)] {
        let life = store.begin("a");
        life.opened(epoch(id, msn));
        life.take(("180p", Medium::Fragments), &window(&metrics), vec![whole(id, msn)]);
    }
    store.flush(Duration::from_secs(9)).await;
    let (store, left, _) = open(root.path());
    assert_eq!((left.len(), msns(&left[0].records)), (1, vec![200]));
    assert_eq!(store.begin("a").given().epoch, 8);
    let folders = fs::read_dir(root.path().join("a")).unwrap().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(folders.count(), 1);
}

#[tokio::test]
async fn a_journal_does_not_grow_for_ever() {
    let root = tempfile::tempdir().unwrap();
    let (store, _, metrics) = open(root.path());
    let (life, window) = (store.begin("a"), window(&metrics));
    for (id, first) in [(7, 0), (8, 5000)] {
        life.opened(epoch(id, first));
        for msn in first..first + 5000 {
            life.take(("180p", Medium::Fragments), &window, vec![whole(id, msn)]);
            if msn % 1000 == 0 {
                store.flush(Duration::from_secs(60)).await;
            }
            if let Some(gone) = msn.checked_sub(10) {
                let epoch = EpochId(if gone < 5000 { 7 } else { 8 });
                life.take(("180p", Medium::Fragments), &window, vec![News::Gone { epoch, msn: gone, unix_ms: 0 }]);
            }
        }
    }
    store.flush(Duration::from_secs(60)).await;
    let (_, left, _) = open(root.path());
    let records = &left[0].records;
    assert!(records.len() < 2500, "{}", records.len());
    assert_eq!(records.iter().filter(|record| matches!(record, Record::Epoch(_))).count(), 1);
    assert_eq!(msns(records)[msns(records).len() - 10..], (9990..10_000).collect::<Vec<_>>());
    assert!(
        !life.file(("180p", Medium::Fragments), EpochId(7), 4999).unwrap().parent().unwrap().exists(),
        "empty folders go"
    );
}

#[tokio::test]
async fn what_leaves_the_window_stays_up_to_a_length_and_no_life_is_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let (store, _, keeping) = open_keeping(root.path());
    let metrics = DiskMetrics::register(&Registry::new()).unwrap();
    let life = store.begin("a");
    life.opened(epoch(7, 100));
    life.take(("180p", Medium::Fragments), &window(&metrics), (100..104).map(|msn| whole(7, msn)).collect());
    let gone = |msn, ago_ms| News::Gone { epoch: EpochId(7), msn, unix_ms: unix_ms() - ago_ms };
    life.take(("180p", Medium::Fragments), &window(&metrics), vec![gone(100, 61_000), gone(101, 59_000)]);
    life.ended(unix_ms(), &crate::streams::Markers::default());
    life.forget();
    store.flush(Duration::from_secs(9)).await;
    let files = (100..104).map(|msn| life.file(("180p", Medium::Fragments), EpochId(7), msn).unwrap().exists());
    assert_eq!(files.collect::<Vec<_>>(), [false, true, true, true]);
    assert_eq!(keeping.expired.get(), 1);
    drop(life);

    // Another life comes and is cut off: both are there, and the names that they gave.
    let life = store.begin("a");
    life.opened(epoch(8, 200));
    life.take(("180p", Medium::Fragments), &window(&metrics), vec![whole(8, 200)]);
    store.flush(Duration::from_secs(9)).await;
    let (store, left, _) = open_keeping(root.path());
    assert_eq!((left.len(), msns(&left[0].records)), (1, vec![200]));
    assert_eq!((store.begin("a").given().epoch, store.begin("a").given().next_msn), (8, 201));
    let folders = fs::read_dir(root.path().join("a")).unwrap().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(folders.count(), 2);
}

#[test]
fn a_folder_is_one_process_s_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("new");
    let first = claim(Some(&folder)).unwrap();
    assert!(first.is_some());
    assert_eq!(claim(Some(&folder)).err(), Some(Taken));
    drop(first);
    assert!(claim(Some(&folder)).unwrap().is_some());
    assert!(claim(None).unwrap().is_none());
    fs::write(root.path().join("file"), "").unwrap();
    assert!(claim(Some(&root.path().join("file"))).unwrap().is_none(), "it fails as a disk does");
}

/// A queue that nobody empties.
fn hung() -> (Queue, Receiver<queue::Job>, DiskMetrics) {
    let origin =
        config::Config::parse("[origin]\n[origin.disk]\nqueue_segments_max = 16\n", []).unwrap().origin.unwrap();
    let metrics = DiskMetrics::register(&Registry::new()).unwrap();
    let (queue, jobs) = Queue::new(&origin.disk, metrics.clone());
    (queue, jobs, metrics)
}

#[test]
fn what_waits_for_a_disk_that_hangs_is_bounded_and_lacks_no_line() {
    let (queue, jobs, metrics) = hung();
    let given = Arc::new(Mutex::new(Given::default()));
    let life = Life::new(Some((PathBuf::from("a"), queue)), given, None);
    let window = window(&metrics);
    for id in 0..1000 {
        life.opened(epoch(id, 100 * id));
        let news = (0..50).map(|index| whole(id, 100 * id + index)).collect();
        life.take(("180p", Medium::Fragments), &window, news);
        life.broke_off(100 * id + 50, 5);
        (50..60).for_each(|index| life.gapped((100 * id + index, false), 6));
        let gone =
            (0..50).map(|index| News::Gone { epoch: EpochId(id / 100), msn: 50 * (id % 100) + index, unix_ms: 0 });
        life.take(("180p", Medium::Fragments), &window, gone.collect());
    }
    assert_eq!(metrics.queue_segments.get(), 16);
    assert_eq!(metrics.segments.with_label_values(&["refused"]).get(), 50 * 1000 - 16);
    let waiting: Vec<queue::Job> = jobs.try_iter().collect();
    let [queue::Job::Life(shelf)] = &waiting[..] else { panic!("{} jobs", waiting.len()) };
    let next: Vec<Next> = std::iter::from_fn(|| shelf.next()).collect();
    let lines = next.iter().filter_map(|next| match next {
        Next::Entry(Entry::Line(record)) => Some(record.clone()),
        _ => None,
    });
    let lines: Vec<Record> = lines.collect();
    // The epoch whose segments wait, and the one that began last.
    let epochs = lines.iter().filter_map(|record| match record {
        Record::Epoch(epoch) => Some(epoch.numbers.id),
        _ => None,
    });
    assert_eq!(epochs.collect::<Vec<_>>(), [0, 999]);
    assert_eq!(lines.last(), Some(&Record::Gap { through: 99_959, unix_ms: 6, is_unsure: false }));
    assert_eq!(lines.len(), 6, "{lines:?}");
    let deleted = next.iter().filter_map(|next| if let Next::Delete(gone) = next { Some(gone) } else { None });
    let all = |epoch| Gone {
        rendition: "180p".to_owned(),
        medium: Medium::Fragments,
        epoch: EpochId(epoch),
        first: 0,
        last: 4999,
    };
    assert_eq!(deleted.rev().collect::<Vec<_>>(), (0..10).map(all).collect::<Vec<_>>().iter().collect::<Vec<_>>());
}

#[test]
fn of_a_life_that_is_forgotten_nothing_waits_any_more() {
    let (queue, jobs, metrics) = hung();
    let life = Life::new(Some((PathBuf::from("a"), queue.clone())), Arc::default(), None);
    life.opened(epoch(7, 100));
    life.take(("180p", Medium::Fragments), &window(&metrics), vec![whole(7, 100)]);
    assert_eq!((metrics.queue_segments.get(), metrics.queue_bytes.get()), (1, 9));
    life.forget();
    assert_eq!((metrics.queue_segments.get(), metrics.queue_bytes.get()), (0, 0));
    let Ok(queue::Job::Life(shelf)) = jobs.try_recv() else { panic!("nobody is told") };
    assert!(matches!(shelf.next(), Some(Next::Forget(_))) && shelf.next().is_none());
    // Without a writer nothing waits.
    drop(jobs);
    queue.push(&Shelf::new(PathBuf::from("b")), Entry::Line(Record::End { unix_ms: 5 }));
    assert!(!queue.flush(oneshot::channel().0));
}

/// Waits for what the disk's thread does in its own time.
async fn until(mut is_so: impl FnMut() -> bool) {
    let mut clock = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !is_so() {
            clock.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never was so");
}

#[tokio::test]
async fn lines_that_a_full_disk_did_not_take_are_written_once_it_does() {
    let root = tempfile::tempdir().unwrap();
    let (store, _, metrics) = open(root.path());
    fs::write(root.path().join("a"), "in the way").unwrap();
    let (life, window) = (store.begin("a"), window(&metrics));
    life.opened(epoch(7, 100));
    life.take(("180p", Medium::Fragments), &window, vec![whole(7, 100)]);
    life.broke_off(101, 5);
    life.opened(epoch(8, 101));
    life.broke_off(102, 6);
    life.ended(7, &crate::streams::Markers::default());
    store.flush(Duration::from_secs(9)).await;
    assert_eq!((metrics.failing.get(), metrics.segments.with_label_values(&["failed"]).get()), (1, 1));
    fs::remove_file(root.path().join("a")).unwrap();
    until(|| metrics.failing.get() == 0).await;
    store.flush(Duration::from_secs(9)).await;
    let (_, left, _) = open(root.path());
    let records = &left[0].records;
    assert!(matches!(&records[1], Record::Epoch(epoch) if epoch.numbers.id == 8), "{records:?}");
    assert_eq!(records[2..], [Record::Break { unix_ms: 6, next_msn: 102 }, Record::End { unix_ms: 7 }]);
}

#[tokio::test]
async fn a_folder_that_is_taken_away_is_told_and_begun_anew() {
    let root = tempfile::tempdir().unwrap();
    let (store, _, metrics) = open(root.path());
    let (life, window) = (store.begin("a"), window(&metrics));
    life.opened(epoch(7, 100));
    life.take(("180p", Medium::Fragments), &window, vec![whole(7, 100)]);
    store.flush(Duration::from_secs(9)).await;
    fs::remove_dir_all(root.path().join("a")).unwrap();
    tokio::time::timeout(Duration::from_secs(20), life.lost()).await.expect("nobody is told");
    assert_eq!(metrics.lost.get(), 1);
    until(|| metrics.failing.get() == 0).await;
    life.take(("180p", Medium::Fragments), &window, vec![whole(7, 101)]);
    store.flush(Duration::from_secs(9)).await;
    drop((store, life));
    let (store, left, metrics) = open(root.path());
    assert_eq!(msns(&left[0].records), [101]);
    // A window that is read again is watched as well, before anything is written.
    let life = store.resume(&left[0]);
    store.flush(Duration::from_secs(9)).await;
    fs::rename(root.path().join("a"), root.path().join("b")).unwrap();
    tokio::time::timeout(Duration::from_secs(20), life.lost()).await.expect("nobody is told");
    assert_eq!(metrics.lost.get(), 1);
}

/// Whoever finds the folder free must not find it again once it is made anew.
#[tokio::test]
async fn a_folder_that_is_made_anew_is_claimed_anew_and_at_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("origin");
    let first = claim(Some(&folder)).unwrap();
    let origin = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
    let retry = Duration::from_secs(3600);
    let config = config::OriginDisk { path: Some(folder.clone()), retry, ..origin.disk };
    let metrics = DiskMetrics::register(&Registry::new()).unwrap();
    let (store, _) = Store::open(&config, &metrics, None);
    let (life, window) = (store.begin("a"), window(&metrics));
    life.opened(epoch(7, 100));
    store.flush(Duration::from_secs(9)).await;
    fs::rename(&folder, root.path().join("gone")).unwrap();
    tokio::time::timeout(Duration::from_secs(20), life.lost()).await.expect("nobody is told");
    life.take(("180p", Medium::Fragments), &window, vec![whole(7, 101)]);
    store.flush(Duration::from_secs(9)).await;
    assert_eq!((metrics.segments.with_label_values(&["written"]).get(), metrics.failing.get()), (1, 0));
    assert_eq!(claim(Some(&folder)).err(), Some(Taken));
    // Another process was faster.
    fs::rename(&folder, root.path().join("gone too")).unwrap();
    let other = claim(Some(&folder)).unwrap();
    tokio::time::timeout(Duration::from_secs(20), life.lost()).await.expect("nobody is told");
    life.take(("180p", Medium::Fragments), &window, vec![whole(7, 102)]);
    store.flush(Duration::from_secs(9)).await;
    assert_eq!((metrics.segments.with_label_values(&["failed"]).get(), metrics.failing.get()), (1, 1));
    assert!(!folder.join("a").exists(), "it is the other's");
    drop((first, other));
}

#[tokio::test]
async fn a_life_whose_journal_cannot_be_read_is_kept_aside() {
    let root = tempfile::tempdir().unwrap();
    let (store, _, metrics) = open(root.path());
    let life = store.begin("a");
    life.opened(epoch(7, 100));
    life.take(("180p", Medium::Fragments), &window(&metrics), vec![whole(7, 100)]);
    store.flush(Duration::from_secs(9)).await;
    let folder = left_folder(root.path());
    // What cannot be read is no regular file here, as the root user reads whatever its mode is.
    fs::rename(folder.join("journal"), folder.join("saved")).unwrap();
    fs::create_dir(folder.join("journal")).unwrap();
    let started = life.given().started;
    drop((store, life));
    for unread in [1, 0] {
        let (store, left, metrics) = open(root.path());
        assert!(left.is_empty() && store.begin("a").given().started > started);
        assert_eq!(metrics.unread.get(), unread);
    }
    let aside = folder.with_extension("unread");
    assert!(!folder.exists() && aside.join("180p").exists(), "nothing of it is lost");
    // The disk is well again.
    fs::remove_dir(aside.join("journal")).unwrap();
    fs::rename(aside.join("saved"), aside.join("journal")).unwrap();
    fs::rename(&aside, &folder).unwrap();
    let (_, left, metrics) = open(root.path());
    assert_eq!((msns(&left[0].records), metrics.unread.get()), (vec![100], 0));
}

#[tokio::test]
async fn what_is_no_file_is_not_opened() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("target");
    let text = "0123456789 this is no journal\n";
    fs::write(&target, text).unwrap();
    for name in ["given", "7/journal", "lock"] {
        for is_pipe in [true, false] {
            let folder = root.path().join("origin");
            let path = if name == "lock" { folder.join(name) } else { folder.join("a").join(name) };
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if is_pipe {
                assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            } else {
                symlink(&target, &path).unwrap();
            }
            let opening = tokio::task::spawn_blocking(move || {
                assert!(claim(Some(&folder)).is_ok());
                let (_, left, _) = open(&folder);
                assert!(left.iter().all(|left| left.records.is_empty()));
                fs::remove_dir_all(folder).unwrap();
            });
            tokio::time::timeout(Duration::from_secs(9), opening).await.expect("it hangs").unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), text);
        }
    }
}
