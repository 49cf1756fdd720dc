//! Lives of streams through the disk: what is written is read, and what is not whole is nobody's.

use super::record::{Epoch, Record};
use super::*;
use crate::epoch::{Bitrate, EpochId, Known, Numbers};
use crate::medium::Medium;
use crate::testing::{aac, aac_config, avc, avc_config, plan};
use crate::window::{News, Shape, Window};
use bytes::Bytes;
use prometheus::Registry;
use std::fs;
use std::path::Path;
use transcode::Source;

fn open(root: &Path) -> (Store, Vec<Recovered>, DiskMetrics) {
    let origin = config::Config::parse("[origin]\n", []).unwrap().origin.unwrap();
    let config = config::OriginDisk { path: Some(root.to_owned()), ..origin.disk };
    let metrics = DiskMetrics::register(&Registry::new()).unwrap();
    let (store, left) = Store::open(&config, &metrics);
    (store, left, metrics)
}

fn epoch(id: u64, first_msn: u64) -> Epoch {
    let plan = plan(30, 60, 10);
    let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
    let known = Known { source, bitrate: Bitrate { average: 1, peak: 2 }, captions: media::Captions::default() };
    let tracks = [(avc(plan.rate.timescale()), Bytes::new()), (aac(), Bytes::new())];
    let numbers = Numbers { id, first_msn, discontinuities: 0, zero_unix_ms: unix_ms() };
    Epoch::new((numbers, 0, false), (&known, &plan), &tracks)
}

fn window(metrics: &DiskMetrics) -> Arc<Mutex<Window>> {
    let shape =
        Shape { medium: Medium::Fragments, length_s: 60.0, memory_s: 12.0, target_duration_s: 2, part_target_s: 0.334 };
    let memory = crate::window::Memory::new(usize::MAX, metrics.shortened.clone());
    Arc::new(Mutex::new(Window::new(shape, memory)))
}

fn whole(epoch: u64, msn: u64) -> News {
    let pieces = vec![Bytes::from(format!("{epoch}.{msn}")), Bytes::from_static(b"more")];
    News::Whole { epoch: EpochId(epoch), msn, pieces, duration_s: 2.0, picture_end: Some(3) }
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
    let line = Record::Break { unix_ms: 5 }.line();
    fs::write(&journal, [fs::read(&journal).unwrap(), line.as_bytes()[..20].to_vec()].concat()).unwrap();

    let (store, left, _) = open(root.path());
    assert_eq!((left.len(), msns(&left[0].records)), (1, vec![100, 103]));
    assert_eq!(fs::metadata(&journal).unwrap().len(), length, "the torn line is cut off");
    // It is written on.
    let life = store.resume(&left[0]);
    life.broke_off(9);
    store.flush(Duration::from_secs(9)).await;
    let (_, left, _) = open(root.path());
    assert_eq!(left[0].records.last(), Some(&Record::Break { unix_ms: 9 }));
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
            if let Some(gone) = msn.checked_sub(10) {
                let epoch = EpochId(if gone < 5000 { 7 } else { 8 });
                life.take(("180p", Medium::Fragments), &window, vec![News::Gone { epoch, msn: gone }]);
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
