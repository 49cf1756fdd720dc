//! Finding the servers under test on this machine, and running one at a time in a directory of its own.

use crate::peers::{self, PEERS, Peer};
use crate::process::Process;
use crate::stream;
use crate::sys;
use crate::template::{Values, fill};
use crate::tls;
use crate::tools::{Origin, exchange};
use anyhow::{Context, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;

/// Varnish compiles its configuration and ATS builds its cache before they answer, on a busy machine for seconds.
const READY_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Below the kernel's ephemeral ports, so that no viewer's own port is in the way.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// More than all objects of any case that is not about its size.
const CACHE_MB: u32 = 512;

/// The name of the floor: viewers straight on the bench origin.
pub(crate) const FLOOR: &str = "floor";

#[derive(Debug)]
pub(crate) enum Server {
    Floor,
    Peer { peer: &'static Peer, program: PathBuf },
}

/// What a reader has to know of a server to repeat a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) program: String,
    pub(crate) arguments: String,
    /// As given to the last run.
    pub(crate) files: BTreeMap<String, String>,
}

/// Which cores are whose.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    /// Load generator, and origin unless it is the one under test.
    pub(crate) client: usize,
}

/// Where and how a server runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) cores: Cores,
    pub(crate) scratch: &'a Path,
    /// Whether the origin publishes by itself.
    pub(crate) live: bool,
    /// What the server may keep.
    pub(crate) cache_mb: u32,
}

impl<'a> Setting<'a> {
    pub(crate) fn new(cores: Cores, scratch: &'a Path) -> Self {
        Self { cores, scratch, live: false, cache_mb: CACHE_MB }
    }
}

/// A server under test with its origin. Fields end in this order.
#[derive(Debug)]
pub(crate) struct Running {
    process: Option<Process>,
    pub(crate) origin: Origin,
    pub(crate) address: SocketAddr,
    /// Where it serves HTTPS.
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) dir: TempDir,
    live: bool,
}

/// The servers asked for that are here, and a sentence for each that is not.
pub(crate) async fn find(
    wanted: &[String],
    vivid: Option<&Path>,
) -> anyhow::Result<(Vec<(Server, Facts)>, Vec<String>)> {
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for name in wanted {
        if name == FLOOR {
            let facts = Facts { name: name.clone(), version: "bench origin itself".to_owned(), ..Facts::default() };
            found.push((Server::Floor, facts));
            continue;
        }
        let Some(peer) = PEERS.iter().find(|peer| peer.name == name) else {
            let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
            bail!("there is no server called \"{name}\"; choose from {FLOOR}, {}", names.join(", "));
        };
        match program(peer, vivid) {
            Some(program) => found.push(describe(peer, program).await),
            None => absent.push(format!("{}: {}", peer.name, peer.when_absent)),
        }
    }
    Ok((found, absent))
}

fn program(peer: &Peer, vivid: Option<&Path>) -> Option<PathBuf> {
    if peer.name == peers::VIVID.name {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name(peer.program));
        return vivid.map(Path::to_owned).or_else(beside).filter(|path| path.is_file());
    }
    installed(peer.program)
}

/// A program of the `PATH`, or of where Debian puts servers.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder: PathBuf| folder.join(program)).find(|path| path.is_file())
}

async fn describe(peer: &'static Peer, program: PathBuf) -> (Server, Facts) {
    let said = Command::new(&program).arg(peer.version_argument).kill_on_drop(true).output();
    let said = tokio::time::timeout(READY_WITHIN, said).await.ok().and_then(Result::ok);
    let said = said.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let version = peers::version(&String::from_utf8_lossy(&said)).unwrap_or_else(|| "unknown version".to_owned());
    let facts =
        Facts { name: peer.name.to_owned(), version, program: program.display().to_string(), ..Facts::default() };
    (Server::Peer { peer, program }, facts)
}

impl Server {
    pub(crate) fn is_vivid(&self) -> bool {
        matches!(self, Self::Peer { peer, .. } if peer.name == peers::VIVID.name)
    }

