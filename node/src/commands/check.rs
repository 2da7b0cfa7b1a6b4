//! `rookery store check`: holds every row of a store to the schema.

use super::{FOUND, Failure, Progress, Which, say};
use clap::Args;
use rookery_store::check::{MAX_FINDINGS, Report, check};
use rookery_store::schema;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::process::ExitCode;

/// What `store check` takes.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    which: Which,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) async fn run(self, out: &mut dyn Write) -> Result<ExitCode, Failure> {
        let store = self.which.place()?.open().map_err(Failure::new)?;
        let mut progress = Progress::new();
        let report = check(&store, |report| {
            progress.tell(|| format!("{} rows checked, {} faults", report.total(), report.faults));
        })
        .await
        .map_err(|error| Failure::new(format!("the store can't be checked: {error}")))?;
        if self.json {
            say(out, as_json(&report))
        } else {
            table(&report, out)
        }
        Ok(if report.is_clean() { ExitCode::SUCCESS } else { FOUND.into() })
    }
}

fn table(report: &Report, out: &mut dyn Write) {
    for (tag, rows) in &report.rows {
        let (tag, name) = (*tag, schema::name_of(*tag));
        say(out, format_args!("{rows:>12}  {}  {name}", char::from(tag)));
    }
    say(out, format_args!("{:>12}  rows, {} faults", report.total(), report.faults));
    for finding in &report.findings {
        say(out, format_args!("{}  {}: {}", finding.key, finding.row, finding.what));
    }
    if report.faults > report.findings.len() as u64 {
        say(out, format_args!("only the first {MAX_FINDINGS} are listed"));
    }
}

fn as_json(report: &Report) -> Value {
    let rows: Map<String, Value> =
        report.rows.iter().map(|(tag, rows)| (schema::name_of(*tag), Value::from(*rows))).collect();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| json!({ "key": finding.key, "row": finding.row, "what": finding.what }))
        .collect();
    json!({
        "clean": report.is_clean(),
        "total": report.total(),
        "rows": rows,
        "faults": report.faults,
        "findings": findings,
    })
}
