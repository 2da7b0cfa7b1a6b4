//! Who may ask: a file of operators' names and the hashes of their tokens.
//!
//! ```text
//! name sha-256-of-the-token-in-hex     one a line; # begins a comment
//! ```
//!
//! `rookery admin token NAME` draws a token, shows it once and adds its line. The node looks at the
//! file with each request and reads it again when it changed, so a token that was added or removed
//! counts at once. A stolen file opens nothing; whoever can write it decides who may ask.
//!
//! Safety: tokens have 32 random bytes, so one round of SHA-256 leaves nothing to guess. Every line
//! is compared, each in constant time. A file that can't be read, or that has a line which is none,
//! lets nobody in: half a file must not be taken for a shorter one.

use crate::identity::hex;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Most bytes of the file.
const MAX_BYTES: u64 = 256 * 1024;
/// Most bytes of an operator's name.
const MAX_NAME_BYTES: usize = 63;

/// Why the file can't be used or changed.
#[derive(Debug)]
pub enum CredentialsError {
    /// It can't be read or written.
    File(PathBuf, io::Error),
    /// A line is no line.
    Line(PathBuf, usize),
    /// Not a name for an operator.
    BadName,
    /// There is a token of this name.
    Taken,
    /// There is no token of this name.
    Unknown,
    /// The system has no random numbers.
    Random,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{} can't be used: {error}", path.display()),
            Self::Line(path, line) => {
                write!(f, "{}: line {line} is not a name and a hash", path.display())
            }
            Self::BadName => f.write_str("a name is 1 to 63 of a-z, 0-9, - and _"),
            Self::Taken => f.write_str("there is a token of this name; remove it first"),
            Self::Unknown => f.write_str("there is no token of this name"),
            Self::Random => f.write_str("the system has no random numbers"),
        }
    }
}

impl std::error::Error for CredentialsError {}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    hash: [u8; 32],
}

/// The file, and what it said when it was last looked at.
#[derive(Debug)]
pub struct Credentials {
    path: PathBuf,
    held: Mutex<Held>,
}

/// When the file changed, how long it was, and which file it was: clocks of file systems are coarse.
type Stamp = Option<(SystemTime, u64, u64)>;

#[derive(Debug, Default)]
struct Held {
    stamp: Stamp,
    lines: Arc<[Line]>,
}

impl Credentials {
    /// Those of a file, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, held: Mutex::default() }
    }

    /// The operator whose token this is.
    pub(super) fn operator(&self, token: &str) -> Option<String> {
        let hash = hash(token);
        let mut found = None;
        for line in self.lines().iter() {
            if verify_slices_are_equal(&line.hash, &hash).is_ok() {
                found = Some(line.name.clone());
            }
        }
        found
    }

    fn lines(&self) -> Arc<[Line]> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != held.stamp || stamp.is_none() {
            let lines = read(&self.path).unwrap_or_else(|error| {
                tracing::error!(%error, "operators' tokens can't be read: nobody is let in");
                Vec::new()
            });
            *held = Held { stamp, lines: lines.into() };
        }
        Arc::clone(&held.lines)
    }

    /// Draws a token for an operator and adds it to the file; the token, which is shown once.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn add(&self, name: &str) -> Result<String, CredentialsError> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(good) {
            return Err(CredentialsError::BadName);
        }
        let mut lines = read(&self.path)?;
        if lines.iter().any(|line| line.name == name) {
            return Err(CredentialsError::Taken);
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| CredentialsError::Random)?;
        let token = hex::encode(&bytes);
        lines.push(Line { name: name.to_owned(), hash: hash(&token) });
        write(&self.path, &lines)?;
        Ok(token)
    }

    /// Takes an operator's token out of the file.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn remove(&self, name: &str) -> Result<(), CredentialsError> {
        let mut lines = read(&self.path)?;
        let before = lines.len();
        lines.retain(|line| line.name != name);
        if lines.len() == before {
            return Err(CredentialsError::Unknown);
        }
        write(&self.path, &lines)
    }

    /// The names that have a token.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn names(&self) -> Result<Vec<String>, CredentialsError> {
        Ok(read(&self.path)?.into_iter().map(|line| line.name).collect())
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn stamp(path: &Path) -> Stamp {
    let metadata = path.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// A file that is not there has no lines.
fn read(path: &Path) -> Result<Vec<Line>, CredentialsError> {
    let failed = |error| CredentialsError::File(path.to_owned(), error);
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    if text.len() as u64 > MAX_BYTES {
        return Err(failed(io::Error::other("it is too long")));
    }
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let said = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let parsed = said
        .map(|(at, line)| parse(line).ok_or_else(|| CredentialsError::Line(path.to_owned(), at)));
    parsed.collect()
}

fn parse(line: &str) -> Option<Line> {
    let (name, hash) = line.split_once(' ')?;
    Some(Line { name: name.to_owned(), hash: hex::decode(hash.trim())? })
}

/// Writes a new file and puts it in the place of the old one, so that a node never reads half of it.
fn write(path: &Path, lines: &[Line]) -> Result<(), CredentialsError> {
    let failed = |error| CredentialsError::File(path.to_owned(), error);
    let mut text = String::from("# Operators of this node: name, SHA-256 of the token.\n");
    for Line { name, hash } in lines {
        text.push_str(&format!("{name} {}\n", hex::encode(hash)));
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_counts_from_when_it_is_added_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made/on/demand/tokens");
        let node = Credentials::new(path.clone());
        assert_eq!(node.operator(""), None);
        let tool = Credentials::new(path.clone());
        let (ops, backup) = (tool.add("ops").unwrap(), tool.add("backup-2").unwrap());
        assert_eq!(node.operator(&ops).as_deref(), Some("ops"));
        assert_eq!(node.operator(&backup).as_deref(), Some("backup-2"));
        assert_eq!(tool.names().unwrap(), ["ops", "backup-2"]);
        for wrong in ["", "ops", &ops[1..], &ops.to_uppercase(), &format!("{ops} ")] {
            assert_eq!(node.operator(wrong), None, "{wrong}");
        }
        assert!(matches!(tool.add("ops"), Err(CredentialsError::Taken)));
        tool.remove("ops").unwrap();
        assert_eq!(node.operator(&ops), None);
        assert_eq!(node.operator(&backup).as_deref(), Some("backup-2"));
        assert!(matches!(tool.remove("ops"), Err(CredentialsError::Unknown)));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&backup), "the token is in the file");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for name in ["", "Ops", "a b", "a\nb", &"x".repeat(64)] {
            assert!(matches!(tool.add(name), Err(CredentialsError::BadName)), "{name:?}");
        }
    }

    #[test]
    fn a_file_with_a_line_that_is_none_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let tool = Credentials::new(path.clone());
        let token = tool.add("ops").unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in ["half", "x y", "ops 00ff"] {
            std::fs::write(&path, format!("{good}{bad}\n")).unwrap();
            let node = Credentials::new(path.clone());
            assert_eq!(node.operator(&token), None, "{bad}");
            assert!(matches!(tool.add("more"), Err(CredentialsError::Line(_, 3))), "{bad}");
        }
        std::fs::write(&path, format!("\n  # {good}")).unwrap();
        assert!(Credentials::new(path).operator(&token).is_some());
    }
}
