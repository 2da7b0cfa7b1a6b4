//! Random plans against a reference model: a sorted map and the rules, written a second time.

use super::harness::{commit, latest, plan, rows, submit, wait};
use bytes::Bytes;
use proptest::prelude::*;
use rookery_store::engine::Row;
use rookery_store::{Engine, Guard, Op, Outcome, Plan, Version, View};
use std::collections::BTreeMap;

/// The rows a store must hold.
#[derive(Default)]
struct Model {
    rows: BTreeMap<Bytes, Bytes>,
}

impl Model {
    fn admits(&self, plan: &Plan) -> bool {
        plan.guards.iter().all(|guard| self.rows.get(&guard.key) == guard.known.as_ref())
    }

    /// Applies operations with the stamp the engine reported, whose last two bytes count up.
    fn apply(&mut self, ops: &[Op], stamp: [u8; 12]) {
        let mut count = u16::from_be_bytes([stamp[10], stamp[11]]);
        for op in ops {
            let mut stamp = stamp;
            if op.is_stamped() {
                stamp[10..].copy_from_slice(&count.to_be_bytes());
                count += 1;
            }
            match op.clone() {
                Op::Set { key, value } => drop(self.rows.insert(key, value)),
                Op::Clear { key } => drop(self.rows.remove(&key)),
                Op::ClearRange { from, to } => self.rows.retain(|key, _| *key < from || *key >= to),
                Op::SetStampedKey { prefix, value } => {
                    self.rows.insert([&prefix[..], &stamp].concat().into(), value);
                }
                Op::SetStampedValue { key, suffix } => {
                    self.rows.insert(key, [&stamp, &suffix[..]].concat().into());
                }
                Op::Add { key, delta } => {
                    let mut held = self.rows.get(&key).map_or(Vec::new(), |held| held.to_vec());
                    held.resize(8, 0);
                    let sum = u64::from_le_bytes(held.try_into().unwrap()).wrapping_add(delta);
                    self.rows.insert(key, sum.to_le_bytes().to_vec().into());
                }
                Op::ByteMax { key, value } => {
                    let held = self.rows.entry(key).or_insert_with(|| value.clone());
                    *held = value.max(held.clone());
                }
            }
        }
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize, reverse: bool) -> Vec<Row> {
        let inside = |(key, _): &(&Bytes, &Bytes)| **key >= *from && **key < *to;
        let mut rows: Vec<Row> =
            self.rows.iter().filter(inside).map(|(k, v)| (k.clone(), v.clone())).collect();
        if reverse {
            rows.reverse();
        }
        rows.truncate(limit);
        rows
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(prop_oneof![Just(0), Just(b'a'), Just(b'b'), Just(0xfe)], 1..3)
        .prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (key(), value()).prop_map(|(key, value)| Op::Set { key, value }),
        2 => key().prop_map(|key| Op::Clear { key }),
        1 => (key(), key()).prop_map(|(from, to)| Op::ClearRange { from, to }),
        1 => (key(), value()).prop_map(|(prefix, value)| Op::SetStampedKey { prefix, value }),
        1 => (key(), value()).prop_map(|(key, suffix)| Op::SetStampedValue { key, suffix }),
        2 => (key(), any::<u64>()).prop_map(|(key, delta)| Op::Add { key, delta }),
        2 => (key(), value()).prop_map(|(key, value)| Op::ByteMax { key, value }),
    ]
}

/// What a generated guard claims to know.
#[derive(Clone, Debug)]
enum Claim {
    /// What the model holds before the submission.
    Current,
    Absent,
    Value(Bytes),
}

fn claim() -> impl Strategy<Value = (Bytes, Claim)> {
    let claim = prop_oneof![
        6 => Just(Claim::Current),
        1 => Just(Claim::Absent),
        1 => value().prop_map(Claim::Value),
    ];
    (key(), claim)
}

type Sketch = (Vec<(Bytes, Claim)>, Vec<Op>);

fn sketch() -> impl Strategy<Value = Sketch> {
    (proptest::collection::vec(claim(), 0..3), proptest::collection::vec(op(), 0..6))
}

fn plan_of((claims, ops): Sketch, model: &Model, version: Version) -> Plan {
    let guard = |(key, claim): (Bytes, Claim)| {
        // What was never seen is claimed of no version.
        let (known, version) = match claim {
            Claim::Current => (model.rows.get(&key).cloned(), version),
            Claim::Absent => (None, Version(0)),
            Claim::Value(value) => (Some(value), Version(0)),
        };
        Guard { key, known, version }
    };
    Plan { guards: claims.into_iter().map(guard).collect(), ops }
}

pub fn random_plans_do_what_the_reference_model_does(engine: &impl Engine) {
    let submissions = proptest::collection::vec(proptest::collection::vec(sketch(), 1..4), 1..12);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() };
    proptest!(config, |(
        submissions in submissions,
        ranges in proptest::collection::vec((key(), key(), 0..6_usize, any::<bool>()), 4)
    )| {
        let everything = Op::ClearRange { from: Bytes::new(), to: Bytes::from(vec![0xff; 8]) };
        commit(engine, plan(vec![everything]));
        let mut model = Model::default();
        for submission in submissions {
            let version = latest(engine).version();
            let plans: Vec<Plan> =
                submission.into_iter().map(|one| plan_of(one, &model, version)).collect();
            let outcomes = submit(engine, plans.clone());
            for (plan, outcome) in plans.iter().zip(outcomes) {
                match outcome {
                    Outcome::Committed { stamp, .. } => {
                        prop_assert!(model.admits(plan), "a stale guard was accepted: {:?}", plan);
                        model.apply(&plan.ops, stamp.0);
                    }
                    other => {
                        prop_assert_eq!(other, Outcome::Conflict);
                        prop_assert!(!model.admits(plan), "a good plan was refused: {:?}", plan);
                    }
                }
            }
            let view = latest(engine);
            prop_assert_eq!(rows(&view), model.range(b"", &[0xff; 8], usize::MAX, false));
            for (from, to, limit, reverse) in &ranges {
                let found = wait(view.range(from, to, *limit, *reverse)).unwrap();
                prop_assert_eq!(found, model.range(from, to, *limit, *reverse));
                prop_assert_eq!(wait(view.get(from)).unwrap(), model.rows.get(from).cloned());
            }
        }
    });
}
