//! The report: JSON with exactly the documented fields, and a table for people.

use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// A latency distribution, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// All.
    pub max: f64,
}

/// What is known of the server; nothing of one that this run did not start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Server {
    /// Resident memory at the end of the measured part.
    pub rss_bytes: Option<u64>,
    /// Growth of the resident memory for each session held (`idle` only).
    pub rss_per_session_bytes: Option<u64>,
    /// Processor time in the measured part (warm-up included).
    pub cpu_s: Option<f64>,
}

/// What is known of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Client {
    /// Processor time in the measured part (warm-up included).
    pub cpu_s: Option<f64>,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What order and content were drawn from.
    pub seed: u64,
    /// Nodes of the server.
    pub nodes: u32,
    /// Its store engine, where it is known.
    pub store: Option<String>,
    /// Length of the measured part.
    pub duration_s: f64,
    /// Sessions held.
    pub sessions: usize,
    /// Messages due in the measured part that were acknowledged.
    pub acknowledged: u64,
    /// Deliveries of such messages to devices other than the sending one.
    pub delivered: u64,
    /// See the oracle; of the whole run.
    pub lost: u64,
    /// See the oracle.
    pub duplicated: u64,
    /// See the oracle.
    pub reordered: u64,
    /// See the oracle.
    pub gaps: u64,
    /// Sends and requests that failed for good, sessions that ended, answers that never came.
    pub errors: u64,
    /// Acknowledged, a second.
    pub acknowledged_per_s: f64,
    /// Delivered, a second.
    pub deliveries_per_s: f64,
    /// Sessions made, a second: TCP, upgrade, hello, sync.
    pub connects_per_s: f64,
    /// Sessions resumed after their connections were lost, a second (storms only).
    pub resumes_per_s: Option<f64>,
    /// From when a message was due to its acknowledgement.
    pub send_ack_ms: Percentiles,
    /// From when a message was due to each delivery.
    pub deliver_ms: Percentiles,
    /// The server.
    pub server: Server,
    /// This process.
    pub client: Client,
}

/// What the table says beside the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Connections that were lost and made again.
    pub reconnects: u64,
    /// Of them, those that resumed their session.
    pub resumes: u64,
    /// Sends that went out again.
    pub retries: u64,
    /// Sends that the server refused for a while.
    pub refusals: u64,
    /// Gaps in the live stream that the client library filled from history.
    pub filled: u64,
    /// Entries that came again and were dropped by the client library.
    pub repeats: u64,
    /// Findings of the oracle and errors, in words.
    pub findings: Vec<String>,
    /// Where the history was kept, if it was.
    pub history: Option<PathBuf>,
}

impl Report {
    /// Whether the run found no fault.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.gaps + self.errors == 0
            && self.acknowledged > 0
    }

    /// The table.
    #[must_use]
    pub fn table(&self, remarks: &Remarks) -> String {
        let mut t = String::new();
        let unknown = || "unknown".to_owned();
        let store = self.store.clone().unwrap_or_else(unknown);
        let mut row = |name: &str, value: String| {
            // Writing into a String can't fail.
            writeln!(t, "{name:<22}{value}").ok();
        };
        row("scenario", format!("{} (seed {})", self.scenario, self.seed));
        row("server", format!("{} node(s), store {store}", self.nodes));
        row("sessions", format!("{} ({:.0} connects/s)", self.sessions, self.connects_per_s));
        if let Some(resumes) = self.resumes_per_s {
            row("  in storms", format!("{resumes:.0} resumes/s"));
        }
        row("measured", format!("{:.2} s", self.duration_s));
        row("acknowledged", format!("{} ({:.0}/s)", self.acknowledged, self.acknowledged_per_s));
        row("delivered", format!("{} ({:.0}/s)", self.delivered, self.deliveries_per_s));
        for (name, p) in
            [("send to ack, ms", self.send_ack_ms), ("send to delivery", self.deliver_ms)]
        {
            row(
                name,
                format!(
                    "p50 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}",
                    p.p50, p.p99, p.p999, p.max
                ),
            );
        }
        let mib = |bytes: Option<u64>| {
            bytes.map_or_else(unknown, |b| format!("{:.1} MiB", b as f64 / 1_048_576.0))
        };
        let cpu = |s: Option<f64>| s.map_or_else(unknown, |s| format!("{s:.2} s"));
        row("server memory", mib(self.server.rss_bytes));
        if let Some(bytes) = self.server.rss_per_session_bytes {
            row("  a session", format!("{bytes} bytes"));
        }
        row(
            "processor time",
            format!("server {}, client {}", cpu(self.server.cpu_s), cpu(self.client.cpu_s)),
        );
        row(
            "client library",
            format!(
                "{} reconnects ({} resumed), {} retries, {} refusals, {} gaps filled, {} repeats",
                remarks.reconnects,
                remarks.resumes,
                remarks.retries,
                remarks.refusals,
                remarks.filled,
                remarks.repeats
            ),
        );
        row(
            "oracle",
            format!(
                "lost {}  duplicated {}  reordered {}  gaps {}  errors {}",
                self.lost, self.duplicated, self.reordered, self.gaps, self.errors
            ),
        );
        remarks.findings.iter().for_each(|f| row("  found", f.clone()));
        if let Some(history) = &remarks.history {
            row("history", history.display().to_string());
        }
        row("verdict", if self.clean() { "clean" } else { "NOT CLEAN" }.to_owned());
        t
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_exactly_the_documented_fields_in_their_order() {
        let json = serde_json::to_string(&Report::default()).unwrap();
        let names: Vec<&str> =
            json.split('"').skip(1).step_by(2).filter(|name| !name.is_empty()).collect();
        let expected = "scenario seed nodes store duration_s sessions acknowledged delivered lost \
            duplicated reordered gaps errors acknowledged_per_s deliveries_per_s connects_per_s \
            resumes_per_s send_ack_ms p50 p99 p999 max deliver_ms p50 p99 p999 max server rss_bytes \
            rss_per_session_bytes cpu_s client cpu_s";
        assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_run_is_clean_only_without_any_fault_and_with_acknowledgements() {
        let good = Report { acknowledged: 1, ..Report::default() };
        assert!(good.clean());
        assert!(!Report::default().clean());
        for bad in [
            Report { lost: 1, ..good.clone() },
            Report { duplicated: 1, ..good.clone() },
            Report { reordered: 1, ..good.clone() },
            Report { gaps: 1, ..good.clone() },
            Report { errors: 1, ..good },
        ] {
            assert!(!bad.clean());
        }
    }
}
