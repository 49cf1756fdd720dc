//! Rungs that other machines encode.

use crate::clip::Recipe;
use crate::follower::Follower;
use crate::world::{World, config, worker};
use tokio::task::JoinHandle;
use transcode::Relay;

const TOKEN: &str = "0123456789abcdef";
const WAITING: &str = "vivid_transcode_remote_waiting";
const JOBS: &str = "vivid_transcode_remote_jobs_total";
const STARTED: &str = "vivid_transcode_workers_started_total";

fn world() -> World {
    let listen = "127.0.0.1:0".parse().unwrap();
    World::start(config(|config| {
        config.remote_workers = Some(config::RemoteWorkers { listen, token: TOKEN.into(), waiting_max: 4 });
    }))
}

/// A machine that takes one job at a time, once it waits.
async fn machine(world: &World) -> JoinHandle<()> {
    let before = world.metric(WAITING).await;
    let origin = world.workers_addr.unwrap().to_string();
    let relay = Relay { origin, token: TOKEN.into(), program: worker() };
    let machine = tokio::spawn(async move { relay.work(&[]).await });
    while world.metric(WAITING).await <= before {
        tokio::task::yield_now().await;
    }
    machine
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_to_a_machine_that_waits_and_moves_when_that_is_lost() {
    let world = world();
    let machine = machine(&world).await;
    let playing = world.play("a", Recipe::regular(30).clip(), 2.0);
    let mut rung = Follower::join(&world.client, "a", "90p").await;
    assert_eq!((world.metric(JOBS).await, world.metric(STARTED).await, world.metric(WAITING).await), (1.0, 1.0, 0.0));
    assert!(rung.step().await);

    machine.abort();
    assert!(machine.await.unwrap_err().is_cancelled());
    // Nobody else waits, so this machine takes the job.
    while world.metric(STARTED).await < 2.0 {
        assert!(world.metric("vivid_transcode_workers_running").await <= 1.0);
        tokio::task::yield_now().await;
    }
    while !rung.text.contains("#EXT-X-DISCONTINUITY\n") {
        assert!(rung.step().await, "{}", rung.text);
    }
    assert!(rung.step().await);
    assert_eq!(world.metric(JOBS).await, 1.0);
    assert_eq!(world.metric("vivid_transcode_workers_ended_total{reason=\"died\"}").await, 1.0);
    drop(playing.await.unwrap());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_takes_the_next_job_when_one_is_over() {
    let world = world();
    let _machine = machine(&world).await;
    for (stream, jobs) in [("a", 1.0), ("b", 2.0)] {
        while world.metric(WAITING).await < 1.0 {
            tokio::task::yield_now().await;
        }
        let playing = world.play(stream, Recipe::regular(6).clip(), 4.0);
        let mut rung = Follower::join(&world.client, stream, "90p").await;
        drop(playing.await.unwrap());
        rung.follow_to_end().await;
        assert_eq!(world.metric(JOBS).await, jobs);
    }
    assert_eq!(world.metric("vivid_transcode_workers_ended_total{reason=\"finished\"}").await, 2.0);
    world.stop().await;
}
