//! The load-test harness: scenarios, oracle, report.
