//! Frame rates off the beaten track: every constant one is passed through in one epoch.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::world::{World, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_nobody_lists_is_passed_through_in_one_epoch() {
    // With a GOP of about two seconds; PART-TARGET and EXTINF are as long as the frames they hold.
    for (rate, video, segment, announced) in [
        ("25/2", &["-g", "25", "-sc_threshold", "0", "-bf", "0"], "#EXTINF:2.00000,", "FRAME-RATE=12.500"),
        ("15", &["-g", "30", "-sc_threshold", "0", "-bf", "0"], "#EXTINF:2.00000,", "FRAME-RATE=15.000"),
        ("18", &["-g", "36", "-sc_threshold", "0", "-bf", "0"], "#EXTINF:2.00000,", "FRAME-RATE=18.000"),
    ] {
        let world = World::start(config(|_| {}));
        let playing = world.play("a", Recipe { rate, video, ..Recipe::regular(12) }.clip(), 3.0);
        let mut follower = Follower::join(&world.client, "a", "180p").await;
        let leaving = async { drop(playing.await.unwrap()) };
        tokio::join!(leaving, follower.follow_to_end());
        assert!(follower.text.matches(segment).count() >= 5, "{rate}: {}", follower.text);
        assert!(!follower.text.contains("#EXT-X-DISCONTINUITY\n"), "{rate}: {}", follower.text);
        let multivariant = world.client.get("/live/a/index.m3u8").await;
        assert_eq!(multivariant.text().matches(announced).count(), 2, "{rate}: {}", multivariant.text());
        let passed = world.metric("vivid_origin_parts_total{make=\"passthrough\"}").await;
        assert!(passed >= 24.0, "{rate}: {passed} parts were passed through");
    }
}
