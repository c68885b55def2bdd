//! The certificate of the listeners with TLS: reading it, judging it, and reading it again when its files change
//! (SEC-10).
//!
//! A new pair is taken only if it is whole, valid now, and the key belongs to the certificate; else the old one stays
//! and the log says why. Connections keep what they began with.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use x509_cert::der::Decode;

use crate::clock::Clock;

/// Below this many days the log warns, once a day.
const WARN_BELOW_DAYS: i64 = 14;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Where the certificate is and what clients have to show.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The chain, the broker's own certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub private_key: PathBuf,
    /// Authorities of clients' certificates.
    pub client_ca: PathBuf,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// How often the files are looked at.
    pub reload_interval: Duration,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// They are asked and may have none.
    Wanted,
    /// Without one they are refused.
    Needed,
}

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
#[error("{}, which is {key}: {reason}", file.display())]
pub struct CertificateError {
    /// The key that names the file.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The certificate in use.
pub struct Certificates {
    settings: TlsSettings,
    clock: Clock,
    current: Mutex<Current>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Certificates")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

struct Current {
    config: Arc<ServerConfig>,
    not_after_ms: i64,
    /// The files as they were when they were last read, whether or not they could be used.
    seen: Seen,
    /// When the log last warned of the end.
    warned_ms: Option<i64>,
}

/// What tells that a file has changed.
type Seen = Vec<Option<(SystemTime, u64, u64)>>;

impl Certificates {
    /// Reads the certificate.
    ///
    /// # Errors
    /// What is wrong with it, and in which file.
    pub fn load(settings: TlsSettings, clock: Clock) -> Result<Self, CertificateError> {
        let seen = seen(&settings);
        let (config, not_after_ms) = read(&settings, now_ms(&clock))?;
        let certificates = Self {
            settings,
            clock,
            current: Mutex::new(Current {
                config,
                not_after_ms,
                seen,
                warned_ms: None,
            }),
        };
        certificates.warn_of_end();
        Ok(certificates)
    }

    /// What new connections use.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current().config)
    }

    /// Whole days until the certificate, or one of its chain, expires; negative when it has.
    pub fn days_left(&self) -> i64 {
        (self.current().not_after_ms - now_ms(&self.clock)).div_euclid(DAY_MS)
    }

    /// Looks at the files every so often, for ever.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(self.settings.reload_interval);
        loop {
            ticks.tick().await;
            if seen(&self.settings) != self.current().seen {
                self.reload();
            }
            self.warn_of_end();
        }
    }

    /// Reads the files anew. The old certificate stays if the new one cannot be used.
    pub fn reload(&self) {
        let seen = seen(&self.settings);
        let outcome = read(&self.settings, now_ms(&self.clock));
        let mut current = self.current();
        current.seen = seen;
        match outcome {
            Ok((config, not_after_ms)) => {
                current.config = config;
                current.not_after_ms = not_after_ms;
                current.warned_ms = None;
                drop(current);
                let file = self.settings.certificate.display();
                tracing::info!(%file, days_left = self.days_left(), "certificate read anew");
            }
            Err(error) => tracing::error!("certificate not changed, the old one stays: {error}"),
        }
    }

    fn warn_of_end(&self) {
        let (now_ms, days_left) = (now_ms(&self.clock), self.days_left());
        let mut current = self.current();
        let is_due = current
            .warned_ms
            .is_none_or(|warned_ms| now_ms - warned_ms >= DAY_MS);
        if days_left < WARN_BELOW_DAYS && is_due {
            current.warned_ms = Some(now_ms);
            let file = self.settings.certificate.display();
            tracing::warn!(%file, days_left, "the certificate, which is tls.certificate, expires soon");
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current
            .lock()
            .expect("nothing panics while it holds the certificate")
    }
}

fn now_ms(clock: &Clock) -> i64 {
    i64::try_from(clock.wall_ms()).unwrap_or(i64::MAX)
}

fn seen(settings: &TlsSettings) -> Seen {
    let files = [
        &settings.certificate,
        &settings.private_key,
        &settings.client_ca,
    ];
    files
        .into_iter()
        .map(|file| {
            let metadata = fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        })
        .collect()
}

/// Reads and judges everything; gives it with the time at which the first of the chain expires.
fn read(settings: &TlsSettings, now_ms: i64) -> Result<(Arc<ServerConfig>, i64), CertificateError> {
    let wrong = |key, file: &Path, reason: String| CertificateError {
        key,
        file: file.to_owned(),
        reason,
    };
    let in_certificate = |reason| wrong("tls.certificate", &settings.certificate, reason);
    let in_key = |reason| wrong("tls.private_key", &settings.private_key, reason);

    let chain = certificates(&settings.certificate).map_err(in_certificate)?;
    let not_after_ms = validity(&chain, now_ms).map_err(in_certificate)?;
    let key = fs::read(&settings.private_key).map_err(|error| in_key(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| {
        in_key(format!(
            "holds no private key in PEM without passphrase: {error}"
        ))
    })?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| in_certificate(error.to_string()))?;
    let builder = match settings.client_auth {
        ClientAuth::Off => builder.with_no_client_auth(),
        auth => {
            let verifier = client_verifier(&settings.client_ca, auth, provider)
                .map_err(|reason| wrong("tls.client_ca", &settings.client_ca, reason))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let certificate = settings.certificate.display();
                in_key(format!(
                    "is not the key of the certificate in {certificate}"
                ))
            }
            error => in_key(error.to_string()),
        })?;
    Ok((Arc::new(config), not_after_ms))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(file).map_err(|error| error.to_string())?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("holds no certificate in PEM".to_owned());
    }
    Ok(chain)
}

