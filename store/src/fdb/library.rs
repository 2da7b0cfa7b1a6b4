//! The trait `Client` on FoundationDB's library.
//!
//! Every transaction has a time-out, no retries of its own and a size limit; the crate would
//! otherwise retry for ever. "Read your writes" is off: mutations reach the cluster in the order
//! of the plans' operations, stamped ones among them, which the library would otherwise reorder.

use super::client::{Answer, Client, Commit};
use super::codes::Code;
use super::translate::{Atomic, Scratch, Write, stamped_value, translate};
use bytes::Bytes;
use foundationdb::options::{ConflictRangeType, DatabaseOption, MutationType, TransactionOption};
use foundationdb::{Database, FdbError, FdbResult, Transaction};
use std::time::Duration;

/// The cluster's own limit on a transaction.
const TRANSACTION_BYTES: i32 = 10_000_000;

/// Most time to wait for a version: whoever asks for a view is not kept longer by a silent cluster.
pub(super) const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection to a cluster.
pub(super) struct Library {
    database: Database,
    version_timeout_ms: i32,
}

impl From<FdbError> for Code {
    fn from(error: FdbError) -> Self {
        Self(error.code())
    }
}

impl Library {
    /// Connects to the cluster of a file; no answer is awaited.
    pub(super) fn connect(cluster_file: &str, timeout: Duration) -> Result<Self, Code> {
        let database = Database::from_path(cluster_file)?;
        let milliseconds = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        let timeout_ms = milliseconds(timeout);
        database.set_option(DatabaseOption::TransactionTimeout(timeout_ms))?;
        database.set_option(DatabaseOption::TransactionRetryLimit(0))?;
        database.set_option(DatabaseOption::TransactionSizeLimit(TRANSACTION_BYTES))?;
        Ok(Self { database, version_timeout_ms: milliseconds(timeout.min(VERSION_TIMEOUT)) })
    }

    /// A transaction with the limits, at a read version.
    pub(super) fn at(&self, version: u64) -> FdbResult<Transaction> {
        let transaction = self.database.create_trx()?;
        transaction.set_option(TransactionOption::ReadYourWritesDisable)?;
        transaction.set_read_version(i64::try_from(version).unwrap_or(i64::MAX));
        Ok(transaction)
    }

    /// A transaction with the limits, at whatever version the cluster gives.
    pub(super) fn transaction(&self) -> FdbResult<Transaction> {
        self.database.create_trx()
    }

    fn prepare(&self, commit: &Commit<'_>) -> FdbResult<Transaction> {
        let transaction = self.at(commit.base)?;
        let mut end = Vec::new();
        let guarded = commit.guarded.iter().map(Bytes::as_ref);
        for key in guarded.chain([commit.mark]) {
            end.clear();
            end.extend_from_slice(key);
            end.push(0);
            transaction.add_conflict_range(key, &end, ConflictRangeType::Read)?;
        }
        let mut scratch = Scratch::default();
        let (mut stamped, mut result) = (0, Ok(()));
        for member in commit.members {
            translate(
                commit.space,
                &member.plan.ops,
                &mut stamped,
                &mut scratch,
                |write, tracked| {
                    if !tracked && result.is_ok() {
                        let untracked = TransactionOption::NextWriteNoWriteConflictRange;
                        result = transaction.set_option(untracked);
                    }
                    apply(&transaction, write);
                },
            );
        }
        result?;
        let mark = stamped_value(&commit.tail);
        transaction.atomic_op(commit.mark, &mark, MutationType::SetVersionstampedValue);
        Ok(transaction)
    }
}

fn apply(transaction: &Transaction, write: Write<'_>) {
    match write {
        Write::Set { key, value } => transaction.set(key, value),
        Write::Clear { key } => transaction.clear(key),
        Write::ClearRange { from, to } => transaction.clear_range(from, to),
        Write::Atomic { kind, key, operand } => {
            let kind = match kind {
                Atomic::Add => MutationType::Add,
                Atomic::ByteMax => MutationType::ByteMax,
                Atomic::StampedKey => MutationType::SetVersionstampedKey,
                Atomic::StampedValue => MutationType::SetVersionstampedValue,
            };
            transaction.atomic_op(key, operand, kind);
        }
    }
}

