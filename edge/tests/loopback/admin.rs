//! The node's own pages, on an address of their own.

use crate::support::{Node, Viewer, config, nobody};

const TOKEN: &str = "0123456789abcdef";
const OPEN: [&str; 4] = ["livez", "readyz", "load", "time"];
const CLOSED: [&str; 4] = ["metrics", "streams", "fleet", "streams/none"];

fn with_admin() -> config::Edge {
    let mut config = config("edge", nobody());
    config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    config.purge.token = Some(TOKEN.to_owned());
    config
}

async fn purge(viewer: &mut Viewer) -> u16 {
    let body = r#"{"urls": ["/a"]}"#;
    let head = format!("POST /_vivid/purge HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n");
    viewer.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    viewer.read().await.unwrap().status
}

#[tokio::test]
async fn viewers_get_no_page_but_those_that_balancers_and_edges_need() {
    let edge = Node::with(with_admin());
    let mut viewer = Viewer::connect(edge.addr).await;
    let mut admin = Viewer::connect(edge.admin_addr.unwrap()).await;
    for page in OPEN {
        assert_eq!(viewer.get(&format!("/_vivid/{page}")).await.status, 200, "{page}");
        assert_eq!(admin.get(&format!("/_vivid/{page}")).await.status, 200, "{page}");
    }
    for page in CLOSED {
        for folder in ["_vivid", "%5Fvivid", "./_vivid", "x/../_vivid"] {
            let got = viewer.get(&format!("/{folder}/{page}")).await;
            assert_eq!((got.status, got.text().contains("edge.admin.listen")), (404, true), "{folder}/{page}");
        }
        let expected = if page == "streams/none" { 404 } else { 200 };
        let got = admin.get(&format!("/_vivid/{page}")).await;
        assert_eq!((got.status, got.text().contains("edge.admin.listen")), (expected, false), "{page}");
    }
    assert_eq!((purge(&mut viewer).await, purge(&mut admin).await), (404, 200));
    assert_eq!(admin.get("/live/test/720p/index.m3u8").await.status, 404, "nothing else is served there");
}

#[tokio::test]
async fn without_an_address_of_their_own_all_pages_are_where_viewers_are() {
    let edge = Node::start("edge", nobody());
    assert_eq!(edge.admin_addr, None);
    for page in OPEN.into_iter().chain(CLOSED).filter(|page| *page != "streams/none") {
        assert_eq!(edge.get(&format!("/_vivid/{page}")).await.status, 200, "{page}");
    }
}

#[tokio::test]
async fn limits_and_tokens_are_for_viewers() {
    let mut config = with_admin();
    let secret = "0123456789abcdef".repeat(4);
    let text = format!(
        "[edge]\n[edge.access]\nurl_keys = [{{ id = \"a\", secret = \"{secret}\" }}]\naddresses_deny = [\"127.0.0.0/8\"]\n"
    );
    config.access = config::Config::parse(&text, []).unwrap().edge.unwrap().access;
    config.access.limits.connections_max = 1;
    config.access.limits.requests_per_s = 1;
    config.access.limits.requests_burst = 1;
    let edge = Node::with(config);
    let mut viewer = Viewer::connect(edge.addr).await;
    assert_eq!(viewer.get("/_vivid/readyz").await.status, 200);
    assert_eq!(viewer.get("/_vivid/readyz").await.status, 429);
    for _ in 0..3 {
        let mut admin = Viewer::connect(edge.admin_addr.unwrap()).await;
        for _ in 0..3 {
            assert_eq!(admin.get("/_vivid/metrics").await.status, 200);
        }
        assert_eq!(edge.metric("vivid_edge_connections", &[]), 1.0, "those who look are no viewers");
    }
}
