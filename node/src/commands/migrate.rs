//! `rookery migrate --from PLACE --to PLACE`: a whole store into another engine.

use super::{Failure, Progress, say};
use crate::place::Place;
use clap::Args;
use rookery_store::migrate::{Step, migrate};
use std::io::Write;
use std::process::ExitCode;

/// What `migrate` takes. All nodes must be stopped.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Where the store is: embedded:DIR, shared:SOCKET or fdb:CLUSTERFILE. It is left as it was.
    #[arg(long, value_name = "PLACE")]
    from: Place,
    /// Where it goes; empty, or an unfinished migration from the same store.
    #[arg(long, value_name = "PLACE")]
    to: Place,
    /// Forget what an unfinished migration copied, and start over.
    #[arg(long)]
    restart: bool,
}

impl Migrate {
    pub(super) async fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let Self { from, to, restart } = self;
        if from == to {
            return Err(Failure::new("source and target are the same store"));
        }
        let source = from.open().map_err(|error| Failure::new(format!("the source: {error}")))?;
        let target =
            to.open_or_create().map_err(|error| Failure::new(format!("the target: {error}")))?;
        let mut progress = Progress::new();
        let totals = migrate(&source, &target, restart, |step| match step {
            Step::Resuming(rows) => {
                say(&mut std::io::stderr(), format_args!("going on after {rows} rows"));
            }
            Step::Copying(rows) => progress.tell(|| format!("{rows} rows copied")),
            Step::CountingSource(rows) => progress.tell(|| format!("verifying: source {rows}")),
            Step::CountingTarget(rows) => progress.tell(|| format!("verifying: target {rows}")),
        })
        .await
        .map_err(Failure::new)?;
        say(
            out,
            format_args!(
                "{from} -> {to}: {} rows, equal on both sides (checksum {:032x})",
                totals.total(),
                totals.digest
            ),
        );
        Ok(ExitCode::SUCCESS)
    }
}
