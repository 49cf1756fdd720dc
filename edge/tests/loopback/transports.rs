//! One answer, whatever transport carries it.

use crate::http2::Http2;
use crate::secure::{ALL, Authority, Files, HOST, connect, node, viewer};
use crate::support::{Got, Origin, RENDITION, Viewer, timeless};
use tokio::net::TcpStream;

/// What a viewer has of an answer: all but its framing, and its age, which may tick between two of them.
fn essence(got: Got) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let clockless = |(name, value): (String, String)| {
        let value = match name.as_str() {
            "cache-status" => timeless(&value),
            // Each connection has figures of its own.
            "cmsd-dynamic" => value.replace(|c: char| c.is_ascii_digit(), ""),
            _ => value,
        };
        (name != "age").then_some((name, value))
    };
    let mut fields: Vec<_> = got.fields.into_iter().filter_map(clockless).collect();
    fields.sort();
    (got.status, fields, got.body)
}

#[tokio::test]
async fn every_transport_carries_the_same_answer() {
    let (origin, authority, files) = (Origin::at(100, 1), Authority::new(), Files::new());
    let edge = node(origin.start().await.addr, &authority, &files);
    let secure = |protocol| authority.client(ALL, &[protocol]);
    let mut plain = Viewer::connect(edge.addr).await;
    let mut over_tls = viewer(&edge, &secure("http/1.1")).await;
    let h2c = Http2::over(TcpStream::connect(edge.addr).await.unwrap()).await;
    let h2 = Http2::over(connect(edge.tls_addrs[0], &secure("h2"), HOST).await.unwrap()).await;

    let part = "/live/test/720p/e1/100.0.m4s";
    let etag = plain.get(RENDITION).await.field("etag").to_owned();
    plain.get(part).await;
    let unmodified = format!("If-None-Match: {etag}\r\n");
    for (target, field) in [
        (RENDITION, ""),
        (RENDITION, "Accept-Encoding: gzip\r\n"),
        (RENDITION, "Accept-Encoding: gzip, br\r\n"),
        (RENDITION, unmodified.as_str()),
        ("/live/test/720p/index.m3u8?_HLS_msn=99", ""),
        ("/live/test/720p/index.m3u8?_HLS_msn=300", ""),
        ("/live/test/720p/index.m3u8?_HLS_part=x", ""),
        (part, ""),
        (part, "Range: bytes=7-6000\r\n"),
        (part, "Range: bytes=999999-\r\n"),
        ("/_vivid/livez", ""),
        ("/_vivid/none", ""),
    ] {
        let expected = essence(plain.get_with(target, field).await);
        for (name, got) in [
            ("TLS", over_tls.get_with(target, field).await),
            ("h2c", h2c.get_with(target, field).await.unwrap()),
            ("h2", h2.get_with(target, field).await.unwrap()),
        ] {
            assert_eq!(essence(got), expected, "{name}: {target} {field}");
        }
    }
    for http2 in [&h2c, &h2] {
        let head = http2.ask("HEAD", part, "").await.unwrap();
        assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, "18500", 0));
        let preflight = http2.ask("OPTIONS", part, "").await.unwrap();
        assert_eq!((preflight.status, preflight.field("access-control-max-age")), (204, "86400"));
        assert_eq!(http2.ask("DELETE", part, "").await.unwrap().status, 405);
    }
}
