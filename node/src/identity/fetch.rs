//! One small document from a file or over HTTP(S): the keys of an issuer.
//!
//! Bounded in size and time, without redirects: what an operator wrote is what is asked. In the
//! clear only from the machine itself; otherwise anybody on the way could put keys of their own.

use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Most bytes of a document.
const MAX_BYTES: usize = 256 * 1024;
/// Most time for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no document.
#[derive(Debug)]
pub(super) enum FetchError {
    /// The file can't be read.
    File(std::io::Error),
    /// The authority's file can't be used.
    Authority(String),
    /// The place is no URL, or one in the clear on another machine.
    Place,
    /// The other end can't be reached, or proves to be somebody else.
    Unreachable(std::io::Error),
    /// It does not speak HTTP, or broke off.
    Http,
    /// It said something else than 200.
    Status(StatusCode),
    /// It took too long.
    TooSlow,
    /// What came is no set of keys.
    NotKeys,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => write!(f, "the file can't be read: {error}"),
            Self::Authority(error) => write!(f, "issuer.ca can't be used: {error}"),
            Self::Place => f.write_str("the place is neither a file nor a URL of https"),
            Self::Unreachable(error) => write!(f, "it can't be reached: {error}"),
            Self::Http => f.write_str("the answer is not HTTP, too long, or broke off"),
            Self::Status(status) => write!(f, "the answer is {status}"),
            Self::TooSlow => f.write_str("it took too long"),
            Self::NotKeys => f.write_str("it is no JSON Web Key Set"),
        }
    }
}

impl std::error::Error for FetchError {}

/// The document at a place: a path, or a URL. With the PEM file of an authority, who answers shows a
/// certificate of it, and no other is believed.
pub(super) async fn text(place: &str, authority: Option<&Path>) -> Result<Bytes, FetchError> {
    if !place.contains("://") {
        let bytes = tokio::fs::read(place).await.map_err(FetchError::File)?;
        return if bytes.len() <= MAX_BYTES { Ok(bytes.into()) } else { Err(FetchError::NotKeys) };
    }
    let got = tokio::time::timeout(PATIENCE, get(place, authority)).await;
    got.map_err(|_| FetchError::TooSlow)?
}

async fn get(place: &str, authority: Option<&Path>) -> Result<Bytes, FetchError> {
    let uri: Uri = place.parse().map_err(|_| FetchError::Place)?;
    let host = uri.host().ok_or(FetchError::Place)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") if is_here(bare) => false,
        _ => return Err(FetchError::Place),
    };
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((bare, port)).await.map_err(FetchError::Unreachable)?;
    if !tls {
        return ask(stream, &uri).await;
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| FetchError::Place)?;
    let stream =
        connector(authority)?.connect(name, stream).await.map_err(FetchError::Unreachable)?;
    ask(stream, &uri).await
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Believes one authority, or those that this machine believes. Its file is read each time, like the
/// keys: a new one counts without a restart.
fn connector(authority: Option<&Path>) -> Result<TlsConnector, FetchError> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| FetchError::Authority(error.to_string()))?;
            roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                return Err(FetchError::Authority("it holds no certificate".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Unreachable(std::io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn ask<S>(stream: S, uri: &Uri) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|_| FetchError::Http)?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Place)?;
    let answer = sender.send_request(request).await.map_err(|_| FetchError::Http);
    let read = match answer {
        Ok(answer) if answer.status() == StatusCode::OK => {
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            body.map(|body| body.to_bytes()).map_err(|_| FetchError::Http)
        }
        Ok(answer) => Err(FetchError::Status(answer.status())),
        Err(error) => Err(error),
    };
    driver.abort();
    read
}
