//! `rookery restore FILE`: a backup into an empty store.

use super::{Failure, Progress, Which, say};
use clap::Args;
use rookery_store::backup::{self, Reader, RestoreOptions};
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `restore` takes. All nodes must be stopped.
#[derive(Debug, Args)]
pub struct Restore {
    /// A file that `backup` made.
    file: PathBuf,
    #[command(flatten)]
    which: Which,
    /// Remove what the store holds first.
    #[arg(long)]
    force: bool,
    /// Keep devices logged in. A log-in that ended after the backup was made is good again then.
    #[arg(long)]
    keep_log_ins: bool,
}

impl Restore {
    pub(super) async fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let open = || File::open(&self.file).map(|file| BufReader::with_capacity(256 << 10, file));
        let place = self.which.place()?;
        let unreadable =
            |error| Failure::new(format!("can't read {}: {error}", self.file.display()));
        // No store is created for a file that is something else.
        Reader::new(open().map_err(unreadable)?).map_err(Failure::new)?;
        let store = place.open_or_create().map_err(Failure::new)?;
        let options = RestoreOptions { force: self.force, keep_log_ins: self.keep_log_ins };
        let mut progress = Progress::new();
        let totals = backup::restore(&store, open, options, |rows| {
            progress.tell(|| format!("{rows} rows restored"));
        })
        .await
        .map_err(Failure::new)?;
        say(out, format_args!("{place}: {} rows restored and verified", totals.total()));
        Ok(ExitCode::SUCCESS)
    }
}
