//! What HTTPS needs here: a certificate for servers under test, and one cipher for all clients.

use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{CipherSuite, ClientConfig, RootCertStore};

/// Every server takes it, so that ciphers are not what differs.
pub(crate) const CIPHER: &str = "TLS_AES_128_GCM_SHA256";

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
const CLIENT: &str = "client.cnf";

/// Puts a new certificate, its key, and the settings of OpenSSL's clients into a folder.
pub(crate) fn write(dir: &Path) -> anyhow::Result<()> {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    let client = format!(
        "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = clients\n[clients]\n\
         MinProtocol = TLSv1.3\nCiphersuites = {CIPHER}\n"
    );
    let texts = [(CERTIFICATE, signed.cert.pem()), (KEY, signed.signing_key.serialize_pem()), (CLIENT, client)];
    for (name, text) in texts {
        fs::write(dir.join(name), text).with_context(|| format!("cannot write {name} to {}", dir.display()))?;
    }
    Ok(())
}

/// Of the bench's own clients, for a server with this certificate in PEM.
pub(crate) fn client(certificate: &Path, protocol: &[u8]) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::from_pem_file(certificate);
    roots.add(read.with_context(|| format!("{} holds no certificate", certificate.display()))?)?;
    let mut provider: CryptoProvider = ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

/// For `OPENSSL_CONF`.
pub(crate) fn client_settings(dir: &Path) -> PathBuf {
    dir.join(CLIENT)
}

/// In PEM, of a server that runs in this folder.
pub(crate) fn certificate(dir: &Path) -> PathBuf {
    dir.join(CERTIFICATE)
}
