//! Who is at the other end of a connection, as far as the transport knows.

use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address; behind a trusted proxy the one the proxy has told.
    pub address: SocketAddr,
    /// The subject of its certificate, if it has shown one that verified: a distinguished name as in RFC 4514, most
    /// specific part first, such as `CN=app,O=Example` (SEC-8).
    pub certificate_dn: Option<Arc<str>>,
}

impl Peer {
    /// A peer without a certificate.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            certificate_dn: None,
        }
    }
}
