//! What windows say of segments that are encrypted.

use super::*;
use crate::keys::KeyAccess;
use config::EncryptionMethod;
use manifest::delta::Replica;

fn encrypted(method: EncryptionMethod) -> Life {
    let medium = if method == EncryptionMethod::Cbcs { Medium::Fragments } else { Medium::Whole };
    let mut life = Life::of(Shape { medium, length_s: 60.0, ..SHAPE });
    life.told = Some(Arc::new(Told::new(method, "show", KeyAccess::default(), Some(3))));
    life
}

fn text(text: &Text) -> String {
    String::from_utf8(text.identity().to_vec()).unwrap()
}

fn whole(life: &mut Life, count: u64) {
    for _ in 0..count {
        let at = life.window.head().next;
        let (bytes, key) = (Bytes::from(format!("<{at}>")), Some(key_of(at.msn)));
        let (independent, ends_segment) = (true, true);
        let part = Part { at, bytes, duration_s: 2.0, first_picture_end: None, independent, ends_segment, key };
        assert!(life.window.push(part, life.now));
    }
}

/// The key that holds for each segment and part of a playlist, and the init section, by their first and last letters.
fn held(text: &str) -> Vec<(String, String, String)> {
    let (mut key, mut map, mut held) = (String::new(), String::new(), Vec::new());
    let value = |line: &str| line.split('"').nth(1).unwrap_or_default().to_owned();
    for line in text.lines() {
        match line {
            _ if line.starts_with("#EXT-X-KEY:") => key = value(line),
            _ if line.starts_with("#EXT-X-MAP:") => map = value(line),
            _ if line.starts_with("#EXT-X-PART:") => held.push((value(line), key.clone(), map.clone())),
            _ if !line.starts_with('#') => held.push((line.to_owned(), key.clone(), map.clone())),
            _ => {}
        }
    }
    held
}

fn msn_of(uri: &str) -> u64 {
    uri.split('/').nth(1).and_then(|file| file.split('.').next()).unwrap().parse().unwrap()
}

#[test]
fn each_key_has_its_init_section_and_both_come_before_the_first_part() {
    let mut life = encrypted(EncryptionMethod::Cbcs);
    life.begin(1, 100);
    life.parts(20 * PARTS + 1);
    for said in [text(&life.window.full(Vec::new(), "")), text(&life.window.iframes("").unwrap())] {
        let held = held(&said);
        assert!(held.len() >= 20);
        for (uri, key, map) in held {
            let id = crate::keys::hex(&key_of(msn_of(&uri)).id);
            assert_eq!((key, map), (format!("../keys/{id}"), format!("1/init.{id}.mp4")), "{uri}");
        }
        // 100 and 101 are of one key, then three of each.
        assert_eq!(said.matches("#EXT-X-MAP:").count(), if said.contains("I-FRAMES") { 7 } else { 8 }, "{said}");
    }
}

#[test]
fn a_delta_update_leaves_nobody_without_a_key() {
    for method in [EncryptionMethod::Cbcs, EncryptionMethod::Aes128] {
        let mut life = encrypted(method);
        life.begin(1, 100);
        let mut replica = None::<Replica>;
        for _ in 0..25 {
            match method {
                EncryptionMethod::Cbcs => life.parts(PARTS),
                EncryptionMethod::Aes128 => whole(&mut life, 1),
            }
            let full = text(&life.window.full(Vec::new(), ""));
            if let Some((update, replica)) = life.window.delta(Vec::new(), "").zip(replica.as_mut()) {
                let update = text(&update);
                // As a client has it: what was skipped is what it has, key and all, and the rest is as the update says.
                let (skipped, rest) = update.split_once("SKIPPED-SEGMENTS=").unwrap();
                let rest = format!("{skipped}\n{}", rest.split_once('\n').unwrap().1);
                let (said, whole) = (held(&rest), held(&full));
                assert_eq!(said, whole[whole.len() - said.len()..], "{update}");
                // As an edge does, which keeps the whole of it by updates.
                let kept = replica.apply(&replica.read(&update).unwrap()).full.text();
                assert_eq!(held(&kept), whole, "{kept}");
            } else {
                replica = Replica::of(&full);
            }
        }
    }
}

