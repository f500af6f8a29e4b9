//! [`Identity`]: the key by which clients know the server, and the certificate that carries it.
//!
//! Clients pin the key (SHA-256 of its SubjectPublicKeyInfo), not the certificate: a certificate that is about to expire
//! is made anew with the same key, and no client notices.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::failure::{Failure, FailureKind};
use crate::private_files;
use crate::validity::Validity;

const DAY: Duration = Duration::from_secs(86_400);
/// Browsers refuse certificates that are valid for longer than 398 days.
const LIFETIME: Duration = Duration::from_secs(397 * 86_400);
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
const COMMON_NAME: &str = "Delta Backup server";

/// A server's key and certificate, ready for TLS.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pin: [u8; 32],
    chain: Arc<[CertificateDer<'static>]>,
    tls: Arc<ServerConfig>,
    is_issued: bool,
}

impl Identity {
    /// Reads key and certificate from the folder `keys`, or makes them. `names` are the hosts a new certificate is for.
    ///
    /// A certificate of ours that expires within 30 days is replaced; one that somebody else issued is left alone, and so is
    /// a file without one: somebody may be about to write it.
    ///
    /// # Errors
    /// [`Failure`] when a file cannot be read or written, others can read it, it does not fit, or holds no certificate.
    pub(crate) fn open(keys: &Path, names: &[String], now: SystemTime) -> Result<Self, Failure> {
        let key_path = key_path(keys);
        let key = match read_key(&key_path)? {
            Some(key) => key,
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| made(&error))?;
                private_files::write(&key_path, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let certificate_path = certificate_path(keys);
        let chain = match read_chain(&certificate_path)? {
            Some(chain) if !is_due(&chain, now) => chain,
            _ => {
                let certificate = issue(&key, names, now).map_err(|error| made(&error))?;
                private_files::write(&certificate_path, certificate.pem().as_bytes())?;
                vec![certificate.der().clone()]
            }
        };
        let is_issued = chain.first().and_then(|own| Validity::of(own)).is_some_and(|own| !own.is_self_issued);
        let tls = server_config(chain.clone(), &key).map_err(|error| unusable(&certificate_path).because(&error))?;
        Ok(Self { pin: pin(&key), chain: chain.into(), tls: Arc::new(tls), is_issued })
    }

    /// Reads only what clients pin; `None` when the server has no key yet.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn read_pin(keys: &Path) -> Result<Option<[u8; 32]>, Failure> {
        Ok(read_key(&key_path(keys))?.as_ref().map(pin))
    }

    /// Looks whether the key and the certificate that are there can be used together; changes nothing.
    ///
    /// # Errors
    /// The file that cannot be used, and the [`Failure`].
    pub(crate) fn check(keys: &Path) -> Result<(), (PathBuf, Failure)> {
        let (key_path, certificate_path) = (key_path(keys), certificate_path(keys));
        let Some(key) = read_key(&key_path).map_err(|failure| (key_path, failure))? else { return Ok(()) };
        let chain = read_chain(&certificate_path).map_err(|failure| (certificate_path.clone(), failure))?;
        if let Some(chain) = chain {
            server_config(chain, &key).map_err(|error| {
                let failure = unusable(&certificate_path).because(&error);
                (certificate_path, failure)
            })?;
        }
        Ok(())
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo: what clients know the server by.
    pub(crate) fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// Whether somebody else vouches for the key: browsers need nobody's consent then.
    pub(crate) fn is_issued(&self) -> bool {
        self.is_issued
    }

    /// How TLS is spoken.
    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }
}

/// The identity that a running server shows. Whoever is connected keeps what they were shown.
#[derive(Debug)]
pub(crate) struct Shown(RwLock<Identity>);

impl Shown {
    pub(crate) fn new(identity: Identity) -> Arc<Self> {
        Arc::new(Self(RwLock::new(identity)))
    }

