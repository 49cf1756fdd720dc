//! Tokens made here and by others, against keys of both kinds.

use super::super::grant::{How, Part, UrlRule};
use super::*;
use crate::request::Method;
use config::Verifier;
use coset::{CborSerializable, CoseMac0Builder, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable};
use geo::Country;

const SECRET: [u8; 32] = [7; 32];
const NOW: i64 = 1_800_000_000;

/// The key and the signed token of RFC 8392, A.2.3 and A.3.
const RFC8392_POINT: &str = "04143329cce7868e416927599cf65a34f3ce2ffda55a7eca69ed8919a394d42f0f\
    60f7f1a780d8a783bfb7a2dd6b2796e8128dbbcef9d3d168db9529971a36e7b9";
const RFC8392_SIGNED: &str = "d28443a10126a104524173796d6d657472696345434453413235365850a701756\
    36f61703a2f2f61732e6578616d706c652e636f6d02656572696b77037818636f61703a2f2f6c696768742e657861\
    6d706c652e636f6d041a5612aeb0051a5610d9f0061a5610d9f007420b7158405427c1ff28d23fbad1f29c4c7c6a5\
    55e601d6fa29f9179bc3d7438bacaca5acd08c8d4d4f96131680c429a01f85951ecee743a52b9b63632c57209120e\
    1c9e30";
/// The one of A.4, with a tag of 64 bits.
const RFC8392_MAC64: &str = "d18443a10104a1044c53796d6d65747269633235365850a70175636f61703a2f2f\
    61732e6578616d706c652e636f6d02656572696b77037818636f61703a2f2f6c696768742e6578616d706c652e636\
    f6d041a5612aeb0051a5610d9f0061a5610d9f007420b7148093101ef6d789200";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn keys(audience: &str) -> Keys {
    let mut access = config::Config::parse("[edge]\n", []).unwrap().edge.unwrap().access;
    access.cat_audience = audience.to_owned();
    let secret = Verifier::Hs256(config::Secret::new(&SECRET));
    access.cat_keys = vec![
        config::CatKey { id: "mac".to_owned(), verifier: secret.clone() },
        config::CatKey {
            id: "AsymmetricECDSA256".to_owned(),
            verifier: Verifier::Es256(hex(RFC8392_POINT).try_into().unwrap()),
        },
        config::CatKey { id: "Symmetric256".to_owned(), verifier: secret },
    ];
    Keys::new(&access)
}

fn claims(more: Vec<(i64, Value)>) -> Value {
    let all = std::iter::once((4, Value::from(NOW + 60))).chain(more);
    Value::Map(all.map(|(name, value)| (Value::from(name), value)).collect())
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    coset::cbor::ser::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn mac(payload: &Value, header: HeaderBuilder) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    CoseMac0Builder::new()
        .protected(header.build())
        .unprotected(HeaderBuilder::new().key_id(b"mac".to_vec()).build())
        .payload(bytes_of(payload))
        .create_tag(&[], |data| hmac::sign(&key, data).as_ref().to_vec())
        .build()
        .to_tagged_vec()
        .unwrap()
}

fn hs256() -> HeaderBuilder {
    HeaderBuilder::new().algorithm(Algorithm::HMAC_256_256)
}

