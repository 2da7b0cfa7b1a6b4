//! Mutual TLS between nodes: version 1.3, both sides show a certificate that the cluster's own
//! authority made, bound to the node's name.
//!
//! The files are read again when they change, at the next handshake, so that renewed certificates
//! need no restart. Sessions are never resumed: a resumed one would outlive its certificate.

use crate::link::names;
use rustls::client::Resumption;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use webpki::{EndEntityCert, KeyUsage};

/// Where a node's certificates are, PEM files each (`rookery cert` makes them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority's certificate: whom to believe.
    pub authority: PathBuf,
    /// This node's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why the certificates can't be used.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// What handshakes need.
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

/// The certificates of a node.
pub(super) struct Tls {
    files: TlsFiles,
    cluster: String,
    name: String,
    current: Mutex<(Stamps, Arc<Loaded>)>,
}

type Stamps = [Option<SystemTime>; 3];

impl Tls {
    pub(super) fn new(files: TlsFiles, cluster: &str, name: &str) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let loaded = Arc::new(load(&files, cluster, name)?);
        let (cluster, name) = (cluster.to_owned(), name.to_owned());
        Ok(Self { files, cluster, name, current: Mutex::new((stamps, loaded)) })
    }

    /// What is in the files now, or was when they were last good.
    pub(super) fn current(&self) -> Arc<Loaded> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps != current.0 {
            current.0 = stamps;
            match load(&self.files, &self.cluster, &self.name) {
                Ok(loaded) => {
                    tracing::info!("new certificates are in use");
                    current.1 = Arc::new(loaded);
                }
                Err(error) => tracing::error!(%error, "new certificates can't be used"),
            }
        }
        Arc::clone(&current.1)
    }
}

/// The name that the certificate of a node must be for.
pub(super) fn server_name(cluster: &str, name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(names::certified(cluster, name))
        .map_err(|_| TlsError(format!("{name:?} in cluster {cluster:?} is no name")))
}

/// Whether a certificate, whose chain was verified, is for this name.
pub(super) fn is_for(certificate: &CertificateDer<'_>, cluster: &str, name: &str) -> bool {
    let Ok(expected) = server_name(cluster, name) else { return false };
    EndEntityCert::try_from(certificate)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&expected).is_ok())
}

/// A server that refuses every handshake, for a listener that can't be left out.
pub(super) fn refuses_all() -> Result<Arc<ServerConfig>, TlsError> {
    #[derive(Debug)]
    struct NoCertificate;
    impl rustls::server::ResolvesServerCert for NoCertificate {
        fn resolve(
            &self,
            _hello: rustls::server::ClientHello<'_>,
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            None
        }
    }
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| TlsError(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    Ok(Arc::new(config))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.authority, &files.certificate, &files.key]
        .map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok())
}

/// What every peer will ask: is it of this authority, and is it its time?
fn verify(chain: &[CertificateDer<'_>], roots: &RootCertStore) -> Result<(), webpki::Error> {
    let (own, intermediates) = chain.split_first().ok_or(webpki::Error::BadDer)?;
    let (own, now) = (EndEntityCert::try_from(own)?, UnixTime::now());
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        own.verify_for_usage(algorithms, &roots.roots, intermediates, now, usage, None, None)?;
    }
    Ok(())
}

fn load(files: &TlsFiles, cluster: &str, name: &str) -> Result<Loaded, TlsError> {
    let wrong = |path: &PathBuf| {
        let path = path.display().to_string();
        move |error: PemError| TlsError(format!("{path}: {error}"))
    };
    let refused = |error: &dyn fmt::Display| {
        TlsError(format!("{} can't be used: {error}", files.certificate.display()))
    };
    let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).map_err(wrong(path))?.collect();
        found.map_err(wrong(path))
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(&files.authority)? {
        roots.add(root).map_err(|error| refused(&error))?;
    }
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(wrong(&files.key))?;
    if !chain.first().is_some_and(|own| is_for(own, cluster, name)) {
        let expected = names::certified(cluster, name);
        return Err(refused(&format_args!("it is not for {expected}")));
    }
    verify(&chain, &roots).map_err(|error| refused(&error))?;
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .build()
        .map_err(|error| refused(&error))?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| refused(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(|error| refused(&error))?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| refused(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| refused(&error))?;
    client.resumption = Resumption::disabled();
    Ok(Loaded { server: Arc::new(server), client: Arc::new(client) })
}
