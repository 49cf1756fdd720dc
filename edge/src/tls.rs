//! TLS of viewers: handshakes within bounds, and certificates that are exchanged while the node runs.

use crate::metrics::{Bound, Handshake, Metrics, Reload};
use crate::moment::Moment;
use crate::stream::Stream;
use arc_swap::ArcSwap;
use config::{CertificateFiles, TlsVersion};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, SupportedProtocolVersion};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;

mod certificate;

pub use certificate::{Certificate, CertificateError, Chooser};

/// Everything that TLS connections of viewers share.
pub struct Tls {
    acceptor: TlsAcceptor,
    /// Also what the QUIC listener makes its own configuration of.
    chosen: Arc<Chosen>,
    files: Mutex<Vec<Watched>>,
    handshakes: Semaphore,
    handshake_timeout: Duration,
    reload: Duration,
    metrics: Arc<Metrics>,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}, which edge.tls.certificates names: {source}; write the path of a PEM file", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{certificate} and {key} of edge.tls.certificates: {source}", certificate = files.certificate.display(), key = files.key.display())]
    Certificate { files: CertificateFiles, source: CertificateError },
    #[error("edge.tls.certificates names no certificate; name one for edge.tls.listen")]
    NoCertificate,
    #[error("TLS cannot be set up: {0}; check the system's source of random numbers")]
    Setup(#[from] rustls::Error),
}

/// A pair of files, what they held when last looked at, and the certificate that serves.
struct Watched {
    files: CertificateFiles,
    /// `None` while they cannot be read.
    seen: Option<Pem>,
    serving: Certificate,
    /// What the log said last of the days left.
    told_days: Option<i64>,
}

#[derive(PartialEq, Eq)]
struct Pem {
    chain: Vec<u8>,
    key: Vec<u8>,
}

/// What a handshake asks for its certificate.
#[derive(Debug)]
struct Chosen(ArcSwap<Chooser>);

/// Records of one connection that the kernel has not taken yet. With less, an object of 64 KiB and its header leave in
/// two calls.
const BUFFER_BYTES: usize = 128 << 10;
/// With fewer days left, the log says so once a day.
const WARN_DAYS: i64 = 14;

impl Tls {
    /// # Errors
    /// If a file cannot be read, holds no certificate or key, or the two do not belong together. One that has expired is
    /// served, and said loudly: plain listeners and other hosts go on.
    pub fn new(config: &config::Tls, metrics: &Arc<Metrics>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let watched: Vec<_> =
            config.certificates.iter().map(|files| Watched::new(files, &provider)).collect::<Result<_, _>>()?;
        let chooser = Chooser::new(&serving(&watched)).ok_or(TlsError::NoCertificate)?;
        let chosen = Arc::new(Chosen(ArcSwap::from_pointee(chooser)));
        let tls = Self {
            acceptor: TlsAcceptor::from(Arc::new(server_config(config.min_version, &provider, &chosen)?)),
            chosen,
            files: Mutex::new(watched),
            handshakes: Semaphore::new(config.handshakes_max),
            handshake_timeout: config.handshake_timeout,
            reload: config.reload,
            metrics: metrics.clone(),
        };
        tls.tell_expiry();
        Ok(tls)
    }

