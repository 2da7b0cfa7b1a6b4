//! What FoundationDB's error codes mean for a commit or a read: the one place that names them.
//!
//! Safety: a code that isn't known to say "not applied" leaves the outcome of a commit open.

use std::fmt;

/// An error code of FoundationDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Code(pub(super) i32);

impl Code {
    /// The read version is older than what the cluster remembers (5 s).
    pub(super) const TRANSACTION_TOO_OLD: Self = Self(1007);
    /// The read version is newer than what the storage servers have, or never existed.
    pub(super) const FUTURE_VERSION: Self = Self(1009);
    /// A key read was written since the read version.
    pub(super) const NOT_COMMITTED: Self = Self(1020);
    /// The answer to a commit was lost.
    pub(super) const COMMIT_UNKNOWN_RESULT: Self = Self(1021);
    /// Cancelled, also by the end of the network thread.
    pub(super) const TRANSACTION_CANCELLED: Self = Self(1025);
    /// Over the time set by the transaction's time-out.
    pub(super) const TIMED_OUT: Self = Self(1031);
    /// A storage server lags behind.
    pub(super) const PROCESS_BEHIND: Self = Self(1037);
    /// An operator has locked the database.
    pub(super) const DATABASE_LOCKED: Self = Self(1038);
    /// The client switched to another version of its library; a commit may have been sent.
    pub(super) const CLUSTER_VERSION_CHANGED: Self = Self(1039);
    /// A commit proxy has no memory left.
    pub(super) const COMMIT_PROXY_FULL: Self = Self(1042);
    /// Throttled for the database's health.
    pub(super) const BATCH_THROTTLED: Self = Self(1051);
    /// A version proxy has no memory left.
    pub(super) const VERSION_PROXY_FULL: Self = Self(1078);
    /// Throttled by a tag's quota.
    pub(super) const TAG_THROTTLED: Self = Self(1213);
    /// Proxies throttle a tag.
    pub(super) const PROXY_TAG_THROTTLED: Self = Self(1223);
    /// The transaction is over the size limit.
    pub(super) const TRANSACTION_TOO_LARGE: Self = Self(2101);
    /// A key is over the size limit.
    pub(super) const KEY_TOO_LARGE: Self = Self(2102);
    /// A value is over the size limit.
    pub(super) const VALUE_TOO_LARGE: Self = Self(2103);
    /// The connection string in the cluster file can't be read.
    pub(super) const CONNECTION_STRING_INVALID: Self = Self(2104);
    /// The client library is too old for the API version asked for.
    pub(super) const API_VERSION_NOT_SUPPORTED: Self = Self(2203);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FoundationDB error {}", self.0)
    }
}

/// What follows from a commit that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitFailure {
    /// Not applied: the read version is of no use, or a guarded key was written. Look at the
    /// guards again, by value.
    Recheck,
    /// It may have been applied, or still be.
    Unknown,
    /// Not applied: the cluster has no room now.
    Later,
    /// Not applied, and never will be as one transaction.
    TooLarge,
    /// Not applied, and repeating won't help.
    Refused,
}

/// What a failed commit means.
pub(super) fn commit_failed(code: Code) -> CommitFailure {
    match code {
        Code::TRANSACTION_TOO_OLD | Code::NOT_COMMITTED => CommitFailure::Recheck,
        Code::FUTURE_VERSION
        | Code::PROCESS_BEHIND
        | Code::COMMIT_PROXY_FULL
        | Code::BATCH_THROTTLED
        | Code::VERSION_PROXY_FULL
        | Code::TAG_THROTTLED
        | Code::PROXY_TAG_THROTTLED => CommitFailure::Later,
        Code::TRANSACTION_TOO_LARGE | Code::KEY_TOO_LARGE | Code::VALUE_TOO_LARGE => {
            CommitFailure::TooLarge
        }
        Code::DATABASE_LOCKED => CommitFailure::Refused,
        Code::COMMIT_UNKNOWN_RESULT
        | Code::TRANSACTION_CANCELLED
        | Code::TIMED_OUT
        | Code::CLUSTER_VERSION_CHANGED => CommitFailure::Unknown,
        // Of a code that isn't known nothing may be concluded.
        _ => CommitFailure::Unknown,
    }
}

/// What an operator should know about a failed read; its text names the remedy where there is one.
pub(super) fn read_failed(code: Code) -> String {
    match code {
        Code::TRANSACTION_TOO_OLD => {
            "the snapshot is over 5 s old and FoundationDB has forgotten it; take a new one".into()
        }
        Code::FUTURE_VERSION => format!("{code}: the version is newer than the cluster's"),
        Code::TIMED_OUT => format!("{code}: the cluster did not answer in time"),
        Code::PROCESS_BEHIND => format!("{code}: a storage server lags behind; retry"),
        Code::DATABASE_LOCKED => {
            format!("{code}: the database is locked; an operator unlocks it with fdbcli")
        }
        Code::TRANSACTION_CANCELLED => format!("{code}: the engine is closed"),
        _ => code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_say_not_applied_are_taken_as_that() {
        for code in [1007, 1020] {
            assert_eq!(commit_failed(Code(code)), CommitFailure::Recheck, "{code}");
        }
        for code in [1009, 1037, 1042, 1051, 1078, 1213, 1223] {
            assert_eq!(commit_failed(Code(code)), CommitFailure::Later, "{code}");
        }
        for code in [2101, 2102, 2103] {
            assert_eq!(commit_failed(Code(code)), CommitFailure::TooLarge, "{code}");
        }
        assert_eq!(commit_failed(Code::DATABASE_LOCKED), CommitFailure::Refused);
        for code in [1021, 1025, 1031, 1039, 1100, 1101, 1500, 2000, 4100, 9999] {
            assert_eq!(commit_failed(Code(code)), CommitFailure::Unknown, "{code}");
        }
    }

    #[test]
    fn a_failed_read_names_its_remedy() {
        assert!(read_failed(Code::TRANSACTION_TOO_OLD).contains("take a new one"));
        assert!(read_failed(Code::DATABASE_LOCKED).contains("fdbcli"));
        assert_eq!(read_failed(Code(4100)), "FoundationDB error 4100");
    }
}