    pub(crate) fn get(&self) -> Identity {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows what `open` makes of the folder `keys`; whether its certificate is another.
    ///
    /// # Errors
    /// [`Failure`] when the key is another, or none: clients know the server by the one it started with. What `open` fails
    /// with.
    pub(crate) fn renew(&self, keys: &Path, open: impl FnOnce() -> Result<Identity, Failure>) -> Result<bool, Failure> {
        let shown = self.get();
        if Identity::read_pin(keys)? != Some(shown.pin) {
            let message = format!("{} is not the key that the server started with", key_path(keys).display());
            return Err(Failure::new(FailureKind::Integrity, message).hint(
                "put the key back; if it is meant to be another one, start the server again and enrol clients anew",
            ));
        }
        let opened = open()?;
        let is_other = opened.chain != shown.chain;
        if is_other {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = opened;
        }
        Ok(is_other)
    }
}

fn key_path(keys: &Path) -> PathBuf {
    keys.join("tls.key")
}

fn certificate_path(keys: &Path) -> PathBuf {
    keys.join("tls.crt")
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, Failure> {
    let Some(pem) = private_files::read(path)? else { return Ok(None) };
    let text = std::str::from_utf8(&pem).map_err(|error| unusable(path).because(&error))?;
    KeyPair::from_pem(text).map(Some).map_err(|error| unusable(path).because(&error))
}

/// The certificates of a file, at least one; `None` where there is no file.
fn read_chain(path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, Failure> {
    let Some(pem) = private_files::read(path)? else { return Ok(None) };
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| unusable(path).because(&error))?;
    if chain.is_empty() {
        let message = format!("{} holds no certificate", path.display());
        let hint = "write the certificate into it, as PEM; or remove the file, and the server makes one";
        return Err(Failure::new(FailureKind::Integrity, message).hint(hint));
    }
    Ok(Some(chain))
}

fn pin(key: &KeyPair) -> [u8; 32] {
    let digest = digest(&SHA256, &key.subject_public_key_info());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Whether a certificate has to be made anew: it is ours, and ends soon.
fn is_due(chain: &[CertificateDer<'_>], now: SystemTime) -> bool {
    let [certificate] = chain else { return false };
    Validity::of(certificate).is_some_and(|ours| ours.is_self_issued && ours.not_after < now + RENEW_BEFORE)
}

fn issue(key: &KeyPair, names: &[String], now: SystemTime) -> Result<rcgen::Certificate, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
    // Clocks of clients may be behind.
    params.not_before = OffsetDateTime::from(now - DAY);
    params.not_after = OffsetDateTime::from(now - DAY + LIFETIME);
    params.self_signed(key)
}

fn server_config(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<ServerConfig, rustls::Error> {
    let key =
        PrivateKeyDer::try_from(key.serialize_der()).map_err(|reason| rustls::Error::General(reason.to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // TLS 1.2 is for browsers; our clients offer 1.3 only.
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn unusable(path: &Path) -> Failure {
    Failure::new(FailureKind::Integrity, format!("{} is not usable", path.display()))
        .hint("put the file back from your copy of it; without tls.key every client has to be enrolled again")
}

fn made(error: &rcgen::Error) -> Failure {
    Failure::new(FailureKind::Internal, "cannot make the server's certificate").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    fn certificate(keys: &Path) -> CertificateDer<'static> {
        let pem = private_files::read(&keys.join("tls.crt")).unwrap().unwrap();
        CertificateDer::from_pem_slice(&pem).unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_with_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let first = Identity::open(dir.path(), &names(), now).unwrap();
        let validity = Validity::of(&certificate(dir.path())).unwrap();
        assert!(validity.is_self_issued);
        assert_eq!(validity.not_after, now + 396 * DAY);

        let before = certificate(dir.path());
        let again = Identity::open(dir.path(), &names(), now + 360 * DAY).unwrap();
        assert_eq!(certificate(dir.path()), before);
        let renewed = Identity::open(dir.path(), &names(), now + 370 * DAY).unwrap();
        assert_ne!(certificate(dir.path()), before);
        assert_eq!((first.pin(), first.pin()), (again.pin(), renewed.pin()));
        assert_eq!(Identity::read_pin(dir.path()).unwrap(), Some(first.pin()));
        assert!(!first.is_issued() && !renewed.is_issued());
    }

    #[test]
    fn a_running_server_shows_the_renewed_certificate_and_never_another_key() {
        let dir = tempfile::tempdir().unwrap();
        let open = |days| Identity::open(dir.path(), &names(), SystemTime::UNIX_EPOCH + days * DAY);
        let shown = Shown::new(open(20_000).unwrap());
        assert!(!shown.renew(dir.path(), || open(20_360)).unwrap(), "it is the same one");
        assert!(shown.renew(dir.path(), || open(20_370)).unwrap());
        let renewed = certificate(dir.path());
        assert!(shown.get().chain.iter().eq([&renewed]));

        let key = dir.path().join("tls.key");
        let kept = std::fs::read(&key).unwrap();
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        for wrong in [other.as_bytes(), b"not a key"] {
            private_files::write(&key, wrong).unwrap();
            let failure = shown.renew(dir.path(), || open(20_800)).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Integrity);
            assert_eq!(certificate(dir.path()), renewed, "nothing is made");
        }
        private_files::write(&key, &kept).unwrap();
        assert!(shown.get().chain.iter().eq([&renewed]));
    }

    #[test]
    fn a_certificate_that_is_being_written_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let open = || Identity::open(dir.path(), &names(), now);
        let shown = Shown::new(open().unwrap());
        let path = dir.path().join("tls.crt");
        let whole = private_files::read(&path).unwrap().unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 2] {
            private_files::write(&path, &whole[..length]).unwrap();
            let failure = shown.renew(dir.path(), open).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::Integrity, "{failure}");
            assert_eq!(*private_files::read(&path).unwrap().unwrap(), whole[..length]);
            assert!(Identity::check(dir.path()).is_err());
        }
        private_files::write(&path, &whole).unwrap();
        assert!(!shown.renew(dir.path(), open).unwrap());
    }

    #[test]
    fn a_certificate_issued_by_others_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        Identity::open(dir.path(), &names(), now).unwrap();
        let key = KeyPair::from_pem(&std::fs::read_to_string(dir.path().join("tls.key")).unwrap()).unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority_params = CertificateParams::new(Vec::new()).unwrap();
        authority_params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority = rcgen::Issuer::new(authority_params, authority_key);
        let mut params = CertificateParams::new(names()).unwrap();
        params.not_after = OffsetDateTime::from(now + DAY);
        let issued = params.signed_by(&key, &authority).unwrap();
        private_files::write(&dir.path().join("tls.crt"), issued.pem().as_bytes()).unwrap();
        let identity = Identity::open(dir.path(), &names(), now).unwrap();
        assert!(identity.is_issued());
        assert_eq!(certificate(dir.path()), *issued.der());
    }

    #[test]
    fn a_damaged_key_is_refused_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        private_files::write(&dir.path().join("tls.key"), b"not a key").unwrap();
        let failure = Identity::open(dir.path(), &names(), SystemTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Integrity);
        assert_eq!(std::fs::read(dir.path().join("tls.key")).unwrap(), b"not a key");
    }
}
