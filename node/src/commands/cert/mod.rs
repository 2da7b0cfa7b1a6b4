//! `rookery cert`: the authority of a cluster and the certificates of its nodes.
//!
//! ```text
//! DIR/ca.pem     the authority's certificate: a copy on every node
//! DIR/ca.key     its private key: on the operator's machine alone
//! DIR/NODE.pem   a node's certificate: on that node
//! DIR/NODE.key   its private key: on that node
//! ```
//!
//! An authority belongs to one cluster: name constraints in its certificate keep it from speaking
//! for another. Private keys are readable by their owner only. A running node reads renewed files at
//! its next handshake; nothing is revoked before it expires, so node certificates are short-lived.

mod check;
mod files;
mod make;

use check::Standing;
use clap::{Args, Subcommand};
use files::Dir;
use rookery_actors::link::names;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest validity in days: a hundred years, so that dates stay dates.
const MAX_DAYS: u32 = 36_500;

/// What `rookery cert` takes.
#[derive(Clone, Debug, Args)]
pub struct Cert {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, Subcommand)]
enum Action {
    /// Makes the authority of a new cluster.
    Authority {
        #[command(flatten)]
        place: Place,
        /// Days until it expires, and with it all that it signed.
        #[arg(long, default_value_t = 3_650, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
        days: u32,
    },
    /// Makes the certificate of a new node.
    Node {
        #[command(flatten)]
        place: Place,
        /// The node's name (`node.name` in its configuration).
        #[arg(long)]
        name: String,
        #[command(flatten)]
        validity: Validity,
    },
    /// Replaces a node's certificate and key by new ones, or those of all nodes that expire soon.
    Renew {
        #[command(flatten)]
        place: Place,
        /// One node; without it, all whose certificates expire within the time given.
        #[arg(long)]
        name: Option<String>,
        /// Days within which a certificate must expire to be renewed.
        #[arg(long, default_value_t = 30)]
        within: u32,
        #[command(flatten)]
        validity: Validity,
    },
    /// Lists the certificates and when they expire.
    List {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Clone, Debug, Args)]
struct Place {
    /// The cluster's name.
    #[arg(long)]
    cluster: String,
    /// Directory of the certificates.
    #[arg(long, default_value = "rookery-certs")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, Args)]
struct Validity {
    /// Days until the certificate expires.
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    days: u32,
}

/// Why nothing was made.
#[derive(Debug)]
pub struct CertError(String);

impl CertError {
    fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CertError {}

impl Cert {
    /// Does it; what to tell the operator.
    ///
    /// # Errors
    /// [`CertError`]; files that existed are as they were.
    pub fn run(self) -> Result<String, CertError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.run_at(now)
    }

    fn run_at(self, now: Duration) -> Result<String, CertError> {
        match self.action {
            Action::Authority { place, days } => make_authority(&place.open()?, now, days),
            Action::Node { place, name, validity } => {
                let dir = place.open()?;
                if dir.has_node(&name) {
                    let hint = format!("{name} has a certificate already; `rookery cert renew`");
                    return Err(CertError(format!("{hint} replaces it")));
                }
                make_node(&dir, &name, now, validity)
            }
            Action::Renew { place, name: Some(name), validity, .. } => {
                let dir = place.open()?;
                if !dir.has_node(&name) {
                    return Err(CertError(format!("{name} has no certificate to renew")));
                }
                make_node(&dir, &name, now, validity)
            }
            Action::Renew { place, name: None, within, validity } => {
                renew_due(&place.open()?, now, within, validity)
            }
            Action::List { place } => list(&place.open()?, now),
        }
    }
}

impl Place {
    fn open(self) -> Result<Dir, CertError> {
        check_name(&self.cluster)?;
        Ok(Dir { path: self.dir, cluster: self.cluster })
    }
}

fn check_name(name: &str) -> Result<(), CertError> {
    if names::is_valid(name) {
        return Ok(());
    }
    let rule = "lower-case letters, digits and hyphens, at most 63 of them";
    Err(CertError(format!("{name:?} is no name for a node or a cluster: {rule}")))
}

fn make_authority(dir: &Dir, now: Duration, days: u32) -> Result<String, CertError> {
    if dir.has_authority() {
        let hint = "an authority is there already; a new one would part the nodes from each other";
        return Err(CertError(format!("{}: {hint}", dir.path.display())));
    }
    let made = make::authority(&dir.cluster, now, now + DAY * days)?;
    dir.write_authority(&made)?;
    Ok(format!(
        "{}: the authority of cluster {}, good for {days} days\nKeep {} off the nodes.\n",
        dir.authority().display(),
        dir.cluster,
        dir.authority_key().display(),
    ))
}

fn make_node(
    dir: &Dir,
    name: &str,
    now: Duration,
    validity: Validity,
) -> Result<String, CertError> {
    check_name(name)?;
    if name == files::AUTHORITY {
        return Err(CertError(format!("{name:?} is the name of the authority's files")));
    }
    let (authority, key) = dir.read_authority()?;
    let until = now + DAY * validity.days;
    let made = make::node(&dir.cluster, name, &key, now, until)?;
    // What peers will say of it; also finds an authority that is another cluster's, or expired.
    match check::standing(&authority, &made.certificate, &dir.cluster, name, now) {
        Standing::Good { until: end } if end + 1 >= until.as_secs() => {}
        Standing::Good { .. } => {
            let hint = "the authority expires before that; choose fewer --days";
            return Err(CertError(format!("{} days: {hint}", validity.days)));
        }
        Standing::Bad(reason) => {
            let place = dir.authority();
            let what = format!("{} is no good for cluster {}", place.display(), dir.cluster);
            return Err(CertError(format!("{what}: {reason}")));
        }
    }
    dir.write_node(name, &made)?;
    Ok(format!(
        "{}: node {name} of cluster {}, good for {} days\n",
        dir.certificate(name).display(),
        dir.cluster,
        validity.days
    ))
}

fn renew_due(
    dir: &Dir,
    now: Duration,
    within: u32,
    validity: Validity,
) -> Result<String, CertError> {
    let (authority, _) = dir.read_authority()?;
    let soon = (now + DAY * within).as_secs();
    let mut told = String::new();
    for (name, certificate) in dir.nodes()? {
        let standing = check::standing(&authority, &certificate, &dir.cluster, &name, now);
        if !matches!(standing, Standing::Good { until } if until > soon) {
            told.push_str(&make_node(dir, &name, now, validity)?);
        }
    }
    if told.is_empty() {
        told = format!("no certificate expires within {within} days\n");
    }
    Ok(told)
}

fn list(dir: &Dir, now: Duration) -> Result<String, CertError> {
    let (authority, _) = dir.read_authority()?;
    let mut told = String::new();
    for (name, certificate) in dir.nodes()? {
        let line = match check::standing(&authority, &certificate, &dir.cluster, &name, now) {
            Standing::Good { until } => format!("{name}: good until {}\n", make::date(until)),
            Standing::Bad(reason) => format!("{name}: no good: {reason}\n"),
        };
        told.push_str(&line);
    }
    if told.is_empty() {
        told = format!("{}: no certificates of nodes\n", dir.path.display());
    }
    Ok(told)
}

#[cfg(test)]
mod tests;