fn token(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn granted(more: Vec<(i64, Value)>) -> Result<Grant, Denial> {
    verify(&token(&mac(&claims(more), hs256())), &keys("here"))
}

fn map(pairs: Vec<(i64, Value)>) -> Value {
    Value::Map(pairs.into_iter().map(|(name, value)| (Value::from(name), value)).collect())
}

#[test]
fn the_signed_token_of_the_standard_is_verified() {
    let signed = token(&hex(RFC8392_SIGNED));
    let grant = verify(&signed, &keys("coap://light.example.com")).unwrap();
    assert_eq!((grant.not_before, grant.expires), (1_443_944_944, 1_444_064_944));
    assert_eq!(verify(&signed, &keys("coap://other.example.com")), Err(Denial::Claim), "who is not named refuses");
    let mut forged = hex(RFC8392_SIGNED);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(verify(&token(&forged), &keys("coap://light.example.com")), Err(Denial::Signature));
}

#[test]
fn a_tag_of_64_bits_is_not_enough() {
    assert_eq!(verify(&token(&hex(RFC8392_MAC64)), &keys("")), Err(Denial::Signature));
}

#[test]
fn with_or_without_the_tag_of_a_cwt_and_padding_it_is_one_token() {
    let bytes = mac(&claims(Vec::new()), hs256());
    let tagged = [&[0xd8, 0x3d], &bytes[..]].concat();
    for token in [token(&bytes), token(&tagged), token(&tagged) + "=="] {
        assert_eq!(verify(&token, &keys("")).map(|grant| grant.expires), Ok(NOW as u64 + 60), "{token}");
    }
}

#[test]
fn claims_become_limits() {
    let text = Value::from;
    let grant = granted(vec![
        (5, Value::Tag(1, Box::new(Value::from(NOW as f64)))),
        (3, Value::Array(vec![text("there"), text("here")])),
        (310, Value::from(1)),
        (308, Value::from(0)),
        (312, map(vec![(1, map(vec![(0, text("h.example"))])), (3, map(vec![(1, text("/live/")), (3, text("a"))]))])),
        (313, Value::Array(vec![text("GET"), text("HEAD")])),
        (316, Value::Array(vec![text("de"), text("US-CA")])),
        (
            311,
            Value::Array(vec![
                Value::Tag(52, Box::new(Value::Bytes(vec![203, 0, 113, 7]))),
                Value::Tag(54, Box::new(Value::Array(vec![Value::from(32), Value::Bytes(vec![0x20, 1, 0x0d, 0xb8])]))),
                Value::from(64512),
            ]),
        ),
    ])
    .unwrap();
    let rule = |part, how, text: &str| UrlRule { part, how, text: text.into() };
    assert_eq!(grant.not_before, NOW as u64);
    assert_eq!(
        grant.url,
        [
            rule(Part::Host, How::Exact, "h.example"),
            rule(Part::Path, How::Prefix, "/live/"),
            rule(Part::Path, How::Contains, "a")
        ]
    );
    assert_eq!(grant.methods, Some(vec![Method::Get, Method::Head]));
    assert_eq!(grant.countries, Some(vec![Country::new("DE").unwrap()]));
    let prefixes: Vec<_> = grant.addresses.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["203.0.113.7/32", "2001:db8::/32"]);
}

#[test]
fn what_may_be_a_limit_and_is_not_understood_refuses_the_token() {
    let text = Value::from;
    for (name, value) in [
        (3, text("there")),
        (308, Value::from(1)),
        (309, Value::Array(Vec::new())),
        (310, Value::from(2)),
        (312, map(vec![(4, map(vec![(0, text("a=b"))]))])),
        (312, map(vec![(3, map(vec![(-1, Value::Bytes(vec![0; 32]))]))])),
        (312, map(vec![(3, map(vec![(4, Value::Array(vec![text(".*")]))]))])),
        (315, map(Vec::new())),
        (317, Value::Array(Vec::new())),
        (-65_537, text("private")),
    ] {
        assert_eq!(granted(vec![(name, value.clone())]), Err(Denial::Claim), "{name} {value:?}");
    }
    let eternal = Value::Map(vec![(Value::from(310), Value::from(1))]);
    assert_eq!(verify(&token(&mac(&eternal, hs256())), &keys("")), Err(Denial::Claim));
    let named = Value::Map(vec![(text("exp"), Value::from(NOW))]);
    assert_eq!(verify(&token(&mac(&named, hs256())), &keys("")), Err(Denial::Claim));
    let critical = hs256().add_critical(coset::iana::HeaderParameter::ContentType);
    assert_eq!(verify(&token(&mac(&claims(Vec::new()), critical)), &keys("")), Err(Denial::Claim));
}