    /// Why it takes no part over TLS.
    pub(crate) fn without_tls(&self) -> Option<&'static str> {
        match self {
            Self::Floor => Some("n/a: the bench's origin has no TLS"),
            Self::Peer { peer, .. } => (!peer.tls).then_some("n/a: it has no TLS"),
        }
    }

    /// Starts the server in front of a fresh origin, and waits until it answers the playlist as the origin does.
    pub(crate) async fn start(&self, facts: &mut Facts, setting: &Setting<'_>) -> anyhow::Result<Running> {
        let dir = setting.dir(&facts.name)?;
        let mut running = match self {
            Self::Floor => {
                let origin = Origin::start(setting.cores.server, dir.path(), setting.live).await?;
                Running { process: None, address: origin.address, tls: None, origin, dir, live: setting.live }
            }
            Self::Peer { .. } => {
                let origin = Origin::start(setting.cores.client, dir.path(), setting.live).await?;
                let (process, address, tls) = self.launch(facts, setting, ("bench", origin.address), dir.path())?;
                Running { process: Some(process), origin, address, tls, dir, live: setting.live }
            }
        };
        running.ready().await?;
        Ok(running)
    }

    /// Starts one more in front of a server that runs; it ends with its handle.
    pub(crate) async fn start_behind(
        &self,
        facts: &mut Facts,
        setting: &Setting<'_>,
        (name, upstream): (&str, SocketAddr),
    ) -> anyhow::Result<(Process, SocketAddr, TempDir)> {
        let dir = setting.dir(name)?;
        let (mut process, address, _) = self.launch(facts, setting, (name, upstream), dir.path())?;
        ready(address, None, &mut process, dir.path()).await?;
        Ok((process, address, dir))
    }

    fn launch(
        &self,
        facts: &mut Facts,
        setting: &Setting<'_>,
        (name, upstream): (&str, SocketAddr),
        dir: &Path,
    ) -> anyhow::Result<(Process, SocketAddr, Option<SocketAddr>)> {
        let Self::Peer { peer, program } = self else { bail!("the floor stands in front of nothing") };
        let (port, tls_port) = (free_port()?, free_port()?);
        let mut values = values(dir, (port, tls_port), upstream.port());
        values.insert("name", name.to_owned());
        values.insert("cache_mb", setting.cache_mb.to_string());
        tls::write(dir)?;
        write_files(peer, dir, &values, &mut facts.files)?;
        facts.arguments = fill(peer.arguments, &values)?.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let mut command = Command::new(program);
        command.args(facts.arguments.split(' ')).current_dir(dir);
        let process = Process::start(command, setting.cores.server, &dir.join("server.log"), false)?;
        let [address, tls] = [port, tls_port].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok((process, address, peer.tls.then_some(tls)))
    }
}

impl Setting<'_> {
    fn dir(&self, name: &str) -> anyhow::Result<TempDir> {
        Ok(tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(self.scratch)?)
    }
}

fn values(dir: &Path, (port, tls_port): (u16, u16), origin_port: u16) -> Values {
    Values::from([
        ("dir", dir.display().to_string()),
        ("port", port.to_string()),
        ("tls_port", tls_port.to_string()),
        ("origin_port", origin_port.to_string()),
        ("user", std::env::var("USER").unwrap_or_else(|_| "root".to_owned())),
        ("open_files", sys::raise_open_files().to_string()),
    ])
}

fn write_files(peer: &Peer, dir: &Path, values: &Values, files: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    for folder in peer.folders {
        std::fs::create_dir(dir.join(folder))?;
    }
    for (name, template) in peer.files {
        let text = fill(template, values)?;
        std::fs::write(dir.join(name), &text).with_context(|| format!("cannot write {name} to {}", dir.display()))?;
        files.insert((*name).to_owned(), text);
    }
    Ok(())
}

/// A port that nobody listens on now.
fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16;
    for _ in PORTS {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = PORTS.start + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port between {} and {} is free", PORTS.start, PORTS.end)
}

impl Running {
    /// The process under test.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().map_or_else(|| self.origin.pid(), Process::pid)
    }

    /// Whether the server stands between viewers and origin.
    pub(crate) fn has_upstream(&self) -> bool {
        self.process.is_some()
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        // A live playlist has moved on.
        let expected = (!self.live).then(|| stream::playlist(stream::FIRST));
        match &mut self.process {
            Some(process) => ready(self.address, expected, process, self.dir.path()).await,
            None => Ok(()),
        }
    }
}

async fn ready(address: SocketAddr, expected: Option<String>, process: &mut Process, dir: &Path) -> anyhow::Result<()> {
    let until = Instant::now() + READY_WITHIN;
    loop {
        let is_expected = |body: &[u8]| expected.as_ref().is_none_or(|expected| body == expected.as_bytes());
        let trouble = match exchange(address, "GET", stream::PLAYLIST).await {
            Ok(answer) if answer.status() == 200 && is_expected(answer.body()) => return Ok(()),
            Ok(answer) if answer.status() == 200 => bail!("it serves another playlist than its origin"),
            Ok(answer) => format!("it answers status {}", answer.status()),
            Err(error) => format!("{error:#}"),
        };
        let ended = process.has_ended();
        if ended || Instant::now() >= until {
            let log = std::fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            let state = if ended { "it ended at once" } else { trouble.as_str() };
            bail!("{state}; it said: {}", last.join(" / "));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Which fields of a head, of those that the origin sets, a server does not pass on as they are.
pub(crate) fn changed_fields(
    origin: &BTreeMap<String, String>,
    server: &BTreeMap<String, String>,
) -> Vec<&'static str> {
    stream::PASSED_ON.into_iter().filter(|name| origin.get(*name) != server.get(*name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let (first, second) = (free_port().unwrap(), free_port().unwrap());
        assert!(first != second && PORTS.contains(&first) && PORTS.contains(&second));
    }

    #[test]
    fn a_changed_or_missing_field_is_named() {
        let origin = BTreeMap::from([("content-type".to_owned(), "a".to_owned()), ("x".to_owned(), "1".to_owned())]);
        assert_eq!(changed_fields(&origin, &origin), [""; 0]);
        assert_eq!(changed_fields(&origin, &BTreeMap::new()), ["content-type"]);
    }

    #[tokio::test]
    async fn an_unknown_server_is_refused_and_an_absent_one_told() {
        assert!(find(&["apache".to_owned()], None).await.is_err());
        let (found, absent) =
            find(&[FLOOR.to_owned(), "vivid".to_owned()], Some(Path::new("/no/vivid"))).await.unwrap();
        assert_eq!((found.len(), absent.len()), (1, 1));
        assert!(absent[0].starts_with("vivid: not built"), "{absent:?}");
    }
}
