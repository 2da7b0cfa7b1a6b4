//! Where certificates lie, and how they are written: whole or not at all, keys for their owner alone.

use super::CertError;
use super::make::Made;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The authority's files are named so; no node may be.
pub(super) const AUTHORITY: &str = "ca";
const CERTIFICATE: &str = "pem";
const KEY: &str = "key";
/// Of private keys: their owner alone.
const PRIVATE: u32 = 0o600;
/// Of certificates, which are shown to everybody who connects.
const PUBLIC: u32 = 0o644;
/// Of the directory: keys lie in it.
const DIRECTORY: u32 = 0o700;

/// A cluster's directory.
pub(super) struct Dir {
    pub(super) path: PathBuf,
    pub(super) cluster: String,
}

impl Dir {
    pub(super) fn authority(&self) -> PathBuf {
        self.certificate(AUTHORITY)
    }

    pub(super) fn authority_key(&self) -> PathBuf {
        self.key(AUTHORITY)
    }

    pub(super) fn certificate(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{CERTIFICATE}"))
    }

    fn key(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.{KEY}"))
    }

    pub(super) fn has_authority(&self) -> bool {
        self.has_node(AUTHORITY)
    }

    pub(super) fn has_node(&self, name: &str) -> bool {
        self.certificate(name).exists() || self.key(name).exists()
    }

    /// Certificate and private key of the authority, PEM each.
    pub(super) fn read_authority(&self) -> Result<(String, String), CertError> {
        let read = |path: PathBuf| {
            fs::read_to_string(&path).map_err(|error| {
                let hint = "`rookery cert authority` makes it";
                CertError(format!("{}: {error} ({hint})", path.display()))
            })
        };
        Ok((read(self.authority())?, read(self.authority_key())?))
    }

    /// Names and certificates (PEM) of the nodes, by name.
    pub(super) fn nodes(&self) -> Result<Vec<(String, String)>, CertError> {
        let failed =
            |path: &Path, error: io::Error| CertError(format!("{}: {error}", path.display()));
        let mut nodes = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|error| failed(&self.path, error))? {
            let path = entry.map_err(|error| failed(&self.path, error))?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let is_certificate = path.extension().is_some_and(|it| it == CERTIFICATE);
            if is_certificate && name != AUTHORITY {
                let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
                nodes.push((name.to_owned(), text));
            }
        }
        nodes.sort();
        Ok(nodes)
    }

    pub(super) fn write_authority(&self, made: &Made) -> Result<(), CertError> {
        self.write_node(AUTHORITY, made)
    }

    /// The key first: a certificate without key would look finished.
    pub(super) fn write_node(&self, name: &str, made: &Made) -> Result<(), CertError> {
        let builder = &mut DirBuilder::new();
        let created = builder.recursive(true).mode(DIRECTORY).create(&self.path);
        created.map_err(|error| CertError(format!("{}: {error}", self.path.display())))?;
        for (path, text, mode) in [
            (self.key(name), &made.key, PRIVATE),
            (self.certificate(name), &made.certificate, PUBLIC),
        ] {
            write(&path, text, mode)
                .map_err(|error| CertError(format!("{}: {error}", path.display())))?;
        }
        Ok(())
    }
}

/// Whole or not at all, and never readable by more than it will be.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
