//! What a peer will say of a certificate, by the verifier that peers use.
//!
//! The verifier does not tell when a certificate expires, only whether it is good at a moment. That is
//! enough: the last good second is found by halving, and no second parser of certificates is needed.

use rookery_actors::link::names;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::time::Duration;
use webpki::{EndEntityCert, KeyUsage};

/// Moments are looked for up to this far ahead: two hundred years.
const HORIZON_SECONDS: u64 = 200 * 366 * 24 * 60 * 60;

/// How a certificate stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Peers take it.
    Good {
        /// Its last good second, since the Unix epoch.
        until: u64,
    },
    /// Peers refuse it, and why.
    Bad(String),
}

/// How a node's certificate stands with an authority (both PEM) at a moment since the Unix epoch.
pub(super) fn standing(
    authority: &str,
    certificate: &str,
    cluster: &str,
    name: &str,
    now: Duration,
) -> Standing {
    let parsed = |pem: &str| {
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())
    };
    let judged = parsed(authority).and_then(|authority| {
        let certificate = parsed(certificate)?;
        let good = |at| verify(&authority, &certificate, cluster, name, at);
        good(now.as_secs())?;
        let (mut last_good, mut bad) = (now.as_secs(), now.as_secs() + HORIZON_SECONDS);
        while bad - last_good > 1 {
            let middle = last_good + (bad - last_good) / 2;
            match good(middle) {
                Ok(()) => last_good = middle,
                Err(_) => bad = middle,
            }
        }
        Ok(last_good)
    });
    match judged {
        Ok(until) => Standing::Good { until },
        Err(reason) => Standing::Bad(reason),
    }
}

fn verify(
    authority: &CertificateDer<'_>,
    certificate: &CertificateDer<'_>,
    cluster: &str,
    name: &str,
    at_seconds: u64,
) -> Result<(), String> {
    let say = |error: webpki::Error| error.to_string();
    let anchors = [webpki::anchor_from_trusted_cert(authority).map_err(say)?];
    let end = EndEntityCert::try_from(certificate).map_err(say)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at_seconds));
    // A verifier does not look at the authority's own dates; an operator wants to know.
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        end.verify_for_usage(algorithms, &anchors, &[], at, usage, None, None).map_err(say)?;
    }
    let expected =
        ServerName::try_from(names::certified(cluster, name)).map_err(|error| error.to_string())?;
    end.verify_is_valid_for_subject_name(&expected).map_err(say)
}
