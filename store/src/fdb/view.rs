//! Snapshots of a cluster: reads at one version, which the cluster remembers for 5 s.

use super::codes::{Code, read_failed};
use super::space::Space;
use crate::engine::{ReadError, Row, View};
use crate::plan::Version;
use bytes::Bytes;
use foundationdb::options::StreamingMode;
use foundationdb::{FdbError, RangeOption, Transaction};
use std::fmt;

/// A snapshot of a FoundationDB cluster.
pub struct FdbView {
    pub(super) transaction: Transaction,
    pub(super) version: Version,
    pub(super) space: Space,
}

impl fmt::Debug for FdbView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdbView").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A failed read, for whoever asked.
pub(super) fn unavailable(error: impl Into<Code>) -> ReadError {
    ReadError::Unavailable(read_failed(error.into()))
}

impl View for FdbView {
    fn version(&self) -> Version {
        self.version
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let value = self.transaction.get(&self.space.row(key), true).await;
        Ok(value.map_err(unavailable)?.map(|value| Bytes::copy_from_slice(&value)))
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        // All are on their way before the first is awaited.
        let reads: Vec<_> =
            keys.iter().map(|key| self.transaction.get(&self.space.row(key), true)).collect();
        let mut values = Vec::with_capacity(reads.len());
        for read in reads {
            let value = read.await.map_err(unavailable)?;
            values.push(value.map(|value| Bytes::copy_from_slice(&value)));
        }
        Ok(values)
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        let mut rows = Vec::new();
        if from >= to || limit == 0 {
            return Ok(rows);
        }
        let mut next = Some(RangeOption {
            // The library counts in 31 bits; 0 says no limit.
            limit: i32::try_from(limit).is_ok().then_some(limit),
            mode: StreamingMode::WantAll,
            reverse,
            ..RangeOption::from((self.space.row(from), self.space.row(to)))
        });
        let mut iteration = 1;
        while let Some(page) = next {
            let found = self.transaction.get_range(&page, iteration, true).await;
            let found = found.map_err(|error: FdbError| unavailable(error))?;
            for row in &found {
                let key = self.space.strip(row.key()).ok_or_else(|| {
                    ReadError::Damaged("a key outside of the prefix that was asked for".into())
                })?;
                rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(row.value())));
            }
            next = page.next_range(&found);
            iteration += 1;
        }
        Ok(rows)
    }
}
