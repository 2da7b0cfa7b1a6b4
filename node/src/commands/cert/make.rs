//! Makes keys and certificates. Nothing is read here but the authority's private key.

use super::CertError;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rookery_actors::link::names;
use std::time::Duration;

/// Clocks of nodes may be behind the operator's by this much.
const BACKDATED: Duration = Duration::from_secs(60 * 60);

/// A certificate and its private key, PEM each.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What the authority of a cluster says of itself. The same for the same cluster, so that a node's
/// certificate can be signed without parsing the authority's.
fn authority_params(cluster: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("Rookery cluster {cluster}"));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(format!("{cluster}.rookery"))],
        excluded_subtrees: Vec::new(),
    });
    params
}

/// The authority of a cluster. Times are since the Unix epoch.
pub(super) fn authority(cluster: &str, now: Duration, until: Duration) -> Result<Made, CertError> {
    let key = KeyPair::generate().map_err(CertError::new)?;
    let mut params = authority_params(cluster);
    set_validity(&mut params, now, until);
    let certificate = params.self_signed(&key).map_err(CertError::new)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A node's certificate, signed with the authority's private key (PEM).
pub(super) fn node(
    cluster: &str,
    name: &str,
    authority_key: &str,
    now: Duration,
    until: Duration,
) -> Result<Made, CertError> {
    let authority_key = KeyPair::from_pem(authority_key).map_err(CertError::new)?;
    let issuer = Issuer::new(authority_params(cluster), authority_key);
    let key = KeyPair::generate().map_err(CertError::new)?;
    let mut params =
        CertificateParams::new(vec![names::certified(cluster, name)]).map_err(CertError::new)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("Rookery node {name}"));
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Nodes dial and accept with the same certificate.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, until);
    let certificate = params.signed_by(&key, &issuer).map_err(CertError::new)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn set_validity(params: &mut CertificateParams, now: Duration, until: Duration) {
    let epoch = date_time_ymd(1970, 1, 1);
    let whole = |time: Duration| Duration::from_secs(time.as_secs());
    params.not_before = epoch + whole(now.saturating_sub(BACKDATED));
    params.not_after = epoch + whole(until);
}

/// The day of a moment in seconds since the Unix epoch, as `2030-01-31`.
pub(super) fn date(seconds: u64) -> String {
    (date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)).date().to_string()
}
