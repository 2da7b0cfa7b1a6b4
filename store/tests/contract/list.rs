//! The list of the suite's cases, once for all who run it: the test of every engine
//! (`tests/contract.rs`) and the one of the simulated FoundationDB cluster (`src/fdb/simulated.rs`).

/// Hands the cases, by file, to a macro of the caller, behind what the caller adds.
macro_rules! every_case {
    ($make:ident! $($subject:tt)+) => {
        $make! {
            $($subject)+;
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
    };
}
pub(crate) use every_case;