#[test]
fn claims_of_the_wrong_type_are_not_guessed() {
    let text = Value::from;
    for (name, value) in [
        (4, Value::from(NOW)),
        (5, text("soon")),
        (5, Value::from(f64::NAN)),
        (312, text("/live")),
        (312, map(vec![(3, text("/live"))])),
        (312, map(vec![(3, map(vec![(0, Value::from(1))]))])),
        (313, text("GET")),
        (316, Value::Array(vec![Value::from(1)])),
        (311, Value::Array(vec![Value::Tag(52, Box::new(Value::Bytes(vec![1, 2, 3])))])),
        (311, Value::Array(vec![Value::Tag(52, Box::new(Value::Array(vec![Value::from(33), Value::Bytes(vec![1])])))])),
        (311, Value::Array(vec![Value::Tag(54, Box::new(Value::Array(vec![Value::from(8)])))])),
    ] {
        assert_eq!(granted(vec![(name, value.clone())]), Err(Denial::Unreadable), "{name} {value:?}");
    }
}

#[test]
fn a_token_cannot_choose_its_algorithm_or_its_key() {
    let payload = claims(Vec::new());
    let none = mac(&payload, HeaderBuilder::new());
    assert_eq!(verify(&token(&none), &keys("")), Err(Denial::Signature));
    let other = mac(&payload, HeaderBuilder::new().algorithm(Algorithm::HMAC_512_512));
    assert_eq!(verify(&token(&other), &keys("")), Err(Denial::Signature));
    // The public key as a secret: the known trick.
    let id = b"AsymmetricECDSA256".to_vec();
    let public = hmac::Key::new(hmac::HMAC_SHA256, &hex(RFC8392_POINT));
    let confused = CoseMac0Builder::new()
        .protected(hs256().key_id(id).build())
        .payload(bytes_of(&payload))
        .create_tag(&[], |data| hmac::sign(&public, data).as_ref().to_vec())
        .build();
    assert_eq!(verify(&token(&confused.to_tagged_vec().unwrap()), &keys("")), Err(Denial::Signature));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &SECRET);
    let mac_as_signature = CoseSign1Builder::new()
        .protected(hs256().key_id(b"mac".to_vec()).build())
        .payload(bytes_of(&payload))
        .create_signature(&[], |data| hmac::sign(&key, data).as_ref().to_vec())
        .build();
    assert_eq!(verify(&token(&mac_as_signature.to_tagged_vec().unwrap()), &keys("")), Err(Denial::Signature));
    let unknown = mac(&payload, hs256().key_id(b"gone".to_vec()));
    assert_eq!(verify(&token(&unknown), &keys("")), Err(Denial::UnknownKey));
}

#[test]
fn envelopes_that_are_none_are_unreadable() {
    let whole = mac(&claims(Vec::new()), hs256());
    let untagged = CoseMac0::from_tagged_slice(&whole).unwrap().to_vec().unwrap();
    let longer = [&whole[..], &[0]].concat();
    let deep = [vec![0x81; 3000], vec![0]].concat();
    let huge = [0xd1, 0x84, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for bytes in [&[][..], &whole[..whole.len() - 1], &untagged, &longer, &deep, &huge, &[0xd8, 0x3d, 0xd1]] {
        assert_eq!(verify(&token(bytes), &keys("")), Err(Denial::Unreadable), "{bytes:x?}");
    }
    assert_eq!(verify("not base64!", &keys("")), Err(Denial::Unreadable));
    let empty = CoseMac0Builder::new().protected(hs256().key_id(b"mac".to_vec()).build()).build();
    assert_eq!(verify(&token(&empty.to_tagged_vec().unwrap()), &keys("")), Err(Denial::Unreadable));
}

#[test]
fn seeded_garbage_never_panics() {
    let whole = mac(&claims(vec![(312, map(vec![(3, map(vec![(1, Value::from("/live/"))]))]))]), hs256());
    let keys = keys("");
    let mut state = 0x1234_5678_9abc_def1_u64;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = (state as usize >> 8) % bytes.len();
            bytes[at] = state as u8;
        }
        if let Ok(message) = Message::read(&bytes) {
            let _ = (message.check(&keys), message.grant(""));
        }
    }
}
