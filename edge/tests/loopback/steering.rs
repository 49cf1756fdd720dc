//! Where viewers are, and to which edge of the fleet they are sent.

use crate::support::{Fake, Node, config, text};
use std::time::Duration;

#[tokio::test]
async fn a_geo_database_is_followed_and_a_broken_one_leaves_the_last_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("city.mmdb");
    let place = |bytes: &[u8]| {
        std::fs::write(path.with_extension("new"), bytes).unwrap();
        std::fs::rename(path.with_extension("new"), &path).unwrap();
    };
    let fake = Fake::start(|_| Box::pin(std::future::ready(text(404, "nothing\n")))).await;
    let mut config = config("edge", fake.addr);
    config.geo.city_database = Some(path.clone());
    config.geo.check_interval = Duration::from_millis(20);
    let edge = Node::with(config);
    let shown = |name: &str| edge.metric(&format!("vivid_edge_geo_database_{name}"), &["city"]);
    assert_eq!((shown("loaded"), shown("stale")), (0.0, 0.0), "it serves without");

    place(&geo::fixture::database(6, &[]));
    edge.until("vivid_edge_geo_database_loaded", &["city"], 1.0).await;
    assert!(shown("built_seconds") > 0.0);
    place(b"no database");
    edge.until("vivid_edge_geo_database_stale", &["city"], 1.0).await;
    assert_eq!(shown("loaded"), 1.0);
    edge.stop().await;
}
