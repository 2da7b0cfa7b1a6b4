//! A dialer that says what a test wants it to say.

use super::PATIENCE;
use rookery_actors::link::frame::{NEWEST_VERSION, OLDEST_VERSION};
use rookery_actors::link::greeting::{Answer, Greeting};
use rookery_actors::link::names;
use rookery_actors::shell::link::TlsFiles;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a good dialer says.
pub fn greeting(cluster: &str, name: &str, to: &str) -> Greeting {
    Greeting {
        oldest: OLDEST_VERSION,
        newest: NEWEST_VERSION,
        cluster: cluster.to_owned(),
        name: name.to_owned(),
        incarnation: 1,
        to_name: to.to_owned(),
        to_incarnation: 1,
        routers: vec![1],
    }
}

/// Connects with these certificates and says this; the stream, and the answer if there is one.
pub async fn say(
    address: SocketAddr,
    files: &TlsFiles,
    words: &[u8],
) -> (Option<TlsStream<TcpStream>>, Option<Answer>) {
    let said = timeout(PATIENCE, async {
        let socket = TcpStream::connect(address).await.ok()?;
        let name = ServerName::try_from(names::certified("any", "any")).unwrap();
        let mut stream = TlsConnector::from(config(files)).connect(name, socket).await.ok()?;
        stream.write_all(words).await.ok()?;
        stream.flush().await.ok()?;
        let length = stream.read_u16().await.ok()?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.ok()?;
        Some((stream, Answer::decode(&answer, NEWEST_VERSION).ok()))
    });
    match said.await.expect("the other side neither answered nor ended") {
        Some((stream, answer)) => (Some(stream), answer),
        None => (None, None),
    }
}

fn config(files: &TlsFiles) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_file(&files.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(BelievesAll(provider)))
        .with_client_auth_cert(vec![certificate], key);
    Arc::new(config.unwrap())
}

/// The dialer under test's control doesn't care who answers.
#[derive(Debug)]
struct BelievesAll(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