    /// Reads two files as a node would.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(files: &CertificateFiles) -> Result<(), TlsError> {
        Watched::new(files, &Arc::new(ring::default_provider())).map(drop)
    }

    /// Shakes hands; `None` if the client cannot, will not or is too slow.
    pub async fn accept(&self, socket: TcpStream) -> Option<Stream> {
        let shaking = async {
            if self.handshakes.available_permits() == 0 {
                self.metrics.bit(Bound::Handshakes);
            }
            let _turn = self.handshakes.acquire().await;
            self.acceptor.accept(socket).await
        };
        match timeout(self.handshake_timeout, shaking).await {
            Ok(Ok(mut stream)) => {
                stream.get_mut().1.set_buffer_limit(Some(BUFFER_BYTES));
                let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                self.metrics.shook(if resumed { Handshake::Resumed } else { Handshake::Full });
                Some(Stream::from(stream))
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "no handshake");
                self.metrics.shook(Handshake::Failed);
                None
            }
            Err(_) => {
                self.metrics.shook(Handshake::Failed);
                self.metrics.bit(Bound::HandshakeTimeout);
                None
            }
        }
    }

    /// Looks at the files for ever.
    pub async fn watch(self: &Arc<Self>) {
        let mut tick = interval(self.reload);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let tls = self.clone();
            if tokio::task::spawn_blocking(move || tls.look()).await.is_err() {
                tracing::error!("certificates cannot be looked at; restart the node to take new ones");
                return std::future::pending().await;
            }
        }
    }

    /// Takes what has changed. The old certificate serves on where the new one is broken.
    fn look(&self) {
        let mut watched = self.files.lock();
        let mut changed = false;
        for one in watched.iter_mut() {
            match one.look(self.acceptor.config().crypto_provider()) {
                Ok(false) => {}
                Ok(true) => {
                    changed = true;
                    self.metrics.reloaded(Reload::Loaded);
                    tracing::info!(certificate = %one.files.certificate.display(), "certificate loaded");
                }
                Err(error) => {
                    self.metrics.reloaded(Reload::Failed);
                    tracing::error!(%error, "the certificate is not exchanged; the old one serves on");
                }
            }
        }
        if let Some(chooser) = changed.then(|| Chooser::new(&serving(&watched))).flatten() {
            self.chosen.0.store(Arc::new(chooser));
        }
        drop(watched);
        self.tell_expiry();
    }

    fn tell_expiry(&self) {
        let now = unix_now();
        for one in self.files.lock().iter_mut() {
            let name = one.files.certificate.to_string_lossy();
            let days = (one.serving.not_after - now) as f64 / 86_400.0;
            self.metrics.certificate_days.with_label_values(&[&name]).set(days);
            let whole_days = days.floor() as i64;
            if whole_days < WARN_DAYS && one.told_days != Some(whole_days) {
                one.told_days = Some(whole_days);
                if whole_days < 0 {
                    tracing::error!(certificate = %name, "the certificate has expired; renew it");
                } else {
                    tracing::warn!(certificate = %name, whole_days, "the certificate expires soon; renew it");
                }
            }
        }
    }
}

impl Watched {
    fn new(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let pem = Pem::read(files)?;
        let serving = pem.certificate(files, provider)?;
        Ok(Self { files: files.clone(), seen: Some(pem), serving, told_days: None })
    }

    /// Whether a new certificate serves from here on. What is broken is an error once, not at every look.
    fn look(&mut self, provider: &CryptoProvider) -> Result<bool, TlsError> {
        let pem = match Pem::read(&self.files) {
            Ok(pem) if self.seen.as_ref() == Some(&pem) => return Ok(false),
            Ok(pem) => pem,
            Err(_) if self.seen.is_none() => return Ok(false),
            Err(error) => {
                self.seen = None;
                return Err(error);
            }
        };
        let read = pem.certificate(&self.files, provider);
        self.seen = Some(pem);
        let new = read?;
        let refused = |source| TlsError::Certificate { files: self.files.clone(), source };
        new.may_replace(&self.serving, unix_now()).map_err(refused)?;
        self.serving = new;
        Ok(true)
    }
}

impl Pem {
    fn read(files: &CertificateFiles) -> Result<Self, TlsError> {
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.clone(), source });
        Ok(Self { chain: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn certificate(&self, files: &CertificateFiles, provider: &CryptoProvider) -> Result<Certificate, TlsError> {
        Certificate::read(&self.chain, &self.key, provider)
            .map_err(|source| TlsError::Certificate { files: files.clone(), source })
    }
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().choose(hello.server_name()).clone())
    }
}

fn server_config(
    min_version: TlsVersion,
    provider: &Arc<CryptoProvider>,
    chosen: &Arc<Chosen>,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(chosen.clone());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Tickets carry the session to the viewer and back, under keys that change every six hours: nothing is kept here.
    config.ticketer = ring::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A player that connects again needs one.
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn serving(watched: &[Watched]) -> Vec<Certificate> {
    watched.iter().map(|one| one.serving.clone()).collect()
}

fn unix_now() -> i64 {
    Moment::now().unix_s() as i64
}