/// When the first of the chain expires, if all are valid now.
fn validity(chain: &[CertificateDer<'_>], now_ms: i64) -> Result<i64, String> {
    let mut first_end_ms = i64::MAX;
    for der in chain {
        let certificate = x509_cert::Certificate::from_der(der)
            .map_err(|error| format!("holds a malformed certificate: {error}"))?;
        let validity = &certificate.tbs_certificate.validity;
        let subject = &certificate.tbs_certificate.subject;
        let ms = |time: &x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX)
        };
        let (begin, end) = (&validity.not_before, &validity.not_after);
        if now_ms < ms(begin) {
            return Err(format!("{subject} is valid only from {begin} on"));
        }
        if now_ms > ms(end) {
            return Err(format!("{subject} has expired at {end}"));
        }
        first_end_ms = first_end_ms.min(ms(end));
    }
    Ok(first_end_ms)
}

fn client_verifier(
    file: &Path,
    auth: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("holds a certificate that is no authority: {error}"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match auth {
        ClientAuth::Needed => builder,
        _ => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| error.to_string())
}

/// The subject of a certificate as in RFC 4514: `CN=app,O=Example`.
pub(super) fn subject_of(der: &[u8]) -> Option<String> {
    let certificate = x509_cert::Certificate::from_der(der).ok()?;
    Some(certificate.tbs_certificate.subject.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use tempfile::TempDir;

    use super::*;

    /// A certificate of 2026 and the years up to `until`, and its key.
    fn pair(until: i32) -> (String, String, Vec<u8>) {
        let mut params = CertificateParams::new([]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let dn = &mut params.distinguished_name;
        dn.remove(DnType::CommonName);
        dn.push(DnType::OrganizationName, "Example, Inc");
        dn.push(DnType::CommonName, "broker");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der().to_vec();
        (certificate.pem(), key.serialize_pem(), der)
    }

    struct Files(TempDir);

    impl Files {
        fn new(certificate: &str, key: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("certificate.pem"), certificate).unwrap();
            fs::write(directory.path().join("key.pem"), key).unwrap();
            Self(directory)
        }

        fn load(&self, client_auth: ClientAuth) -> Result<Certificates, String> {
            let path = |name| self.0.path().join(name);
            let settings = TlsSettings {
                certificate: path("certificate.pem"),
                private_key: path("key.pem"),
                client_ca: path("client-ca.pem"),
                client_auth,
                reload_interval: Duration::from_secs(5),
            };
            // 2026-01-01
            let clock = Clock::manual(1_767_225_600_000);
            let directory = format!("{}/", self.0.path().display());
            Certificates::load(settings, clock)
                .map_err(|error| error.to_string().replace(&directory, ""))
        }
    }

    #[test]
    fn a_good_pair_tells_how_long_it_lasts_and_whose_it_is() {
        let (certificate, key, der) = pair(2027);
        let files = Files::new(&certificate, &key);
        let certificates = files.load(ClientAuth::Off).unwrap();
        assert_eq!(certificates.days_left(), 365);
        assert_eq!(subject_of(&der).unwrap(), r"CN=broker,O=Example\, Inc");
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_key() {
        let (certificate, key, _) = pair(2027);
        let (expired, expired_key, _) = pair(2025);
        let (_, foreign_key, _) = pair(2027);
        let begins = |certificate: &str, key: &str, auth, expected: &str| {
            let refusal = Files::new(certificate, key).load(auth).unwrap_err();
            assert!(refusal.starts_with(expected), "{refusal}");
        };
        let off = ClientAuth::Off;
        begins(
            "x",
            &key,
            off,
            "certificate.pem, which is tls.certificate: holds no certificate in PEM",
        );
        begins(
            &certificate,
            "x",
            off,
            "key.pem, which is tls.private_key: holds no private key in PEM",
        );
        begins(
            &certificate,
            &foreign_key,
            off,
            "key.pem, which is tls.private_key: is not the key of the certificate in ",
        );
        begins(
            &expired,
            &expired_key,
            off,
            "certificate.pem, which is tls.certificate: CN=broker,O=Example\\, Inc has expired at 2025-01-01",
        );
        begins(
            &certificate,
            &key,
            ClientAuth::Needed,
            "client-ca.pem, which is tls.client_ca: No such file",
        );
    }
}
