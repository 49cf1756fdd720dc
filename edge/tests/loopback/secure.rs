//! Certificates made for a test, files that hold them, and clients that trust them.

use crate::support::{Node, Viewer, config, in_time};
use config::{CertificateFiles, Tls, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority of this test's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A folder with the PEM files of a node.
pub(crate) struct Files(TempDir);

pub(crate) const HOST: &str = "edge.example";
pub(crate) const ALL: &[&SupportedProtocolVersion] = rustls::ALL_VERSIONS;

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key in PEM, for a host until a year.
    pub(crate) fn issue(&self, host: &str, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Files {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a pair under a name, each file in one step.
    pub(crate) fn put(&self, name: &str, (chain, key): &(String, String)) -> CertificateFiles {
        let put = |file: String, text: &str| {
            let (path, aside) = (self.path().join(&file), self.path().join(format!("{file}.new")));
            std::fs::write(&aside, text).unwrap();
            std::fs::rename(aside, &path).unwrap();
            path
        };
        CertificateFiles { certificate: put(format!("{name}.pem"), chain), key: put(format!("{name}.key"), key) }
    }
}

pub(crate) fn tls(certificates: Vec<CertificateFiles>) -> Tls {
    Tls {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        certificates,
        min_version: TlsVersion::Tls12,
        handshake_timeout: Duration::from_secs(20),
        handshakes_max: 100,
        reload: Duration::from_millis(20),
    }
}

/// A node with one certificate for [`HOST`].
pub(crate) fn node(upstream: SocketAddr, authority: &Authority, files: &Files) -> Node {
    let files = files.put("edge", &authority.issue(HOST, 2100));
    Node::with(config::Edge { tls: tls(vec![files]), ..config("edge", upstream) })
}

pub(crate) async fn connect(
    addr: SocketAddr,
    client: &Arc<ClientConfig>,
    host: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = in_time(TcpStream::connect(addr)).await?;
    let name = ServerName::try_from(host).unwrap();
    in_time(TlsConnector::from(client.clone()).connect(name, stream)).await
}

pub(crate) async fn viewer(node: &Node, client: &Arc<ClientConfig>) -> Viewer {
    Viewer::over(connect(node.tls_addrs[0], client, HOST).await.unwrap())
}
