//! `rookery backup FILE`: the rows of a store at one moment, in one file.
//!
//! From a running node through its control socket, else from the store itself. The file appears
//! under its name only when it is whole, checked and on the disk.

use super::{Failure, Progress, Which, say};
use crate::control;
use crate::now_ms;
use crate::place::Place;
use clap::Args;
use rookery_store::Totals;
use rookery_store::backup::{self, Header};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `backup` takes.
#[derive(Debug, Args)]
pub struct Backup {
    /// The file to make; it must not exist.
    file: PathBuf,
    #[command(flatten)]
    which: Which,
}

impl Backup {
    pub(super) async fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let place = self.which.place()?;
        if self.file.exists() {
            let what = format!("{} exists; choose another name", self.file.display());
            return Err(Failure::new(what));
        }
        let partial = Partial::create(&self.file)?;
        fill(&place, &partial).await?;
        let (header, totals, bytes) = partial.finish(&self.file)?;
        say(
            out,
            format_args!(
                "{}: {} rows, {bytes} bytes, version {}",
                self.file.display(),
                totals.total(),
                header.version
            ),
        );
        Ok(ExitCode::SUCCESS)
    }
}

async fn fill(place: &Place, partial: &Partial) -> Result<(), Failure> {
    let mut progress = Progress::new();
    let asked = place.control_dir().map_or(Ok(None), control::ask_for_backup);
    let asked = asked.map_err(|error| {
        Failure::new(format!(
            "a node has the store open and its control socket refuses: {error}; run this as the \
             user of the node"
        ))
    })?;
    match asked {
        Some(mut node) => {
            let mut file = &partial.file;
            let mut buffer = vec![0; 256 << 10];
            let mut bytes: u64 = 0;
            let failed = |error: io::Error| Failure::new(format!("the backup failed: {error}"));
            loop {
                let read = node.read(&mut buffer).map_err(failed)?;
                if read == 0 {
                    return Ok(());
                }
                file.write_all(buffer.get(..read).unwrap_or_default()).map_err(failed)?;
                bytes += read as u64;
                progress.tell(|| format!("{bytes} bytes received"));
            }
        }
        None => {
            let store = place.open().map_err(Failure::new)?;
            let file = BufWriter::with_capacity(256 << 10, &partial.file);
            backup::write(&store, file, now_ms(), |rows| {
                progress.tell(|| format!("{rows} rows written"));
            })
            .await
            .map(drop)
            .map_err(Failure::new)
        }
    }
}

/// The file under its temporary name; gone unless it is finished.
struct Partial {
    path: PathBuf,
    file: File,
    done: bool,
}

impl Partial {
    fn create(wanted: &Path) -> Result<Self, Failure> {
        let mut path = wanted.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        // Everything that people wrote is in it: for this user alone.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options
            .open(&path)
            .map_err(|error| Failure::new(format!("can't write {}: {error}", path.display())))?;
        Ok(Self { path, file, done: false })
    }

    /// Checks what was written, makes it durable and gives it its name.
    fn finish(mut self, wanted: &Path) -> Result<(Header, Totals, u64), Failure> {
        let failed =
            |error: io::Error| Failure::new(format!("can't write {}: {error}", wanted.display()));
        self.file.sync_all().map_err(failed)?;
        let written = File::open(&self.path).map_err(failed)?;
        let bytes = written.metadata().map_err(failed)?.len();
        let (header, totals) = backup::verify(BufReader::new(written)).map_err(Failure::new)?;
        std::fs::rename(&self.path, wanted).map_err(failed)?;
        self.done = true;
        let parent = std::path::absolute(wanted).map_err(failed)?;
        let parent = parent.parent().unwrap_or(Path::new("/"));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok((header, totals, bytes))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, file = %self.path.display(), "can't be removed");
        }
    }
}
