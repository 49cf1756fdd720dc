//! Certificates as values: read from PEM text, chosen by the host that a client names.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate with its key, ready to sign.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// DNS names in lower case; a wildcard as it is written, `*.example.com`.
    pub names: Vec<String>,
    /// When it expires, in seconds of Unix time.
    pub not_after: i64,
}

/// Why two files are no certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the first file holds no certificate that can be read; it must be the chain in PEM, the node's own first")]
    Chain,
    #[error("the second file holds no private key that can be read; it must be in PEM, without a passphrase")]
    Key,
    #[error("certificate and key do not belong together ({0}); name the key that the certificate was issued for")]
    Mismatch(rustls::Error),
    #[error("the certificate has expired; renew it")]
    Expired,
}

/// All certificates of a node.
#[derive(Debug)]
pub struct Chooser {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Certificate {
    /// # Errors
    /// If either text is not what it should be, or the key is another's.
    pub fn read(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| CertificateError::Chain)?;
        let own = chain.first().ok_or(CertificateError::Chain)?;
        let (_, parsed) = X509Certificate::from_der(own).map_err(|_| CertificateError::Chain)?;
        let not_after = parsed.validity().not_after.timestamp();
        let names = match parsed.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(dns_name).collect(),
            Ok(None) => Vec::new(),
            Err(_) => return Err(CertificateError::Chain),
        };
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::Key)?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(CertificateError::Mismatch)?;
        Ok(Self { key: Arc::new(key), names, not_after })
    }

    /// Whether `self` may take the place of `old`: one that has expired never replaces one that has not.
    ///
    /// # Errors
    /// `Expired`.
    pub fn may_replace(&self, old: &Self, now: i64) -> Result<(), CertificateError> {
        if self.not_after <= now && old.not_after > now { Err(CertificateError::Expired) } else { Ok(()) }
    }
}

impl Chooser {
    /// `None` if there is no certificate at all. Of two for one name, the earlier is taken.
    pub fn new(certificates: &[Certificate]) -> Option<Self> {
        let first = certificates.first()?.key.clone();
        let mut by_name = HashMap::new();
        for certificate in certificates {
            for name in &certificate.names {
                by_name.entry(name.clone()).or_insert_with(|| certificate.key.clone());
            }
        }
        Some(Self { by_name, first })
    }

    /// RFC 6125, 6.4.3: a wildcard stands for the leftmost label, and for one only.
    pub fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let named = name.and_then(|name| {
            let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
            self.by_name.get(name).or_else(wildcard)
        });
        named.unwrap_or(&self.first)
    }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn made(names: &[&str], year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn read((chain, key): &(String, String)) -> Result<Certificate, CertificateError> {
        Certificate::read(chain.as_bytes(), key.as_bytes(), &rustls::crypto::ring::default_provider())
    }

    #[test]
    fn names_and_expiry_are_read() {
        let certificate = read(&made(&["Edge.example.com", "*.example.org"], 2100)).unwrap();
        assert_eq!(certificate.names, ["edge.example.com", "*.example.org"]);
        assert_eq!(certificate.not_after, 4_102_444_800);
    }

    #[test]
    fn a_host_gets_its_own_certificate_and_a_stranger_the_first() {
        let all = [made(&["a.example"], 2100), made(&["*.b.example"], 2100), made(&["x.b.example", "a.example"], 2100)];
        let all = all.each_ref().map(|pair| read(pair).unwrap());
        let chooser = Chooser::new(&all).unwrap();
        let chosen = |name| all.iter().position(|one| Arc::ptr_eq(&one.key, chooser.choose(name)));
        for (name, expected) in [
            (Some("a.example"), 0),
            (Some("y.b.example"), 1),
            (Some("x.b.example"), 2),
            (Some("z.y.b.example"), 0),
            (Some("b.example"), 0),
            (Some(""), 0),
            (None, 0),
        ] {
            assert_eq!(chosen(name), Some(expected), "{name:?}");
        }
        assert!(Chooser::new(&[]).is_none());
    }

    #[test]
    fn what_is_no_pair_is_told_plainly() {
        let (one, other) = (made(&["a"], 2100), made(&["a"], 2100));
        let told = |chain: &str, key: &str| read(&(chain.to_owned(), key.to_owned())).unwrap_err().to_string();
        assert!(told(&one.0, &other.1).contains("do not belong together"));
        assert!(told("", &one.1).contains("first file"));
        assert!(told(&one.0.replace('A', "!"), &one.1).contains("first file"));
        assert!(told(&one.0, "").contains("second file"));
        assert!(told(&one.1, &one.0).contains("first file"));
        assert!(told(&one.0[..one.0.len() / 2], &one.1).contains("first file"));
    }

    #[test]
    fn an_expired_one_never_replaces_one_that_has_not() {
        let (old, new) = (read(&made(&["a"], 2100)).unwrap(), read(&made(&["a"], 2000)).unwrap());
        let now = 1_800_000_000;
        assert!(matches!(new.may_replace(&old, now), Err(CertificateError::Expired)));
        assert!(old.may_replace(&new, now).is_ok() && new.may_replace(&new, now).is_ok());
    }

    #[test]
    fn damaged_files_never_panic() {
        let (chain, key) = made(&["a.example"], 2100);
        let mut state = 11_u64;
        for _ in 0..500 {
            let mut damaged = chain.clone().into_bytes();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % damaged.len();
                damaged[at] = b"ABCz09+/"[(state >> 24) as usize % 8];
            }
            let _ = Certificate::read(&damaged, key.as_bytes(), &rustls::crypto::ring::default_provider());
        }
    }
}
