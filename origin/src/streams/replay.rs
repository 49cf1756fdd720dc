//! A stream that was on disk when the origin started: shown again, through the calls that made it.

use super::stream::{Encrypted, GAPS_MAX, Opening, Stream};
use crate::epoch::EpochId;
use crate::store::{EpochRecord, Record};
use crate::window::OnDisk;
use std::collections::BTreeSet;
use std::time::Instant;
use transcode::{Make, Plan};

/// What its task goes on from.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) plan: Plan,
    pub(crate) last_unix_ms: i64,
    /// Nobody publishes it any more.
    pub(crate) ended: bool,
}

/// Segments that may have been served and are in no journal, besides those that time allows: the open one, and one that
/// was on its way to the disk.
const UNWRITTEN: u64 = 2;

impl Stream {
    /// Takes in a journal; `None` where it shows nothing.
    ///
    /// Unless the journal says that it is whole, the stream goes on behind all that can have been served, in epochs that
    /// the disk did not take as well: what was is listed as gaps, so that no number is given twice and no playlist goes
    /// backwards. It ends where no rendition of it can go on: media that are encrypted as a whole are told of otherwise.
    pub(crate) fn replay(&self, records: &[Record], now: Instant, now_unix_ms: i64) -> Option<Resumed> {
        self.life().set_read(true);
        let resumed = self.read(records, now, now_unix_ms);
        self.life().set_read(false);
        self.tell();
        resumed
    }

    fn read(&self, records: &[Record], now: Instant, now_unix_ms: i64) -> Option<Resumed> {
        let (mut last, mut cut_off, mut ended) = (None, false, false);
        for (index, record) in records.iter().enumerate() {
            match record {
                Record::Stream { .. } => {}
                Record::Epoch(epoch) => {
                    let opened = epoch.opened()?;
                    let opening = Opening {
                        numbers: epoch.numbers,
                        joined: epoch.joined,
                        known: &opened.known,
                        plan: &opened.plan,
                        encryption: encryption(epoch),
                        tracks: opened.tracks,
                        texts: epoch.texts.clone(),
                    };
                    self.open(opening, now);
                    self.turned(&turns(&opened.plan, &records[index + 1..]));
                    (last, cut_off) = (Some(opened.plan), true);
                }
                Record::Segment(segment) => {
                    let ends = segment.ends.clone().into_boxed_slice();
                    let (duration_s, picture_end) = (segment.duration_s, segment.picture_end);
                    let name = (EpochId(segment.epoch), segment.msn);
                    self.restore(
                        &segment.rendition,
                        name,
                        (OnDisk { ends, duration_s, picture_end }, segment.key),
                        now,
                    );
                }
                Record::Text(track) => self.add_text(track.clone(), now),
                Record::Break { unix_ms, next_msn } => {
                    self.break_off(now, *unix_ms);
                    self.lack(*next_msn, now, *unix_ms)?;
                    cut_off = false;
                }
                Record::Gap { through, unix_ms, is_unsure } => {
                    self.lists(*through)?;
                    self.gap_through((*through, *is_unsure), now, *unix_ms);
                }
                Record::Stop { unix_ms, next_msn } => {
                    if std::mem::take(&mut cut_off) {
                        self.break_off(now, *unix_ms);
                    }
                    self.lack(*next_msn, now, *unix_ms)?;
                }
                Record::End { .. } => ended = true,
            }
        }
        let plan = last?;
        let last_unix_ms = records.iter().filter_map(Record::unix_ms).max()?;
        let changes = !ended && self.changes_medium();
        // What follows is new, and for the next one who reads.
        self.life().set_read(ended);
        if cut_off {
            self.break_off(now, last_unix_ms);
        }
        let next = self.next_msn()?;
        let silent_ms = u64::try_from(now_unix_ms - last_unix_ms).unwrap_or(0);
        // After a whole window nothing of it is shown, and the list of what was lost could be long.
        let is_over = silent_ms >= self.window().as_millis() as u64;
        if !ended && !changes && !is_over && !matches!(records.last(), Some(Record::Stop { .. })) {
            // Nobody knows how long the segments of an epoch were that the disk did not take: no plan makes them shorter.
            let shortest_ms = (plan.target_duration_s * 1000 / 2).max(1);
            let lost = UNWRITTEN + silent_ms.div_ceil(shortest_ms);
            self.gap_through((next + lost - 1, true), now, now_unix_ms);
        }
        let ended = ended || changes;
        if ended {
            self.set_ended();
            self.end(now, last_unix_ms);
        }
        Some(Resumed { plan, last_unix_ms, ended })
    }

