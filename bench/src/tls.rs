//! What HTTPS needs here: a certificate for servers under test, and one cipher for all clients.

use anyhow::Context;
use std::fs;
use std::path::{Path, PathBuf};

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

/// For `OPENSSL_CONF`.
pub(crate) fn client_settings(dir: &Path) -> PathBuf {
    dir.join(CLIENT)
}

/// In PEM, of a server that runs in this folder.
pub(crate) fn certificate(dir: &Path) -> PathBuf {
    dir.join(CERTIFICATE)
}
