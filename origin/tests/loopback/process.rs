//! An origin in a process of its own, which is killed as a machine dies: nothing is written down and nobody is told.

use crate::clip::Recipe;
use crate::http::Client;
use crate::world::{World, send};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Dropped, it is killed too.
pub(crate) struct Process {
    child: Child,
    pub(crate) client: Client,
}

const FOLDER: &str = "VIVID_TEST_FOLDER";
const PUBLISHES: &str = "VIVID_TEST_PUBLISHES";
const LISTENS: &str = "listens on ";

impl Process {
    /// Runs `test`, which is one that calls [`live`], in another process; with a publisher that never tires, or with none.
    pub(crate) fn start(test: &str, folder: &Path, publishes: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(FOLDER, folder)
            .env(PUBLISHES, if publishes { "1" } else { "" })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = lines.map_while(Result::ok).filter_map(|line| Some(line.split_once(LISTENS)?.1.to_owned()));
        let client = Client::new(said.next().unwrap().parse().unwrap());
        Self { child, client }
    }
}

impl Drop for Process {
    /// SIGKILL.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The life of such a process: an origin as `config` makes it for its folder, until it is killed. In any other process it
/// returns at once.
pub(crate) async fn live(config: impl FnOnce(&Path) -> config::Origin) {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let world = World::start(config(Path::new(&folder)));
    println!("{LISTENS}{}", world.addr);
    if std::env::var_os(PUBLISHES).is_some_and(|value| !value.is_empty()) {
        let clip = Recipe::regular(20).clip();
        let publisher = world.publish_again("a").await;
        for turn in 0.. {
            send(&publisher, clip.later(20_000 * turn), 6.0).await;
        }
    }
    std::future::pending::<()>().await;
}
