//! What a chaos run found: for each step its figures against what is demanded, and the run's own
//! report; as JSON and as a table.

use super::schedule::{Fault, Step};
use crate::report::{Remarks, Report};
use serde::Serialize;
use std::fmt::Write;

/// One measured figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// The value.
    pub measured: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it may be at most; none: it is only told.
    pub at_most: Option<f64>,
}

impl Figure {
    /// Whether it is as demanded.
    #[must_use]
    pub fn met(&self) -> bool {
        self.at_most.is_none_or(|most| self.measured <= most)
    }
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// What was done.
    pub step: Step,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What was wrong, figures aside.
    pub violations: Vec<String>,
}

impl Outcome {
    /// Nothing was wrong.
    #[must_use]
    pub fn good(&self) -> bool {
        self.violations.is_empty() && self.figures.iter().all(Figure::met)
    }
}

/// A fault that can't be done on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Which.
    pub fault: Fault,
    /// Why.
    pub why: String,
}

/// The result of a chaos run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChaosReport {
    /// What the schedule was drawn from.
    pub seed: u64,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Faults that were left out.
    pub skipped: Vec<Skipped>,
    /// The steps, in order.
    pub outcomes: Vec<Outcome>,
    /// The load's report, with the oracle's counts over the whole run.
    pub load: Report,
    /// What else was noticed of the load.
    #[serde(skip)]
    pub remarks: Remarks,
    /// Nothing at all was wrong.
    pub clean: bool,
}

impl ChaosReport {
    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut t = self.load.table(&self.remarks);
        // Writing into a String can't fail.
        writeln!(t, "\n{:<46}{:<34}{:>12}{:>12}", "fault", "figure", "measured", "demanded").ok();
        for outcome in &self.outcomes {
            let mut name = outcome.step.to_string();
            for figure in &outcome.figures {
                let demanded =
                    figure.at_most.map_or("-".to_owned(), |m| format!("{m} {}", figure.unit));
                let measured = format!("{:.2} {}", figure.measured, figure.unit);
                let met = if figure.met() { "" } else { "  MISSED" };
                writeln!(t, "{name:<46}{:<34}{measured:>12}{demanded:>12}{met}", figure.name).ok();
                name.clear();
            }
            for violation in &outcome.violations {
                writeln!(t, "{name:<46}VIOLATION: {violation}").ok();
                name.clear();
            }
        }
        for skipped in &self.skipped {
            writeln!(t, "{:<46}SKIPPED: {}", skipped.fault, skipped.why).ok();
        }
        writeln!(t, "chaos: {}", if self.clean { "clean" } else { "NOT CLEAN" }).ok();
        t
    }
}
