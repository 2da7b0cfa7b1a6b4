//! A scenario file: what a run does. Read from TOML, checked as a whole, all faults told at once.

use rookery_protocol::limits::{MAX_BODY_BYTES, MAX_GROUP_MEMBERS, MAX_SENDS_IN_FLIGHT};
use serde::Deserialize;
use std::fmt;

/// Descriptors this process may use for sessions; the rest of the usual hard limit of 20,000 is
/// for the log-in connections and the process itself.
pub const MAX_SESSIONS: usize = 19_500;

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sessions are held; memory a session is measured; a few messages show that they live.
    Idle,
    /// Open loop: messages come due at a fixed rate whatever the server does.
    Pairs,
    /// Closed loop: each sender keeps a number of messages under way.
    Saturate,
}

/// A scenario. Every field has a default but `name` and `kind`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// As the report names it.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// Pairs of users; each pair has one conversation. With `members`: groups.
    #[serde(default = "hundred")]
    pub pairs: usize,
    /// Users of each conversation; more than two have a group.
    #[serde(default = "two")]
    pub members: usize,
    /// Devices of each user; the first one sends, all are delivered to.
    #[serde(default = "one")]
    pub devices: usize,
    /// Only the first user of each conversation sends.
    #[serde(default)]
    pub one_way: bool,
    /// Bytes of each message's body.
    #[serde(default = "hundred")]
    pub body_bytes: usize,
    /// `pairs`: messages a second, over all senders.
    #[serde(default = "thousand")]
    pub rate: u32,
    /// `saturate`: messages under way for each sender.
    #[serde(default = "eight")]
    pub in_flight: usize,
    /// `idle`: messages each sender sends after the hold, one after the other.
    #[serde(default = "two")]
    pub probes: usize,
    /// `idle`: how many of the pairs send probes.
    #[serde(default = "hundred")]
    pub probe_pairs: usize,
    /// Devices mark what they were given as read, and watch the partner's presence; the oracle is
    /// told of both. Not for a measurement: it doubles what the server has to do.
    #[serde(default)]
    pub social: bool,
    /// `idle`: how often after the hold all sessions lose their connections at once and resume.
    #[serde(default)]
    pub storms: usize,
    /// Seconds at the start that are not measured.
    #[serde(default)]
    pub warmup_s: f64,
    /// Seconds that are measured. For `idle`: how long the sessions are held.
    #[serde(default = "ten")]
    pub duration_s: f64,
    /// `saturate` goes on after `duration_s` until this many messages are acknowledged, at most
    /// ten times as long.
    #[serde(default)]
    pub at_least: u64,
    /// Sessions that connect at the same time.
    #[serde(default = "hundred")]
    pub connecting: usize,
    /// Sign-ups and log-ins at the same time.
    #[serde(default = "eight")]
    pub signing_up: usize,
    /// Longest wait, in seconds, for what is still under way at the end.
    #[serde(default = "sixty")]
    pub settle_s: f64,
}

const fn one() -> usize {
    1
}
const fn two() -> usize {
    2
}
const fn eight() -> usize {
    8
}
const fn hundred() -> usize {
    100
}
const fn thousand() -> u32 {
    1000
}
const fn ten() -> f64 {
    10.0
}
const fn sixty() -> f64 {
    60.0
}

/// Everything that is wrong with a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`Faults`]: all of them.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let scenario: Self = toml::from_str(text).map_err(|e| Faults(vec![e.to_string()]))?;
        let faults = scenario.faults();
        if faults.is_empty() { Ok(scenario) } else { Err(Faults(faults)) }
    }

    /// Sessions of the run: one a device.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.users().saturating_mul(self.devices)
    }

    /// Users of the run.
    #[must_use]
    pub fn users(&self) -> usize {
        self.pairs.saturating_mul(self.members)
    }

    /// Users of each conversation that send.
    #[must_use]
    pub fn senders(&self) -> usize {
        if self.one_way { 1 } else { self.members }
    }

    /// Pairs that talk.
    #[must_use]
    pub fn talking_pairs(&self) -> usize {
        if self.kind == Kind::Idle { self.probe_pairs.min(self.pairs) } else { self.pairs }
    }

    fn faults(&self) -> Vec<String> {
        let sessions = self.sessions();
        let seconds = |s: f64| s.is_finite() && (0.0..=1e6).contains(&s);
        [
            (self.name.is_empty(), "name is empty".to_owned()),
            (self.pairs == 0, "pairs is 0".to_owned()),
            (self.devices == 0, "devices is 0".to_owned()),
            (
                !(2..=MAX_GROUP_MEMBERS).contains(&self.members),
                format!("members is not in 2..={MAX_GROUP_MEMBERS}"),
            ),
            (self.members > 2 && self.social, "social is for pairs alone".to_owned()),
            (
                sessions > MAX_SESSIONS,
                format!("{sessions} sessions are over the {MAX_SESSIONS} of one process"),
            ),
            (
                self.body_bytes == 0 || self.body_bytes > MAX_BODY_BYTES,
                format!("body_bytes is not in 1..={MAX_BODY_BYTES}"),
            ),
            (self.rate == 0 || self.rate > 1_000_000, "rate is not in 1..=1000000".to_owned()),
            (
                self.in_flight == 0 || self.in_flight > MAX_SENDS_IN_FLIGHT,
                format!("in_flight is not in 1..={MAX_SENDS_IN_FLIGHT}"),
            ),
            (self.probes == 0 || self.probe_pairs == 0, "there are no probes".to_owned()),
            (self.connecting == 0, "connecting is 0".to_owned()),
            (
                self.storms > 0 && self.kind != Kind::Idle,
                "storms are for the kind idle alone".to_owned(),
            ),
            (self.signing_up == 0, "signing_up is 0".to_owned()),
            (
                !seconds(self.warmup_s)
                    || !seconds(self.settle_s)
                    || !seconds(self.duration_s)
                    || self.duration_s == 0.0,
                "a time is negative, endless or (duration_s) 0".to_owned(),
            ),
        ]
        .into_iter()
        .filter_map(|(wrong, text)| wrong.then_some(text))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_that_come_with_the_harness_are_valid() {
        for text in [
            include_str!("../scenarios/chaos.toml"),
            include_str!("../scenarios/groups.toml"),
            include_str!("../scenarios/idle.toml"),
            include_str!("../scenarios/pairs.toml"),
            include_str!("../scenarios/saturate.toml"),
            include_str!("../scenarios/storm.toml"),
        ] {
            Scenario::parse(text).unwrap();
        }
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let s = Scenario::parse("name = 'p'\nkind = 'pairs'").unwrap();
        assert_eq!((s.rate, s.in_flight, s.body_bytes, s.devices), (1000, 8, 100, 1));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let text = "name = ''\nkind = 'pairs'\npairs = 0\nrate = 0\nduration_s = -1.0";
        assert_eq!(Scenario::parse(text).unwrap_err().0.len(), 4);
        assert!(Scenario::parse("name = 'p'\nkind = 'pairs'\nrats = 1").is_err());
        let many = "name = 'i'\nkind = 'idle'\npairs = 20000";
        assert!(Scenario::parse(many).unwrap_err().to_string().contains("40000 sessions"));
    }
}