    /// Whether it ends here, for its encryption.
    fn changes_medium(&self) -> bool {
        let changes = self.has_other_medium();
        if changes {
            tracing::warn!(stream = %self.name, "the stream was on disk and ends here, as its encryption changes to or from aes-128; its publisher begins it anew, and viewers have to load it again");
        }
        changes
    }

    /// Segments before this one that the disk did not take.
    fn lack(&self, next_msn: u64, now: Instant, unix_ms: i64) -> Option<()> {
        if self.next_msn().is_some_and(|next| next < next_msn) {
            self.lists(next_msn)?;
            self.gap_through((next_msn - 1, false), now, unix_ms);
        }
        Some(())
    }

    /// `None` where gaps up to this number would be more than any window has.
    fn lists(&self, through: u64) -> Option<()> {
        let gaps = through.saturating_sub(self.next_msn().unwrap_or(through));
        (gaps <= GAPS_MAX).then_some(())
    }
}

/// From which segment on which rungs of an epoch are away or there again: what there is of others is said by an MPD too, which
/// knows no gaps. `records` are those behind its own.
fn turns<'a>(plan: &'a Plan, records: &[Record]) -> Vec<(u64, &'a str, bool)> {
    let pictures = plan.renditions.iter().filter(|rendition| !matches!(rendition.make, Make::Audio { .. }));
    let mut rungs: Vec<(&str, BTreeSet<u64>)> = pictures.map(|rung| (rung.name.as_str(), BTreeSet::new())).collect();
    for record in records.iter().take_while(|record| !matches!(record, Record::Epoch(_))) {
        let Record::Segment(segment) = record else { continue };
        let of = rungs.iter_mut().find(|(name, _)| *name == segment.rendition);
        of.into_iter().for_each(|(_, here)| {
            here.insert(segment.msn);
        });
    }
    let all: BTreeSet<u64> = rungs.iter().flat_map(|(_, here)| here).copied().collect();
    let mut turns = Vec::new();
    let mut away = vec![false; rungs.len()];
    for msn in all {
        for ((name, here), away) in rungs.iter().zip(&mut away) {
            if *away == here.contains(&msn) {
                *away = !*away;
                turns.push((msn, *name, *away));
            }
        }
    }
    turns
}

