//! How media are encrypted, as playlists and MPDs say it (RFC 8216bis, 4.4.4.4 and 4.4.6.4; ISO/IEC 23009-1, 5.8.4.1).

use std::fmt::{self, Display, Write};

/// A content key as players are told of it. No URI in it needs escaping: callers give none with `"`, `<` or `&`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub method: Method,
    pub uri: String,
    pub iv: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Whole segments.
    Aes128,
    /// Samples, by `cbcs` with this key id.
    SampleAes { key_id: [u8; 16], format: KeyFormat },
}

/// KEYFORMAT. One alone: hls.js takes `identity` where it is there, and cannot decrypt samples of MP4 with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// The URI has the sixteen bytes of the key.
    Identity,
    /// The browser asks for a licence of this key id.
    ClearKey,
}

/// ContentProtection of an AdaptationSet that is encrypted by `cbcs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentProtection {
    pub key_id: [u8; 16],
    /// Where clear keys are given as licences (W3C Encrypted Media Extensions, 9.1), if it is told.
    pub license_uri: Option<String>,
}

/// Lines that say what holds from here on: the key, and the init section where it is to be said.
pub(crate) fn render_into(key: Option<&Key>, map: Option<&str>, out: &mut String) -> fmt::Result {
    let say_map = |out: &mut String| match map {
        Some(uri) => writeln!(out, "#EXT-X-MAP:URI=\"{uri}\""),
        None => Ok(()),
    };
    let Some(key) = key else { return say_map(out) };
    let (uri, iv) = (&key.uri, Hex(key.iv));
    match key.method {
        Method::Aes128 => {
            if map.is_some() {
                // 4.4.4.4: a key holds for init sections as well, and these are the same under every key.
                writeln!(out, "#EXT-X-KEY:METHOD=NONE")?;
                say_map(out)?;
            }
            writeln!(out, "#EXT-X-KEY:METHOD=AES-128,URI=\"{uri}\",IV={iv}")
        }
        Method::SampleAes { key_id, format } => {
            write!(out, "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"{uri}\",IV={iv}")?;
            format.render_into(key_id, out)?;
            say_map(out)
        }
    }
}

impl Key {
    /// EXT-X-SESSION-KEY: players may get ready before they read a media playlist.
    pub(crate) fn render_session_into(&self, out: &mut String) -> fmt::Result {
        let (uri, iv) = (&self.uri, Hex(self.iv));
        match self.method {
            Method::Aes128 => writeln!(out, "#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"{uri}\",IV={iv}"),
            // Shaka would take it for the key of an id that it does not know yet.
            Method::SampleAes { format: KeyFormat::Identity, .. } => Ok(()),
            Method::SampleAes { key_id, format } => {
                write!(out, "#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI=\"{uri}\",IV={iv}")?;
                format.render_into(key_id, out)
            }
        }
    }
}

impl KeyFormat {
    fn render_into(self, key_id: [u8; 16], out: &mut String) -> fmt::Result {
        match self {
            Self::Identity => writeln!(out),
            Self::ClearKey => {
                writeln!(out, ",KEYID={},KEYFORMAT=\"org.w3.clearkey\",KEYFORMATVERSIONS=\"1\"", Hex(key_id))
            }
        }
    }
}

impl ContentProtection {
    pub(crate) fn render_into(&self, out: &mut String) -> fmt::Result {
        let kid = Uuid(self.key_id);
        writeln!(
            out,
            "   <ContentProtection schemeIdUri=\"urn:mpeg:dash:mp4protection:2011\" value=\"cbcs\" \
             cenc:default_KID=\"{kid}\"/>"
        )?;
        // DASH-IF IOP 6, 7.5: the clear key system of DASH.
        write!(
            out,
            "   <ContentProtection schemeIdUri=\"urn:uuid:e2719d58-a985-b3c9-781a-b030af78d30e\" value=\"ClearKey1.0\""
        )?;
        match &self.license_uri {
            Some(uri) => writeln!(
                out,
                ">\n    <dashif:Laurl licenseType=\"EME-1.0\">{uri}</dashif:Laurl>\n   </ContentProtection>"
            ),
            None => writeln!(out, "/>"),
        }
    }
}

/// As a hexadecimal-sequence (RFC 8216bis, 4.2).
struct Hex([u8; 16]);

impl Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:032x}", u128::from_be_bytes(self.0))
    }
}

/// As RFC 9562, 4, writes it.
struct Uuid([u8; 16]);

impl Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", u128::from_be_bytes(self.0));
        let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
        write!(f, "{a}-{b}-{c}-{d}-{e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];

    fn key(method: Method) -> Key {
        Key { method, uri: "../keys/k".to_owned(), iv: [0xab; 16] }
    }

    fn said(key: &Key, map: Option<&str>) -> String {
        let mut out = String::new();
        render_into(Some(key), map, &mut out).unwrap();
        out
    }

    #[test]
    fn the_init_section_of_whole_segments_is_under_no_key() {
        let line = "#EXT-X-KEY:METHOD=AES-128,URI=\"../keys/k\",IV=0xabababababababababababababababab\n";
        assert_eq!(said(&key(Method::Aes128), None), line);
        let with_map = format!("#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"e/init.mp4\"\n{line}");
        assert_eq!(said(&key(Method::Aes128), Some("e/init.mp4")), with_map);
    }

    #[test]
    fn a_key_of_samples_is_told_to_who_fetches_it_or_to_who_gives_it_to_a_browser() {
        let of = |format| key(Method::SampleAes { key_id: ID, format });
        let told = "METHOD=SAMPLE-AES,URI=\"../keys/k\",IV=0xabababababababababababababababab";
        let map = "#EXT-X-MAP:URI=\"e/init.mp4\"\n";
        assert_eq!(said(&of(KeyFormat::Identity), Some("e/init.mp4")), format!("#EXT-X-KEY:{told}\n{map}"));
        let format = "KEYID=0x00112233445566778899aabbccddeeff,KEYFORMAT=\"org.w3.clearkey\",KEYFORMATVERSIONS=\"1\"\n";
        let expected = format!("#EXT-X-KEY:{told},{format}{map}");
        assert_eq!(said(&of(KeyFormat::ClearKey), Some("e/init.mp4")), expected);
        let session = |format| {
            let mut out = String::new();
            of(format).render_session_into(&mut out).map(|()| out)
        };
        assert_eq!(session(KeyFormat::ClearKey), Ok(format!("#EXT-X-SESSION-KEY:{told},{format}")));
        assert_eq!(session(KeyFormat::Identity), Ok(String::new()));
    }

    #[test]
    fn an_mpd_names_the_key_and_where_it_is_given() {
        let mut out = String::new();
        ContentProtection { key_id: ID, license_uri: Some("https://k/show".into()) }.render_into(&mut out).unwrap();
        assert!(out.contains("cenc:default_KID=\"00112233-4455-6677-8899-aabbccddeeff\"/>"), "{out}");
        assert!(out.contains(">https://k/show</dashif:Laurl>\n   </ContentProtection>\n"), "{out}");
    }
}