/// An answer that is an error already.
fn failed<T: Send + 'static>(error: FdbError) -> Answer<T> {
    Box::pin(std::future::ready(Err(error.into())))
}

impl Client for Library {
    fn read_version(&self) -> Answer<u64> {
        let timeout = TransactionOption::Timeout(self.version_timeout_ms);
        let asking = || -> FdbResult<_> {
            let transaction = self.transaction()?;
            transaction.set_option(timeout)?;
            Ok(transaction)
        };
        let transaction = match asking() {
            Ok(transaction) => transaction,
            Err(error) => return failed(error),
        };
        let version = transaction.get_read_version();
        Box::pin(async move {
            // The transaction lives until it is answered.
            let version = version.await;
            drop(transaction);
            Ok(u64::try_from(version?).unwrap_or_default())
        })
    }

    fn read(&self, at: u64, keys: Vec<Vec<u8>>) -> Answer<Vec<Option<Bytes>>> {
        let transaction = match self.at(at) {
            Ok(transaction) => transaction,
            Err(error) => return failed(error),
        };
        let reads: Vec<_> = keys.iter().map(|key| transaction.get(key, true)).collect();
        Box::pin(async move {
            let mut rows = Vec::with_capacity(reads.len());
            for read in reads {
                rows.push(read.await?.map(|value| Bytes::copy_from_slice(&value)));
            }
            drop(transaction);
            Ok(rows)
        })
    }

    fn commit(&self, commit: &Commit<'_>) -> Answer<[u8; 10]> {
        let transaction = match self.prepare(commit) {
            Ok(transaction) => transaction,
            Err(error) => return failed(error),
        };
        let stamp = transaction.get_versionstamp();
        let committing = transaction.commit();
        Box::pin(async move {
            let committed = committing.await.map_err(|error| Code(error.code()))?;
            let stamp = stamp.await?;
            drop(committed);
            // Ten bytes are what a stamp is; anything else leaves the outcome to be looked up.
            <[u8; 10]>::try_from(&*stamp).map_err(|_| Code::COMMIT_UNKNOWN_RESULT)
        })
    }

    fn watch(&self, key: Vec<u8>) -> Answer<()> {
        let watch = || -> FdbResult<_> {
            let transaction = self.transaction()?;
            // A watch waits as long as nothing changes.
            transaction.set_option(TransactionOption::Timeout(0))?;
            let changed = transaction.watch(&key);
            Ok((changed, transaction.commit()))
        };
        let (changed, committing) = match watch() {
            Ok(watching) => watching,
            Err(error) => return failed(error),
        };
        Box::pin(async move {
            let committed = committing.await.map_err(|error| Code(error.code()))?;
            changed.await?;
            drop(committed);
            Ok(())
        })
    }

    fn clear(&self, prefix: Vec<u8>) -> Answer<()> {
        let transaction = match self.transaction() {
            Ok(transaction) => transaction,
            Err(error) => return failed(error),
        };
        transaction.clear_range(&prefix, &crate::keys::prefix_end(&prefix));
        let committing = transaction.commit();
        Box::pin(async move { committing.await.map(drop).map_err(|error| Code(error.code())) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::codes::{CommitFailure, commit_failed};
    use super::*;

    #[test]
    fn the_library_agrees_about_what_was_not_committed() {
        // The predicates need no cluster and no network thread.
        for code in 1..5000 {
            let error = FdbError::from_code(code);
            let ours = commit_failed(Code(code));
            if error.is_maybe_committed() {
                assert_eq!(ours, CommitFailure::Unknown, "{code}");
            }
            if matches!(ours, CommitFailure::Recheck | CommitFailure::Later) {
                assert!(error.is_retryable_not_committed(), "{code}");
            }
        }
    }
}