#[test]
fn what_follows_in_the_clear_is_told_that_the_key_has_ended() {
    let mut life = encrypted(EncryptionMethod::Cbcs);
    life.begin(1, 100);
    life.parts(8 * PARTS);
    life.window.break_off(life.now);
    life.told = None;
    life.begin(2, 108);
    let mut replica = None::<Replica>;
    let is_right = |said: &str| {
        for (uri, key, map) in held(said) {
            let is_clear = uri.starts_with("2/");
            assert_eq!((key.is_empty(), map == "2/init.mp4"), (is_clear, is_clear), "{uri}: {said}");
        }
    };
    for _ in 0..45 * PARTS {
        life.parts(1);
        let full = text(&life.window.full(Vec::new(), ""));
        is_right(&full);
        is_right(&text(&life.window.iframes("").unwrap()));
        if let Some((update, replica)) = life.window.delta(Vec::new(), "").zip(replica.as_mut()) {
            let update = text(&update);
            let (_, behind) = update.split_once("#EXT-X-SKIP:").unwrap();
            let at = |line: &str| behind.find(line).unwrap_or(usize::MAX);
            assert!(at("#EXT-X-KEY:METHOD=NONE") < at("2/init.mp4"), "{update}");
            let kept = replica.apply(&replica.read(&update).unwrap()).full.text();
            is_right(&kept);
            assert_eq!(held(&kept), held(&full), "{kept}");
        } else {
            replica = Replica::of(&full);
        }
    }
    assert!(life.window.first_msn() > 108, "nothing that was encrypted is listed");
}

#[test]
fn an_init_section_is_made_for_each_key_that_is_in_use() {
    let mut life = encrypted(EncryptionMethod::Cbcs);
    life.begin(1, 100);
    life.parts(3 * PARTS);
    let init = |id: [u8; 16]| life.window.lookup(EpochId(1), Name::Init(Some(id)));
    // Its media are no MP4, so it cannot be made; but only for a key that nobody has it is unknown for want of one.
    assert_eq!(init([99; 16]), Lookup::Unknown);
    assert!(matches!(life.window.lookup(EpochId(1), Name::Init(None)), Lookup::Found(_)));
}

#[test]
fn whole_segments_have_an_iv_each_and_no_parts() {
    let mut life = encrypted(EncryptionMethod::Aes128);
    life.begin(1, 100);
    whole(&mut life, 4);
    let said = text(&life.window.full(Vec::new(), ""));
    for absent in ["EXT-X-PART", "PRELOAD-HINT", "PART-HOLD-BACK"] {
        assert!(!said.contains(absent), "{absent}: {said}");
    }
    let ivs: Vec<_> = said.lines().filter_map(|line| line.split("IV=0x").nth(1)).collect();
    assert_eq!(ivs, (100..104).map(|msn: u32| format!("{msn:032x}")).collect::<Vec<_>>());
    let lines: Vec<_> = said.lines().collect();
    let map = lines.iter().position(|line| line.starts_with("#EXT-X-MAP:URI=\"1/init.mp4\"")).unwrap();
    assert_eq!(lines[map - 1], "#EXT-X-KEY:METHOD=NONE", "the init section is in the clear");
    assert!(life.window.iframes("").is_none());
}

#[test]
fn no_part_under_another_key_is_hinted_at() {
    let mut life = encrypted(EncryptionMethod::Cbcs);
    life.begin(1, 100);
    for _ in 0..5 * PARTS {
        life.parts(1);
        let (said, next) = (text(&life.window.full(Vec::new(), "")), life.window.head().next);
        let hinted = said.contains("PRELOAD-HINT");
        assert_eq!(hinted, next.part != 0 || next.msn % 3 != 0, "{next}");
        let uri = format!("1/{}.{}.m4s", next.msn, next.part);
        assert_eq!(life.window.lookup(EpochId(1), named(&uri).1), Lookup::Hinted, "who asks for it waits");
    }
}

#[test]
fn a_gap_changes_no_key() {
    let mut life = encrypted(EncryptionMethod::Cbcs);
    life.begin(1, 102);
    life.parts(PARTS);
    life.window.break_off(life.now);
    let (unix_ms, each_s) = (life.window.end_unix_ms().unwrap(), 2.0);
    life.window.gap_through(&Gaps { first: 103, last: 104, unix_ms, each_s, is_unsure: false }, life.now);
    let said = text(&life.window.full(Vec::new(), ""));
    assert_eq!(said.matches("#EXT-X-GAP").count(), 2, "{said}");
    let held = held(&said);
    assert!(held.iter().all(|(_, key, map)| (key, map) == (&held[0].1, &held[0].2)), "{said}");
}
