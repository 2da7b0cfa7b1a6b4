//! The contract suite on the simulated cluster, well and with every tenth operation failing: what
//! the suite demands of every engine must not depend on which commits were lost on the way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the cases are functions outside of #[test]; a panic is how they fail"
)]

#[path = "../../tests/contract/cases.rs"]
mod cases;
#[path = "../../tests/contract/concurrent.rs"]
mod concurrent;
#[path = "../../tests/contract/harness.rs"]
mod harness;
#[path = "../../tests/contract/model.rs"]
mod model;
#[path = "../../tests/contract/stamps.rs"]
mod stamps;

use super::core::Core;
use super::driver::Tuning;
use super::sim::Sim;
use super::space::Space;
use crate::doorbell::Doorbell;
use crate::engine::{Done, Engine, ReadError, Row, View};
use crate::plan::{Plan, Version};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

struct SimEngine {
    sim: Sim,
    core: Core,
}

struct SimView {
    sim: Sim,
    version: u64,
}

fn space() -> Space {
    Space::new("sim").unwrap()
}

fn unavailable(what: impl ToString) -> ReadError {
    ReadError::Unavailable(what.to_string())
}

impl SimEngine {
    fn new(fails_every: u64) -> Self {
        let sim = Sim::new();
        let tuning = Tuning { lanes: 3, merge_bytes: 200_000, patience: Duration::from_secs(30) };
        let version = sim.version();
        let core =
            Core::start(Arc::new(sim.clone()), space(), tuning, 64 << 20, 1, version).unwrap();
        sim.fail_every(fails_every);
        Self { sim, core }
    }
}

impl Engine for SimEngine {
    type View = SimView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.core.submit(plans, done);
    }

    async fn view(&self, at_least: Version) -> Result<SimView, ReadError> {
        let version = self.sim.version();
        if version < at_least.0 {
            return Err(unavailable("a version that was never given"));
        }
        Ok(SimView { sim: self.sim.clone(), version })
    }

    fn reads_block(&self) -> bool {
        false
    }

    fn doorbell(&self, key: &[u8]) -> Doorbell {
        self.core.doorbell(key)
    }
}

impl View for SimView {
    fn version(&self) -> Version {
        Version(self.version)
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.get_many(&[Bytes::copy_from_slice(key)]).await?.pop().flatten())
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let keys = keys.iter().map(|key| space().row(key)).collect();
        self.sim.peek(self.version, keys).map_err(unavailable)
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let space = space();
        let mut rows = self.sim.range(&space.row(from), &space.row(to), self.version);
        if reverse {
            rows.reverse();
        }
        rows.truncate(limit);
        let stripped = |(key, value): (Vec<u8>, Bytes)| {
            (Bytes::copy_from_slice(space.strip(&key).unwrap()), value)
        };
        Ok(rows.into_iter().map(stripped).collect())
    }
}

macro_rules! on_the_simulated_cluster {
    ($($file:ident: $($case:ident)+;)+) => {
        mod well {
            $($(#[test] fn $case() { super::$file::$case(&super::SimEngine::new(0)); })+)+
        }
        mod failing {
            $($(#[test] fn $case() { super::$file::$case(&super::SimEngine::new(10)); })+)+
        }
    };
}

on_the_simulated_cluster! {
    cases:
        rows_are_read_as_they_were_written
        operations_of_a_plan_apply_in_order
        the_last_write_of_a_key_in_a_plan_wins
        plans_of_a_submission_apply_in_order
        a_guard_on_an_absent_key_holds_until_it_exists
        a_guard_on_a_value_holds_until_it_changes
        a_guard_compares_the_whole_value
        a_guard_sees_earlier_plans_of_its_submission
        a_plan_with_one_stale_guard_applies_nothing
        a_plan_does_not_see_its_own_writes_in_its_guards
        ranges_are_half_open_and_go_both_ways
        ranges_keep_their_limit
        a_range_that_ends_before_it_starts_is_empty
        clear_range_removes_what_earlier_operations_set
        clear_range_keeps_its_bounds
        add_counts_absent_as_zero_and_wraps
        add_pads_short_values_and_cuts_long_ones
        byte_max_never_goes_back
        a_plan_at_the_size_limit_commits
        a_plan_over_a_size_limit_is_refused_alone
        an_empty_plan_commits
        an_empty_submission_is_reported
        an_engines_own_rows_are_never_shown
        get_many_answers_in_order
        a_view_does_not_change
        a_view_shows_every_reported_commit
        a_view_at_a_version_that_was_never_given_is_refused;
    stamps:
        stamped_keys_and_values_carry_the_commits_stamp
        stamps_of_one_plan_are_distinct_and_rise
        stamps_rise_from_plan_to_plan
        a_cursor_at_a_views_version_covers_what_it_shows;
    concurrent:
        a_hundred_guarded_writers_of_one_counter_lose_no_update
        concurrent_views_never_see_half_a_plan
        a_commit_that_begins_after_a_report_has_a_later_version_and_stamp
        a_reader_that_follows_a_cursor_sees_every_stamped_row_once
        concurrent_sums_lose_nothing_and_maxima_never_go_back
        a_doorbell_rings_after_its_key_changed_and_only_hints;
    model:
        random_plans_do_what_the_reference_model_does;
}
