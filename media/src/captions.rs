//! Captions in the bitstream: which channels of CEA-608 and CEA-708 a picture's SEI messages carry (ATSC A/53, part 4, 6.2).

/// Channels that were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captions {
    /// Field 1 of line 21, which is CC1.
    cc1: bool,
    /// Something in field 2, which is CC3.
    cc3: bool,
    /// Services of CEA-708, the first of them in the lowest bit.
    services: u8,
}

/// Services that are told of; more are hardly sent.
const SERVICES: u8 = 6;

impl Captions {
    /// Takes note of what a picture carries: NAL units with lengths of 4 bytes, as in [`Frame::data`](crate::Frame::data).
    pub fn see(&mut self, picture: &[u8]) {
        let mut rest = picture;
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((nal, after)) = after.split_at_checked(length) else { return };
            match nal.split_first() {
                Some((header, payload)) if header & 0x1f == NAL_TYPE_SEI => self.sei(&unescaped(payload)),
                // SEI messages come before the picture (ISO/IEC 14496-10, 7.4.1.2.3).
                Some((header, _)) if (1..=5).contains(&(header & 0x1f)) => return,
                _ => {}
            }
            rest = after;
        }
    }

    /// As HLS names them: `CC1`, `CC3`, `SERVICE1`.
    pub fn channels(self) -> Vec<String> {
        let lines = [(self.cc1, "CC1"), (self.cc3, "CC3")];
        let lines = lines.into_iter().filter(|(seen, _)| *seen).map(|(_, name)| name.to_owned());
        let services = (1..=SERVICES).filter(|service| self.services & 1 << (service - 1) != 0);
        lines.chain(services.map(|service| format!("SERVICE{service}"))).collect()
    }

    /// ISO/IEC 14496-10, 7.3.2.3.1: messages, each with a type and a size.
    fn sei(&mut self, mut rest: &[u8]) {
        while rest.len() > 2 {
            let Some((kind, after)) = number(rest) else { return };
            let Some((size, after)) = number(after) else { return };
            let Some((message, after)) = after.split_at_checked(size) else { return };
            if kind == USER_DATA_T35
                && let Some(captions) = message.strip_prefix(ATSC_CAPTIONS)
            {
                self.captions(captions);
            }
            rest = after;
        }
    }

    /// `cc_data`: a count, a byte that says nothing, and triplets.
    fn captions(&mut self, data: &[u8]) {
        let Some((flags, rest)) = data.split_first().filter(|(flags, _)| *flags & PROCESS != 0) else { return };
        let triplets = rest.get(1..).unwrap_or_default().chunks_exact(3).take(usize::from(flags & 0x1f));
        for triplet in triplets.filter(|triplet| triplet[0] & VALID != 0) {
            match triplet[0] & 3 {
                // Where nobody speaks, field 1 is filled with padding; what is there at all is captioned.
                0 => self.cc1 = true,
                1 => self.cc3 |= triplet[1] & 0x7f != 0 || triplet[2] & 0x7f != 0,
                // A packet begins: its header, then that of its first service.
                3 => {
                    let service = triplet[2] >> 5;
                    if (1..=SERVICES).contains(&service) {
                        self.services |= 1 << (service - 1);
                    }
                }
                _ => {}
            }
        }
    }
}

const NAL_TYPE_SEI: u8 = 6;
/// user_data_registered_itu_t_t35.
const USER_DATA_T35: usize = 4;
/// United States, ATSC, "GA94", captions.
const ATSC_CAPTIONS: &[u8] = &[0xb5, 0, 0x31, b'G', b'A', b'9', b'4', 3];
const PROCESS: u8 = 0x40;
const VALID: u8 = 4;

/// A number written as bytes of 255 and one that is less.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let full = bytes.iter().take_while(|byte| **byte == 0xff).count();
    let (last, rest) = bytes.get(full..)?.split_first()?;
    Some((full * 255 + usize::from(*last), rest))
}

/// Without the bytes that keep start codes out (7.3.1).
fn unescaped(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for byte in payload {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with these triplets in an SEI message, and an IDR slice.
    fn picture(triplets: &[[u8; 3]]) -> Vec<u8> {
        let mut message = ATSC_CAPTIONS.to_vec();
        message.extend([PROCESS | triplets.len() as u8, 0xff]);
        message.extend(triplets.concat());
        message.push(0xff);
        let mut sei = vec![6, 4, message.len() as u8];
        // As encoders do: no three bytes look like a start code.
        for byte in message {
            if byte <= 3 && sei.ends_with(&[0, 0]) {
                sei.push(3);
            }
            sei.push(byte);
        }
        sei.push(0x80);
        let nal = |nal: &[u8]| [&(nal.len() as u32).to_be_bytes()[..], nal].concat();
        [nal(&[9, 0xf0]), nal(&sei), nal(&[0x65, 1, 2, 3])].concat()
    }

    fn seen(triplets: &[[u8; 3]]) -> Vec<String> {
        let mut captions = Captions::default();
        captions.see(&picture(triplets));
        captions.channels()
    }

    #[test]
    fn channels_are_told_by_their_names() {
        assert_eq!(seen(&[[0xfc, 0x94, 0x20]]), ["CC1"]);
        assert_eq!(seen(&[[0xfc, 0x80, 0x80], [0xfd, 0x80, 0x80]]), ["CC1"], "padding in field 2 is nothing");
        assert_eq!(seen(&[[0xfc, 0x80, 0x80], [0xfd, 0x15, 0x2c]]), ["CC1", "CC3"]);
        assert_eq!(seen(&[[0xff, 0x02, 0x21], [0xfe, 0x41, 0]]), ["SERVICE1"]);
        assert_eq!(seen(&[[0xff, 0x02, 0x41], [0xff, 0x02, 0xe1]]), ["SERVICE2"], "extended ones are not");
        assert_eq!(seen(&[[0xf8, 0x94, 0x20], [0xfa, 0, 0]]), [""; 0], "marked as not valid");
        assert_eq!(seen(&[[0xfc, 0, 0]; 20]), ["CC1"], "zeros are escaped");
    }

    #[test]
    fn a_picture_that_is_cut_anywhere_is_read_without_harm() {
        let whole = picture(&[[0xfc, 0x94, 0x20], [0xff, 0x02, 0x21]]);
        for end in 0..whole.len() {
            Captions::default().see(&whole[..end]);
            let mut odd = whole.clone();
            odd[end] ^= 0xff;
            Captions::default().see(&odd);
        }
        Captions::default().see(&[0xff; 64]);
    }
}
