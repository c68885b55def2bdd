//! Authorities and certificates, made for one test.

use std::path::PathBuf;
use std::sync::Arc;

use ferrymq::config::Config;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// An authority, and a directory in which the broker's files lie.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    /// One whose directory holds the broker's certificate, and its own as that of clients.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "ferrymq test authority");
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let authority = Self {
            issuer,
            directory: tempfile::tempdir().expect("a directory"),
        };
        authority.write("client-ca.pem", &authority.issuer.pem());
        authority.install(&authority.pair("broker", 2100));
        authority
    }

    /// A certificate for `localhost` that is valid to the end of the year before `until`.
    pub(crate) fn pair(&self, name: &str, until: i32) -> Pair {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let dn = &mut params.distinguished_name;
        dn.remove(DnType::CommonName);
        dn.push(DnType::OrganizationName, "Example");
        dn.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a file in one step.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let unfinished = self.path("unfinished");
        std::fs::write(&unfinished, text).expect("a file");
        std::fs::rename(unfinished, self.path(name)).expect("a file");
    }

    /// Makes a pair the broker's.
    pub(crate) fn install(&self, pair: &Pair) {
        self.write("key.pem", &pair.key);
        self.write("certificate.pem", &pair.certificate);
    }

    /// Lets a broker use it, on every listener.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.tls.certificate = self.path("certificate.pem");
        config.tls.private_key = self.path("key.pem");
        config.tls.client_ca = self.path("client-ca.pem");
        config.stomp_tls.enabled = true;
        config.websocket.enabled = true;
        config.websocket_tls.enabled = true;
        config.auto.enabled = true;
        config.auto.tls = true;
        config.stomp_tls.listen.set_port(0);
        config.websocket.listen.set_port(0);
        config.websocket_tls.listen.set_port(0);
        config.auto.listen.set_port(0);
    }

    /// A client that trusts it, with a certificate of its own or not.
    pub(crate) fn client(&self, own: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root: &rcgen::Certificate = self.issuer.as_ref();
        roots.add(root.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes());
                builder
                    .with_client_auth_cert(vec![chain.expect("PEM")], key.expect("PEM"))
                    .expect("a pair")
            }
        })
    }
}
