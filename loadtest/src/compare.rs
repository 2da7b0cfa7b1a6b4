//! Compares two reports: whether the second run was worse than the first, beyond a tolerance.
//!
//! Figures of one machine are compared with figures of the same machine, best medians of several runs
//! each: several files a side are taken as such. What only one side has is told and not judged.

use serde_json::Value;
use std::fmt::Write;

/// Whether more of a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

/// What is compared: where it stands in a report, and which way is better.
const FIGURES: [(&str, Better); 12] = [
    ("/acknowledged_per_s", Better::More),
    ("/deliveries_per_s", Better::More),
    ("/connects_per_s", Better::More),
    ("/resumes_per_s", Better::More),
    ("/send_ack_ms/p50", Better::Less),
    ("/send_ack_ms/p99", Better::Less),
    ("/deliver_ms/p50", Better::Less),
    ("/deliver_ms/p99", Better::Less),
    ("/server/rss_per_session_bytes", Better::Less),
    ("/server/rss_bytes", Better::Less),
    (SERVER_CPU, Better::Less),
    (CLIENT_CPU, Better::Less),
];

/// Made of two figures of a report: processor time by itself says nothing when more was done.
const SERVER_CPU: &str = "server us a message";
const CLIENT_CPU: &str = "client us a message";

/// The outcome of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The table, for people.
    pub table: String,
    /// Figures that are worse beyond the tolerance.
    pub worse: usize,
    /// Figures that both sides have.
    pub compared: usize,
}

/// Compares the medians of `after` with those of `before`; `tolerance` is a share (0.1: a figure may
/// be 10 % worse).
///
/// # Errors
/// In words: reports of different scenarios, or nothing to compare.
pub fn compare(before: &[Value], after: &[Value], tolerance: f64) -> Result<Comparison, String> {
    let scenarios = |reports: &[Value]| -> Vec<String> {
        let name = |report: &Value| report.get("scenario").and_then(Value::as_str).map(Into::into);
        let mut names: Vec<String> = reports.iter().filter_map(name).collect();
        names.dedup();
        names
    };
    let (of_before, of_after) = (scenarios(before), scenarios(after));
    if of_before != of_after || of_before.len() != 1 {
        return Err(format!("not one scenario: {of_before:?} against {of_after:?}"));
    }
    let mut comparison = Comparison { table: String::new(), worse: 0, compared: 0 };
    for (name, better) in FIGURES {
        let row = match (median(before, name), median(after, name)) {
            (Some(a), Some(b)) if a > 0.0 && b > 0.0 => {
                let ratio = b / a;
                let worse = match better {
                    Better::More => ratio < 1.0 - tolerance,
                    Better::Less => ratio > 1.0 + tolerance,
                };
                comparison.compared += 1;
                comparison.worse += usize::from(worse);
                let verdict = if worse { "  WORSE" } else { "" };
                format!("{a:>14.2} {b:>14.2}   x {ratio:.3}{verdict}")
            }
            (None, None) => continue,
            _ => "          (only one side has it)".to_owned(),
        };
        let name = name.trim_start_matches('/').replace('/', ".");
        // Writing into a String can't fail.
        writeln!(comparison.table, "{name:<30}{row}").ok();
    }
    if comparison.compared == 0 {
        return Err("no figure is in both".to_owned());
    }
    Ok(comparison)
}

/// The median of a figure over the reports that have it; of an even number the lower one.
fn median(reports: &[Value], name: &str) -> Option<f64> {
    let mut figures: Vec<f64> = reports.iter().filter_map(|report| figure(report, name)).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().checked_sub(1)? / 2).copied()
}

fn figure(report: &Value, name: &str) -> Option<f64> {
    let read = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
    let a_message = |cpu: &str| {
        let messages = read("/acknowledged").filter(|count| *count > 0.0)?;
        Some(read(cpu)? * 1e6 / messages)
    };
    match name {
        SERVER_CPU => a_message("/server/cpu_s"),
        CLIENT_CPU => a_message("/client/cpu_s"),
        _ => read(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Percentiles, Report, Server};

    fn report(per_s: f64, p99: f64) -> Value {
        let percentiles = Percentiles { p50: 1.0, p99, ..Percentiles::default() };
        let report = Report {
            scenario: "saturate".to_owned(),
            acknowledged: 1_000_000,
            acknowledged_per_s: per_s,
            send_ack_ms: percentiles,
            server: Server { cpu_s: Some(20.0), ..Server::default() },
            ..Report::default()
        };
        serde_json::to_value(report).unwrap()
    }

    #[test]
    fn a_figure_is_worse_only_in_its_own_direction_and_beyond_the_tolerance() {
        let judge =
            |per_s, p99| compare(&[report(100.0, 10.0)], &[report(per_s, p99)], 0.1).unwrap().worse;
        assert_eq!(judge(91.0, 10.9), 0);
        assert_eq!(judge(300.0, 1.0), 0, "better is never worse");
        assert_eq!(judge(89.0, 10.0), 1);
        assert_eq!(judge(89.0, 11.1), 2);
    }

    #[test]
    fn medians_are_compared_so_that_one_bad_run_does_not_count() {
        let before = [report(100.0, 10.0), report(101.0, 10.0), report(102.0, 10.0)];
        let after = [report(5.0, 900.0), report(100.0, 10.0), report(103.0, 10.0)];
        let comparison = compare(&before, &after, 0.05).unwrap();
        assert_eq!(comparison.worse, 0, "{}", comparison.table);
    }

    #[test]
    fn processor_time_counts_a_message() {
        let comparison = compare(&[report(1.0, 1.0)], &[report(1.0, 1.0)], 0.0).unwrap();
        assert!(comparison.table.contains("server us a message"), "{}", comparison.table);
        assert!(comparison.table.contains("20.00"), "{}", comparison.table);
    }

    #[test]
    fn reports_of_different_scenarios_are_not_compared() {
        let mut other = report(1.0, 1.0);
        other["scenario"] = "pairs".into();
        assert!(compare(&[report(1.0, 1.0)], &[other], 0.1).is_err());
        assert!(compare(&[], &[], 0.1).is_err());
    }
}
