//! Subtitles in MP4 (ISO/IEC 14496-30), as far as an MPD speaks of them: read by nothing that the writer under test has.

use anyhow::{Context, bail, ensure};
use mp4_atom::{Decode, Moof};

/// Whether an init section tells of WebVTT: a sample entry `wvtt` with its configuration, which begins as a file does.
pub(super) fn is_told(init: &[u8]) -> bool {
    let entry = init.windows(4).position(|window| window == b"wvtt").map(|at| &init[at..]);
    // The entry's own fields are eight bytes; the first box in it is its configuration.
    entry.and_then(|entry| entry.get(16..26)).is_some_and(|config| config == b"vttCWEBVTT")
}

/// How many samples show something.
///
/// # Errors
/// A sample is not one empty cue, or cues with a payload each.
pub(super) fn read(bytes: &[u8]) -> anyhow::Result<usize> {
    let (mut rest, mut shown) = (bytes, 0);
    while let Some(header) = rest.first_chunk::<8>() {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let whole = rest.get(..length).filter(|whole| whole.len() >= 8).context("half a box")?;
        if header.ends_with(b"moof") {
            let moof = Moof::decode(&mut &*whole)?;
            for run in moof.traf.iter().flat_map(|traf| &traf.trun) {
                let mut at = usize::try_from(run.data_offset.context("no data offset")?)?;
                for sample in run.samples.iter() {
                    let size = sample.size.context("no size")? as usize;
                    shown += usize::from(shows(rest.get(at..at + size).context("no such data")?)?);
                    at += size;
                }
            }
        }
        rest = &rest[length..];
    }
    Ok(shown)
}

/// 14496-30, 7.4: what is in a sample.
fn shows(sample: &[u8]) -> anyhow::Result<bool> {
    let boxes = boxes(sample)?;
    match &boxes[..] {
        [(b"vtte", [])] => Ok(false),
        [] => bail!("an empty sample"),
        all => {
            for (name, body) in all {
                ensure!(matches!(*name, b"vttc" | b"vtta"), "a {:?}", String::from_utf8_lossy(*name));
                if *name == b"vttc" {
                    let inner = self::boxes(body)?;
                    let payloads: Vec<_> = inner.iter().filter(|(name, _)| *name == b"payl").collect();
                    let [(_, text)] = payloads[..] else { bail!("{} payloads in a cue", payloads.len()) };
                    let text = std::str::from_utf8(text)?;
                    ensure!(!text.is_empty() && !text.contains("-->"), "a payload {text:?}");
                }
            }
            Ok(true)
        }
    }
}

/// A box's name and what is in it.
type Named<'a> = (&'a [u8; 4], &'a [u8]);

fn boxes(mut rest: &[u8]) -> anyhow::Result<Vec<Named<'_>>> {
    let mut boxes = Vec::new();
    while !rest.is_empty() {
        let (size, after) = rest.split_first_chunk::<4>().context("half a box")?;
        let (name, _) = after.split_first_chunk::<4>().context("half a box")?;
        let size = u32::from_be_bytes(*size) as usize;
        boxes.push((name, rest.get(8..size).context("a box of another size")?));
        rest = &rest[size..];
    }
    Ok(boxes)
}
