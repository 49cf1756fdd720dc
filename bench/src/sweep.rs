//! `bench sweep`: viewers of films, who ask for more than a cache can keep.

use crate::link::Link;
use crate::stream;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    pub(crate) server: SocketAddr,
    pub(crate) objects: usize,
    pub(crate) bytes: usize,
    pub(crate) viewers: usize,
    pub(crate) length: Duration,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Swept {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
}

/// Between two objects of one viewer, so that the machine has time for the live stream too.
const PAUSE: Duration = Duration::from_millis(10);

/// Each viewer goes through all objects again and again, from another one on.
pub(crate) async fn run(sweep: Sweep) -> anyhow::Result<Swept> {
    let until = Instant::now() + sweep.length;
    let mut viewers = JoinSet::new();
    for viewer in 0..sweep.viewers {
        viewers.spawn(async move {
            let (mut swept, mut number) = (Swept::default(), viewer * sweep.objects / sweep.viewers);
            let Ok(mut link) = Link::open(sweep.server).await else { return Swept { requests: 0, failures: 1 } };
            while Instant::now() < until {
                let target = stream::film_target(number % sweep.objects, sweep.bytes);
                match link.get(&target).await {
                    Ok(got) if got.body.len() == sweep.bytes => swept.requests += 1,
                    _ => return Swept { failures: 1, ..swept },
                }
                number += 1;
                sleep(PAUSE).await;
            }
            swept
        });
    }
    let mut all = Swept::default();
    while let Some(swept) = viewers.join_next().await {
        let swept = swept?;
        all.requests += swept.requests;
        all.failures += swept.failures;
    }
    Ok(all)
}