fn encryption(epoch: &EpochRecord) -> Option<Encrypted> {
    epoch.encryption.map(|method| Encrypted { method: method.method(), before: epoch.keys.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::{Bitrate, Known, Numbers};
    use crate::keys::KeyName;
    use crate::medium::Medium;
    use crate::store::{Method, SegmentRecord};
    use crate::streams::stream::Room;
    use crate::testing::{aac, aac_config, avc, avc_config, plan};
    use bytes::Bytes;
    use config::EncryptionMethod;
    use std::time::Duration;
    use transcode::Source;

    /// When the first epoch begins; segments are of two seconds.
    const ZERO_MS: i64 = 1_795_226_400_000;

    fn epoch(first_msn: u64, zero_unix_ms: i64, discontinuities: u64) -> Record {
        encrypted((first_msn, zero_unix_ms, discontinuities), None)
    }

    fn encrypted(
        (first_msn, zero_unix_ms, discontinuities): (u64, i64, u64),
        encryption: Option<EncryptionMethod>,
    ) -> Record {
        let plan = plan(30, 60, 10);
        let source = Source { video: avc_config(), audio: Some(aac_config()), rate: plan.rate, gop: Some(60) };
        let known = Known { source, bitrate: Bitrate { average: 1, peak: 2 }, captions: media::Captions::default() };
        let tracks = [(avc(plan.rate.timescale()), Bytes::new()), (aac(), Bytes::new())];
        let numbers = Numbers { id: 7 + discontinuities, first_msn, discontinuities, zero_unix_ms };
        Record::Epoch(Box::new(EpochRecord::new((numbers, 0), (&known, &plan, encryption), &tracks)))
    }

    /// An epoch of five segments in both renditions.
    fn five() -> Vec<Record> {
        let segment = |rendition: &str, index: u64| {
            Record::Segment(SegmentRecord {
                rendition: rendition.to_owned(),
                medium: Medium::Fragments,
                epoch: 7,
                msn: 100 + index,
                duration_s: 2.0,
                ends: vec![9],
                crc: 0,
                picture_end: Some(5).filter(|_| rendition != "audio"),
                key: None,
                unix_ms: ZERO_MS + 2000 * (index as i64 + 1),
            })
        };
        let segments = (0..5).flat_map(|index| [segment("180p", index), segment("audio", index)]);
        std::iter::once(epoch(100, ZERO_MS, 0)).chain(segments).collect()
    }

    fn stream() -> Stream {
        Stream::new("a".to_owned(), Room::for_tests(Duration::from_secs(300)))
    }

    fn text(stream: &Stream, rendition: &str) -> String {
        let rendition = stream.rendition(rendition).unwrap();
        String::from_utf8(stream.playlist(&rendition, manifest::Skip::Nothing).identity().to_vec()).unwrap()
    }

    fn dates(text: &str) -> Vec<&str> {
        text.lines().filter_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:")).collect()
    }

    /// The disk was full while a publisher went, came back and sent for so long: nothing of that is in the journal.
    #[test]
    fn no_number_is_given_twice_whatever_line_is_missing() {
        let killed = five();
        let waited = [five(), vec![Record::Break { unix_ms: ZERO_MS + 10_000, next_msn: 105 }]].concat();
        let gap = Record::Gap { through: 106, unix_ms: ZERO_MS + 14_000, is_unsure: false };
        let gapped = [waited.clone(), vec![gap]].concat();
        for (records, known) in [(killed, 105), (waited, 105), (gapped, 107)] {
            for away_s in [0, 1, 7, 60, 250] {
                let stream = stream();
                let last_ms = records.iter().filter_map(Record::unix_ms).max().unwrap();
                let now_ms = last_ms + 1000 * away_s;
                stream.replay(&records, Instant::now(), now_ms).unwrap();
                // Half a second after its last line the origin may have had a new epoch, which sent until it was killed, and
                // whose segments were of 1.2 seconds.
                let given = known + (now_ms - last_ms + 1199) / 1200;
                let next = stream.next_msn().unwrap();
                assert!(next as i64 > given, "{next} is given again after {away_s} s");
                // What comes is of neither that epoch nor the one before it.
                assert_eq!(stream.discontinuities(next), 2);
            }
        }
    }

    #[test]
    fn what_was_stopped_goes_on_where_it_was() {
        for records in [
            vec![
                Record::Break { unix_ms: ZERO_MS + 10_000, next_msn: 105 },
                Record::Stop { unix_ms: ZERO_MS + 10_000, next_msn: 105 },
            ],
            vec![Record::Stop { unix_ms: ZERO_MS + 10_000, next_msn: 105 }],
        ] {
            let stream = stream();
            stream.replay(&[five(), records].concat(), Instant::now(), ZERO_MS + 30_000).unwrap();
            assert_eq!((stream.next_msn(), stream.discontinuities(105)), (Some(105), 1));
            assert!(!text(&stream, "180p").contains("EXT-X-GAP"));
        }
    }

    #[test]
    fn what_was_encrypted_as_a_whole_and_is_so_no_more_ends_where_it_was() {
        let stream = stream();
        let mut records = five();
        records[0] = encrypted((100, ZERO_MS, 0), Some(EncryptionMethod::Aes128));
        let resumed = stream.replay(&records, Instant::now(), ZERO_MS + 15_000).unwrap();
        assert!(resumed.ended && stream.has_ended(), "its publisher begins another");
        let text = text(&stream, "180p");
        assert!(text.ends_with("/104.m4s\n#EXT-X-ENDLIST\n"), "all of it, and no gap: {text}");
        assert_eq!(text.matches("#EXTINF").count(), 5);
        // Samples are encrypted in place: what is made of them goes on.
        records[0] = encrypted((100, ZERO_MS, 0), Some(EncryptionMethod::Cbcs));
        let other = Stream::new("a".to_owned(), Room::for_tests(Duration::from_secs(300)));
        assert!(!other.replay(&records, Instant::now(), ZERO_MS + 15_000).unwrap().ended);
    }

    /// Whatever is configured now.
    #[test]
    fn players_are_told_of_keys_as_they_were() {
        let access = r#"{"by_licence":true,"key_uri":"https://keys.example/{stream}/{kid}"}"#;
        let mut records = five();
        for record in &mut records {
            match record {
                Record::Epoch(epoch) => {
                    epoch.encryption = Some(Method::Cbcs);
                    epoch.keys = serde_json::from_str(access).unwrap();
                }
                Record::Segment(segment) => segment.key = Some(KeyName { id: [7; 16], iv: [0; 16] }),
                _ => {}
            }
        }
        let stream = stream();
        stream.replay(&records, Instant::now(), ZERO_MS + 15_000).unwrap();
        let (text, id) = (text(&stream, "180p"), "07".repeat(16));
        assert!(text.contains(&format!("URI=\"https://keys.example/a/{id}\"")), "{text}");
        assert!(text.contains("KEYFORMAT=\"org.w3.clearkey\""), "{text}");
    }

    #[test]
    fn segments_that_the_disk_did_not_take_are_gaps() {
        let broke_off = Record::Break { unix_ms: ZERO_MS + 16_000, next_msn: 108 };
        let stopped = Record::Stop { unix_ms: ZERO_MS + 16_000, next_msn: 108 };
        let stream = stream();
        let records = [five(), vec![broke_off, stopped]].concat();
        stream.replay(&records, Instant::now(), ZERO_MS + 30_000).unwrap();
        for rendition in ["180p", "audio"] {
            assert_eq!(text(&stream, rendition).matches("#EXT-X-GAP\n#EXTINF:2.00000,\n").count(), 3);
        }
        assert_eq!((stream.next_msn(), stream.discontinuities(108)), (Some(108), 1));
    }

    #[test]
    fn no_date_is_after_the_present_and_none_goes_back() {
        for away_ms in [600, 1500, 3999, 4001, 30_000] {
            let (stream, now_ms) = (stream(), ZERO_MS + 10_000 + away_ms);
            stream.replay(&five(), Instant::now(), now_ms).unwrap();
            let end_ms = ["180p", "audio"].map(|name| stream.rendition(name).unwrap().end_unix_ms().unwrap());
            assert!(end_ms.iter().all(|&end_ms| end_ms <= now_ms + 1), "{end_ms:?} after {now_ms}");
            // A publisher is there at once.
            let next = stream.next_msn().unwrap();
            let Record::Epoch(epoch) = epoch(next, now_ms, stream.discontinuities(next)) else { unreachable!() };
            let opened = epoch.opened().unwrap();
            stream.open(
                Opening {
                    numbers: epoch.numbers,
                    joined: 0,
                    known: &opened.known,
                    plan: &opened.plan,
                    encryption: None,
                    tracks: opened.tracks,
                    texts: Vec::new(),
                },
                Instant::now(),
            );
            let text = text(&stream, "180p");
            assert!(dates(&text).is_sorted(), "{text}");
        }
    }
}
