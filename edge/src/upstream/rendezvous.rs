//! Which upstream serves which stream: weighted rendezvous hashing, so that all nodes agree without talking, and an
//! upstream that comes or goes moves no other's streams.

/// The key of a request's stream: the folder of its path, or `/live/{stream}` and `/archive/{stream}/{started}` for what
/// lies below those. All renditions of a stream then share an upstream, which follows the stream once.
pub fn stream(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or(path);
    let folder = path.rfind('/').map_or(path, |slash| &path[..slash]);
    let steps = match folder {
        // What lies at the root has no folder to share.
        "" => return path,
        _ if folder.starts_with("/live/") => 2,
        _ if folder.starts_with("/archive/") => 3,
        _ => return folder,
    };
    let end = folder.match_indices('/').nth(steps).map_or(folder.len(), |(end, _)| end);
    &folder[..end]
}

/// The recording that `path` lies in, as `/archive/{stream}/{started}`. Other spellings of one are none.
pub fn recording(path: &str) -> Option<&str> {
    let path = path.split('?').next()?;
    let mut steps = path.strip_prefix("/archive/")?.splitn(3, '/');
    let (stream, started, file) = (steps.next()?, steps.next()?, steps.next()?);
    // Milliseconds in decimal, of 64 bits.
    let is_time = (1..=20).contains(&started.len()) && started.bytes().all(|byte| byte.is_ascii_digit());
    let is_file = is_time && config::is_stream_name(stream) && !file.is_empty();
    is_file.then(|| &path[..path.len() - file.len() - 1])
}

/// How strongly `upstream`, known by its URL, claims `key`: whoever claims most is asked first. Of many keys, each
/// upstream gets a share in proportion to its weight.
pub fn claim(key: &str, upstream: &str, weight: f64) -> f64 {
    let hash = mix(fnv(upstream, fnv(key, 0xcbf2_9ce4_8422_2325)));
    // The upper 53 bits, as a number strictly between 0 and 1.
    let uniform = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    // Of exponential variates with these rates, the least is each one's with a chance in proportion to its rate.
    -weight / uniform.ln()
}

fn fnv(text: &str, seed: u64) -> u64 {
    // The end mark keeps "a" + "bc" apart from "ab" + "c".
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    step(text.bytes().fold(seed, step), 0xff)
}

/// The finaliser of MurmurHash3: FNV alone leaves keys that differ in their last letter close together.
fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: usize = 10_000;

    fn winner<'a>(key: &str, upstreams: &[(&'a str, f64)]) -> &'a str {
        let claimed = upstreams.iter().map(|(url, weight)| (*url, claim(key, url, *weight)));
        claimed.max_by(|one, other| one.1.total_cmp(&other.1)).unwrap().0
    }

    fn keys() -> impl Iterator<Item = String> {
        (0..KEYS).map(|number| format!("/live/stream{number}"))
    }

    #[test]
    fn everything_of_a_stream_has_one_key() {
        for (path, expected) in [
            ("/live/a/index.m3u8", "/live/a"),
            ("/live/a/720p/index.m3u8?_HLS_msn=3", "/live/a"),
            ("/live/a/720p/k3x/12.3.m4s", "/live/a"),
            ("/archive/a/17/index.m3u8", "/archive/a/17"),
            ("/archive/a/17/720p/k3x/12.m4s?x=/", "/archive/a/17"),
            ("/archive/a/index.json", "/archive/a"),
            ("/archive/index.json", "/archive"),
            ("/archived/a/17/b/c", "/archived/a/17/b"),
            ("/app/show/llhls.m3u8", "/app/show"),
            ("/app/show/part_1.m4s?a=/b/c", "/app/show"),
            ("/flat.m3u8", "/flat.m3u8"),
            ("/live/x", "/live"),
            ("/live//x", "/live/"),
            ("nonsense", "nonsense"),
            ("", ""),
        ] {
            assert_eq!(stream(path), expected, "{path}");
        }
    }

    #[test]
    fn recordings_have_one_spelling_each() {
        for (path, expected) in [
            ("/archive/a-B_1/17/index.m3u8?x=/y/", Some("/archive/a-B_1/17")),
            ("/archive/a/18446744073709551615/720p/k3x/12.m4s", Some("/archive/a/18446744073709551615")),
            ("/archive/a/17/", None),
            ("/archive/a/17", None),
            ("/archive/a/184467440737095516150/index.m3u8", None),
            ("/archive/a/-1/index.m3u8", None),
            ("/archive/a/index.json", None),
            ("/archive/%61/17/index.m3u8", None),
            ("/archive//17/index.m3u8", None),
            ("//archive/a/17/index.m3u8", None),
            ("/live/a/17/index.m3u8", None),
            ("?/archive/a/17/index.m3u8", None),
            ("", None),
        ] {
            assert_eq!(recording(path), expected, "{path}");
        }
    }

    #[test]
    fn streams_are_shared_out_by_weight() {
        let upstreams = [("http://a", 1.0), ("http://b", 1.0), ("http://c", 2.0)];
        let share = |url| keys().filter(|key| winner(key, &upstreams) == url).count() as f64 / KEYS as f64;
        for (url, expected) in [("http://a", 0.25), ("http://b", 0.25), ("http://c", 0.5)] {
            let share = share(url);
            assert!((share - expected).abs() < 0.02, "{url} has {share}");
        }
    }

    #[test]
    fn one_that_leaves_moves_only_its_own_streams_and_spreads_them() {
        let all = [("http://a", 1.0), ("http://b", 1.0), ("http://c", 1.0)];
        let mut moved = [0, 0];
        for key in keys() {
            let (before, after) = (winner(&key, &all), winner(&key, &all[..2]));
            if before == "http://c" {
                moved[usize::from(after == "http://b")] += 1;
            } else {
                assert_eq!(before, after, "{key}");
            }
        }
        assert!(moved.iter().all(|count| (1300..2000).contains(count)), "{moved:?}");
    }

    #[test]
    fn the_choice_is_the_same_on_every_machine_and_in_every_release() {
        let both = [("http://shield-a:8082", 1.0), ("http://shield-b:8082", 1.0)];
        let chosen: String = (0..16)
            .map(|number| winner(&format!("/live/s{number}"), &both))
            .map(|url| if url == both[0].0 { 'a' } else { 'b' })
            .collect();
        assert_eq!(chosen, "bbbbbbbbaababaab", "edges of two releases would send a stream to two shields");
    }
}
