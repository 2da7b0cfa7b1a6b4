//! TLS for clients: a WebSocket over it, what is refused, and a certificate that is renewed.

use crate::support::wire::User;
use crate::support::{Answer, Running};
use rcgen::{CertificateParams, KeyPair};
use rookery_cluster_config::Config;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const NAME: &str = "chat.example";

/// Writes a certificate of its own and its key; the certificate.
pub fn certificate(dir: &Path) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("chain.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

pub fn use_files(config: &mut Config, dir: &Path) {
    config.http.tls_certificate = Some(dir.join("chain.pem"));
    config.http.tls_key = Some(dir.join("key.pem"));
}

pub async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from(NAME).unwrap(), stream).await
}

async fn exchange(mut stream: TlsStream<TcpStream>, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A peer that ends without a goodbye of TLS has said what it had to.
    let _ended = stream.read_to_end(&mut bytes).await;
    Answer::parse(&String::from_utf8(bytes).unwrap())
}

const ALIVE: &str = "GET /healthz HTTP/1.1\r\nhost: chat.example\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_person_signs_up_and_opens_a_websocket_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certificate(dir.path());
    let running = Running::start_with(|config| use_files(config, dir.path())).await;
    assert!(running.node.ready_line().contains("https://"));
    let address = running.node.http_addr();
    let stream = connect(address, &trusted, "http/1.1").await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let body = crate::support::credentials("ada", "correct horse");
    let request = crate::support::post("/v1/signup", "application/json", &body)
        .replace("host: node", "host: chat.example");
    let answer = exchange(stream, &request).await.json();
    assert_eq!(answer["websocket"], "wss://chat.example/v1/ws");
    let ada = User::from_answer(&answer);
    assert!(!ada.token.is_empty());

    let stream = connect(address, &trusted, "http/1.1").await.unwrap();
    let request = "GET /v1/ws HTTP/1.1\r\nhost: chat.example\r\nupgrade: websocket\r\n\
         connection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: rookery.v1\r\n\r\n";
    let mut stream = stream;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 101");
}

#[tokio::test]
async fn http2_is_spoken_to_who_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = certificate(dir.path());
    let running = Running::start_with(|config| use_files(config, dir.path())).await;
    let mut stream = connect(running.node.http_addr(), &trusted, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    // The preface and empty SETTINGS; the server answers with its own, whose frame type is 4.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4);
    let length = (usize::from(frame[1]) << 8) | usize::from(frame[2]);
    let mut settings = vec![0; length];
    stream.read_exact(&mut settings).await.unwrap();
    // SETTINGS_MAX_CONCURRENT_STREAMS (3) and SETTINGS_MAX_HEADER_LIST_SIZE (6).
    let settings: Vec<(u8, u8, u8)> =
        settings.chunks(6).map(|setting| (setting[1], setting[4], setting[5])).collect();
    assert!(settings.contains(&(3, 0, 32)), "{settings:?}");
    assert!(settings.contains(&(6, 0x40, 0)), "{settings:?}");
}

#[tokio::test]
async fn a_client_without_tls_gets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let running = Running::start_with(|config| use_files(config, dir.path())).await;
    let mut stream = TcpStream::connect(running.node.http_addr()).await.unwrap();
    stream.write_all(ALIVE.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _reset_or_end = stream.read_to_end(&mut bytes).await;
    assert!(!String::from_utf8_lossy(&bytes).contains("alive"), "{bytes:?}");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = certificate(dir.path());
    let running = Running::start_with(|config| use_files(config, dir.path())).await;
    let address = running.node.http_addr();
    let open = connect(address, &first, "http/1.1").await.unwrap();
    let second = certificate(dir.path());
    let touch = |name: &str, ahead: u64| {
        // Clocks of file systems are coarse: a change within a tick must be seen here too.
        let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
        let time = std::time::SystemTime::now() + std::time::Duration::from_secs(ahead);
        file.set_modified(time).unwrap();
    };
    touch("chain.pem", 10);
    let renewed = connect(address, &second, "http/1.1").await.unwrap();
    assert_eq!(exchange(renewed, ALIVE).await.status, 200);
    assert!(connect(address, &first, "http/1.1").await.is_err(), "the former one is gone");
    assert_eq!(exchange(open, ALIVE).await.status, 200, "open connections stay");
    std::fs::write(dir.path().join("chain.pem"), "half a certificate").unwrap();
    touch("chain.pem", 20);
    let kept = connect(address, &second, "http/1.1").await.unwrap();
    assert_eq!(exchange(kept, ALIVE).await.status, 200);
}

#[tokio::test]
async fn a_node_whose_certificate_can_t_be_used_says_so_and_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    std::fs::write(dir.path().join("key.pem"), "").unwrap();
    let mut config = crate::support::config(dir.path());
    use_files(&mut config, dir.path());
    let refused = rookery_node::Node::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("key.pem") && refused.contains("--tls-key"), "{refused}");
}
