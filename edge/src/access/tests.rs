//! The gate as a whole: what it lets in, what it hides, what it remembers.

use super::signed_url::Claims;
use super::*;
use bytes::Bytes;
use prometheus::Registry;

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn access(text: &str) -> config::Access {
    let text = format!("[edge.geo]\ncountry_database = \"c.mmdb\"\n[edge.access]\n{text}\n");
    config::Config::parse(&text, []).unwrap().edge.unwrap().access
}

fn keyed(more: &str) -> config::Access {
    access(&format!("url_keys = [{{ id = \"k\", secret = \"{SECRET}\" }}]\n{more}"))
}

fn gate(config: &config::Access) -> Gate {
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    let locate: Countries = Arc::new(|address: IpAddr| match address {
        IpAddr::V4(address) if address.octets()[0] == 203 => Country::new("DE"),
        IpAddr::V4(address) if address.octets()[0] == 198 => Country::new("FR"),
        _ => None,
    });
    Gate::new(config, locate, metrics).unwrap()
}

fn sign(config: &config::Access, path: &str, expires: u64) -> String {
    let key = &config.url_keys[0];
    let claims = Claims { key: key.id.clone(), expires, path: path.to_owned(), address: None, countries: Vec::new() };
    claims.sign(&keys::url_key(key))
}

fn enter(gate: &Gate, target: &str, from: &str) -> Result<String, Denial> {
    enter_with(gate, "GET", target, from)
}

fn enter_with(gate: &Gate, method: &str, target: &str, from: &str) -> Result<String, Denial> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: edge.example:8083\r\n\r\n");
    let request = Request::read(Bytes::from(head)).unwrap();
    let target = crate::key::normalized(request.target());
    gate.enter(&request, Client::new(from.parse().unwrap(), false), target, NOW).map(Cow::into_owned)
}

#[test]
fn without_a_rule_there_is_no_gate() {
    let metrics = Arc::new(Metrics::new(&Registry::new()).unwrap());
    assert!(Gate::new(&access(""), Arc::new(|_| None), metrics).is_none());
}

#[test]
fn a_token_opens_its_folder_and_nothing_else() {
    let config = keyed("");
    let gate = gate(&config);
    let token = sign(&config, "/live/demo", NOW + 1);
    for (target, expected) in [
        (format!("/~{token}/live/demo/720p/index.m3u8?_HLS_msn=3"), Ok("/live/demo/720p/index.m3u8?_HLS_msn=3")),
        (format!("/live/demo/index.m3u8?token={token}"), Ok("/live/demo/index.m3u8")),
        (format!("/%7E{token}/live/%64emo/index.m3u8"), Ok("/live/demo/index.m3u8")),
        (format!("/~{token}/live/demo2/index.m3u8"), Err(Denial::Elsewhere)),
        (format!("/~{token}/live/demo/../other/index.m3u8"), Err(Denial::Elsewhere)),
        (format!("/~{token}/live/demo/%2e%2E/other/index.m3u8"), Err(Denial::Elsewhere)),
        (format!("/~{token}/live/demo/..%2fother/index.m3u8"), Err(Denial::Ambiguous)),
        (format!("/~{token}/live/demo/..%5Cother/index.m3u8"), Err(Denial::Ambiguous)),
        (format!("/~{token}/../live/demo/index.m3u8"), Err(Denial::NoToken)),
        ("/live/demo/index.m3u8".to_owned(), Err(Denial::NoToken)),
        (format!("/live/demo/index.m3u8?token={token}x"), Err(Denial::Signature)),
        (format!("/~{}/live/demo/index.m3u8", sign(&config, "/", NOW)), Err(Denial::Expired)),
        (format!("/~{}/live/demo/index.m3u8", "x".repeat(TOKEN_BYTES_MAX + 1)), Err(Denial::Unreadable)),
    ] {
        assert_eq!(enter(&gate, &target, "127.0.0.1"), expected.map(str::to_owned), "{target}");
    }
}

#[test]
fn pages_of_the_node_and_preflights_need_none() {
    let config = keyed("addresses_deny = [\"0.0.0.0/0\"]");
    let gate = gate(&config);
    assert!(enter(&gate, "/_vivid/livez", "127.0.0.1").is_ok());
    assert!(enter_with(&gate, "OPTIONS", "/live/demo/index.m3u8", "127.0.0.1").is_ok());
    let token = sign(&config, "/", NOW + 1);
    // Behind a token it is still this node's page, never upstream's.
    assert_eq!(enter(&gate, &format!("/~{token}/_vivid/livez"), "127.0.0.1").as_deref(), Ok("/_vivid/livez"));
}

#[test]
fn without_keys_a_token_is_somebody_elses() {
    let gate = gate(&access("addresses_allow = [\"127.0.0.1\"]"));
    for target in ["/~user/a?token=t", "/a?CAT=t", "/..%2Fa"] {
        assert_eq!(enter(&gate, target, "127.0.0.1").as_deref(), Ok(target));
    }
}

#[test]
fn denied_goes_before_allowed() {
    let addresses = gate(&access("addresses_allow = [\"203.0.113.0/24\"]\naddresses_deny = [\"203.0.113.7\"]"));
    let countries = gate(&access("countries_allow = [\"DE\"]"));
    let denied = gate(&access("countries_deny = [\"FR\"]\nunknown_country = \"allow\""));
    for (gate, from, expected) in [
        (&addresses, "203.0.113.8", None),
        (&addresses, "::ffff:203.0.113.8", None),
        (&addresses, "203.0.113.7", Some(Denial::Address)),
        (&addresses, "203.0.114.1", Some(Denial::Address)),
        (&countries, "203.0.113.8", None),
        (&countries, "198.51.100.1", Some(Denial::Country)),
        (&countries, "10.0.0.1", Some(Denial::Country)),
        (&denied, "203.0.113.8", None),
        (&denied, "198.51.100.1", Some(Denial::Country)),
        (&denied, "10.0.0.1", None),
    ] {
        assert_eq!(enter(gate, "/a", from).err(), expected, "{from}");
    }
}

#[test]
fn a_known_token_is_not_verified_again_but_judged_again() {
    let config = keyed("verified_tokens_max = 2");
    let gate = gate(&config);
    let token = sign(&config, "/a", NOW + 1);
    for _ in 0..3 {
        assert!(enter(&gate, &format!("/~{token}/a"), "127.0.0.1").is_ok());
    }
    assert_eq!(enter(&gate, &format!("/~{token}/b"), "127.0.0.1"), Err(Denial::Elsewhere));
    assert_eq!(gate.metrics.verified_count(Verified::Now), 1);
    assert_eq!(gate.metrics.verified_count(Verified::Known), 3);

    // A forged one is never remembered, and the room is bounded.
    let forged = format!("{}A", &token[..token.len() - 1]);
    for _ in 0..2 {
        assert_eq!(enter(&gate, &format!("/~{forged}/a"), "127.0.0.1"), Err(Denial::Signature));
    }
    let tokens = gate.tokens.as_ref().unwrap();
    for expires in 0..50 {
        let token = sign(&config, "/a", NOW + 10 + expires);
        assert!(enter(&gate, &format!("/~{token}/a"), "127.0.0.1").is_ok());
    }
    tokens.verified.run_pending_tasks();
    assert!(tokens.verified.entry_count() <= 2);
    assert!(gate.metrics.bound_count(Bound::VerifiedTokens) >= 48);
}
