//! What a CMAF segment holds, as far as its MPD speaks of it.

use anyhow::{Context, bail, ensure};
use mp4_atom::{Decode, Moof, Moov, Prft};

/// A moof and its mdat. Times are in ticks of the track.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::conformance) struct Fragment {
    pub(in crate::conformance) decode: u64,
    /// The earliest presentation time of its samples.
    pub(in crate::conformance) shown: i64,
    pub(in crate::conformance) ticks: u64,
    /// Whether its first sample is a sync sample; `None` where defaults of the init section tell.
    pub(in crate::conformance) sync: Option<bool>,
    /// The wall clock: media time, and Unix seconds.
    pub(in crate::conformance) clock: Option<(u64, f64)>,
}

const NON_SYNC: u32 = 0x0001_0000;
const NTP_OF_UNIX_S: f64 = 2_208_988_800.0;

/// # Errors
/// It is not built of whole boxes, each moof with its mdat.
pub(in crate::conformance) fn read(bytes: &[u8]) -> anyhow::Result<Vec<Fragment>> {
    let (mut fragments, mut rest, mut clock, mut open) = (Vec::new(), bytes, None, None);
    while !rest.is_empty() {
        let header: [u8; 8] = rest.get(..8).context("half a box at the end")?.try_into()?;
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let name = &header[4..];
        ensure!(length >= 8 && length <= rest.len(), "a box {name:?} of {length} bytes in {}", rest.len());
        let (mut whole, after) = rest.split_at(length);
        match name {
            b"prft" => {
                let prft = Prft::decode(&mut whole)?;
                let unix_s = prft.ntp_timestamp as f64 / 2_f64.powi(32) - NTP_OF_UNIX_S;
                clock = Some((prft.media_time, unix_s));
            }
            b"moof" => {
                ensure!(open.is_none(), "a moof without its mdat");
                open = Some(Fragment { clock: clock.take(), ..fragment(&Moof::decode(&mut whole)?)? });
            }
            b"mdat" => fragments.push(open.take().context("an mdat without its moof")?),
            b"styp" | b"emsg" | b"sidx" | b"free" | b"skip" | b"ssix" => {}
            _ => bail!("a box {:?}", String::from_utf8_lossy(name)),
        }
        rest = after;
    }
    ensure!(open.is_none() && !fragments.is_empty(), "no moof with its mdat");
    Ok(fragments)
}

/// Of the only track of an init section, in ticks per second.
///
/// # Errors
/// There is no moov with a track in it.
pub(in crate::conformance) fn timescale(init: &[u8]) -> anyhow::Result<f64> {
    let mut rest = init;
    while let Some(header) = rest.first_chunk::<8>() {
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let mut whole = rest.get(..length).filter(|whole| whole.len() >= 8).context("half a box")?;
        if header.ends_with(b"moov") {
            let moov = Moov::decode(&mut whole)?;
            return Ok(f64::from(moov.trak.first().context("no track")?.mdia.mdhd.timescale));
        }
        rest = &rest[length..];
    }
    bail!("no moov")
}

fn fragment(moof: &Moof) -> anyhow::Result<Fragment> {
    let [traf] = &moof.traf[..] else { bail!("{} tracks", moof.traf.len()) };
    let decode = traf.tfdt.as_ref().context("no tfdt")?.base_media_decode_time;
    let default = traf.tfhd.default_sample_duration;
    let (mut ticks, mut shown, mut sync) = (0, i64::MAX, None);
    for sample in traf.trun.iter().flat_map(|run| run.samples.iter()) {
        if ticks == 0 {
            sync = sample.flags.or(traf.tfhd.default_sample_flags).map(|flags| flags & NON_SYNC == 0);
        }
        shown = shown.min(decode as i64 + ticks as i64 + sample.cts.unwrap_or(0));
        ticks += u64::from(sample.duration.or(default).context("no duration")?);
    }
    ensure!(ticks > 0, "no samples");
    Ok(Fragment { decode, shown, ticks, sync, clock: None })
}
