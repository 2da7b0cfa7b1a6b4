//! Which plans may share a transaction.
//!
//! Plans of one transaction apply in their order, so their writes may overlap. What can't be
//! told inside one transaction is a guard on something that an earlier plan of it writes: the
//! guard is compared with what the cluster held before. Such a plan goes into a later one.

use crate::keys::is_never_guarded;
use crate::plan::{Guard, MAX_STAMPED_OPS, Op, Plan, STAMP_BYTES};
use bytes::Bytes;
use std::collections::HashSet;

/// What a transaction holds so far.
#[derive(Debug, Default)]
pub(super) struct Merge {
    bytes: usize,
    stamped: usize,
    written: Written,
}

/// What is written, as far as a guard could name it.
#[derive(Debug, Default)]
struct Written {
    keys: HashSet<Bytes>,
    ranges: Vec<(Bytes, Bytes)>,
    stamped: Vec<Bytes>,
}

impl Merge {
    /// Whether a plan may join: it fits into `limit_bytes` (the first always does), its stamps can
    /// be told apart, and none of its guards is on something written by an earlier plan.
    pub(super) fn admits(&self, plan: &Plan, limit_bytes: usize) -> bool {
        let fits = self.bytes == 0 || self.bytes + plan.bytes() <= limit_bytes;
        fits && self.stamped + stamped(plan) <= MAX_STAMPED_OPS
            && plan.guards.iter().all(|guard| !self.written.holds(guard))
    }

    /// Adds a plan.
    pub(super) fn add(&mut self, plan: &Plan) {
        self.bytes += plan.bytes();
        self.stamped += stamped(plan);
        self.written.note(plan);
    }
}

/// Whether a plan guards on a row whose conflicts are not tracked.
pub(super) fn guards_on_the_untracked(plan: &Plan) -> bool {
    plan.guards.iter().any(|guard| is_never_guarded(guard.key.first(), guard.key.len()))
}

fn stamped(plan: &Plan) -> usize {
    plan.ops.iter().filter(|op| op.is_stamped()).count()
}

impl Written {
    fn note(&mut self, plan: &Plan) {
        for op in &plan.ops {
            match op {
                Op::Set { key, .. }
                | Op::Clear { key }
                | Op::SetStampedValue { key, .. }
                | Op::Add { key, .. }
                | Op::ByteMax { key, .. } => {
                    if !is_never_guarded(key.first(), key.len()) {
                        self.keys.insert(key.clone());
                    }
                }
                Op::ClearRange { from, to } => self.ranges.push((from.clone(), to.clone())),
                Op::SetStampedKey { prefix, .. } => {
                    if !is_never_guarded(prefix.first(), prefix.len() + STAMP_BYTES) {
                        self.stamped.push(prefix.clone());
                    }
                }
            }
        }
    }

    fn holds(&self, Guard { key, .. }: &Guard) -> bool {
        self.keys.contains(key)
            || self.ranges.iter().any(|(from, to)| from <= key && key < to)
            || self
                .stamped
                .iter()
                .any(|prefix| key.len() == prefix.len() + STAMP_BYTES && key.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Version;

    fn b(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn plan(guard: Option<&str>, ops: Vec<Op>) -> Plan {
        let guard = guard.map(|key| Guard { key: b(key), known: None, version: Version(1) });
        Plan { guards: guard.into_iter().collect(), ops }
    }

    fn set(key: &str) -> Op {
        Op::Set { key: b(key), value: b("v") }
    }

    fn merged(plans: &[Plan]) -> Merge {
        let mut merge = Merge::default();
        for plan in plans {
            assert!(merge.admits(plan, usize::MAX), "{plan:?}");
            merge.add(plan);
        }
        merge
    }

    #[test]
    fn unrelated_plans_and_plans_that_overwrite_each_other_merge() {
        merged(&[
            plan(Some("f1"), vec![set("a"), set("b")]),
            plan(Some("f2"), vec![set("a")]),
            plan(Some("f1"), vec![set("f2")]),
        ]);
    }

    #[test]
    fn a_guard_on_what_an_earlier_plan_writes_does_not_merge() {
        let stamped = |prefix: &str| Op::SetStampedKey { prefix: b(prefix), value: b("") };
        let writes = [
            set("key"),
            Op::Clear { key: b("key") },
            Op::ClearRange { from: b("k"), to: b("l") },
            Op::Add { key: b("key"), delta: 1 },
            Op::ByteMax { key: b("key"), value: b("") },
            Op::SetStampedValue { key: b("key"), suffix: b("") },
        ];
        for op in writes {
            let merge = merged(&[plan(None, vec![op.clone()])]);
            assert!(!merge.admits(&plan(Some("key"), vec![]), usize::MAX), "{op:?}");
            assert!(merge.admits(&plan(Some("other"), vec![]), usize::MAX), "{op:?}");
        }
        let merge = merged(&[plan(None, vec![stamped("s")])]);
        assert!(!merge.admits(&plan(Some("s0123456789ab"), vec![]), usize::MAX));
        assert!(merge.admits(&plan(Some("s0123456789"), vec![]), usize::MAX));
    }

    #[test]
    fn a_transaction_has_its_bytes_and_its_stamps() {
        let merge = merged(&[plan(None, vec![set("key")])]);
        assert!(!merge.admits(&plan(None, vec![set("key")]), 7));
        assert!(merge.admits(&plan(None, vec![set("key")]), 8));
        assert!(Merge::default().admits(&plan(None, vec![set("key")]), 1), "the first one");
        let stamped = Op::SetStampedKey { prefix: b("s"), value: b("") };
        let full = merged(&[plan(None, vec![stamped.clone(); MAX_STAMPED_OPS])]);
        assert!(!full.admits(&plan(None, vec![stamped]), usize::MAX));
    }

    #[test]
    fn guards_on_untracked_rows_are_found() {
        assert!(!guards_on_the_untracked(&plan(Some("m"), vec![])));
        assert!(guards_on_the_untracked(&plan(Some("m0123456789abcdef"), vec![])));
    }
}
