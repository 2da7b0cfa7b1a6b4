//! TLS for clients: version 1.3, a certificate chain and key from two PEM files.
//!
//! The files are looked at with each handshake and read again when they changed, so a renewed
//! certificate needs no restart; connections that are open keep theirs. Files that can't be used
//! are told and the former certificate stays: a renewal that is half written must not close the
//! door. A chain and a key that don't belong together are never used.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// Protocols above, the best first. A WebSocket needs HTTP/1.1, and its clients offer just that.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why the files can't be used.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// The certificate that clients are shown.
#[derive(Debug)]
pub struct Tls {
    chain: PathBuf,
    key: PathBuf,
    current: Mutex<(Stamps, Arc<ServerConfig>)>,
}

/// When the files last changed.
type Stamps = [Option<SystemTime>; 2];

impl Tls {
    /// From the PEM files of a certificate chain and its key.
    ///
    /// # Errors
    /// [`TlsError`], in words for an operator.
    pub fn new(chain: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let stamps = stamps(&chain, &key);
        let config = load(&chain, &key)?;
        Ok(Self { chain, key, current: Mutex::new((stamps, config)) })
    }

    /// What the next handshake uses.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.chain, &self.key);
        if stamps != current.0 {
            match load(&self.chain, &self.key) {
                Ok(config) => {
                    tracing::info!("a new certificate is in use");
                    *current = (stamps, config);
                }
                Err(error) => {
                    current.0 = stamps;
                    tracing::error!(%error, "a new certificate can't be used; the former one stays");
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&current.1))
    }
}

fn stamps(chain: &Path, key: &Path) -> Stamps {
    [chain, key].map(|path| path.metadata().and_then(|metadata| metadata.modified()).ok())
}

fn load(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |path: &Path, why: &dyn fmt::Display| {
        TlsError(format!("{} can't be used: {why}", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(chain, &error))?;
    if certificates.is_empty() {
        return Err(unusable(chain, &"it holds no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| TlsError(format!("chain and key don't fit: {error}")))?;
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    // A client that comes back is spared the signature; its ticket is worth nothing elsewhere.
    config.ticketer = Ticketer::new().map_err(|error| TlsError(error.to_string()))?;
    Ok(Arc::new(config))
}
