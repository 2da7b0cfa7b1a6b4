//! The multi-version map under the engine in memory: every key has the values it held, by version.
//!
//! A view pins its version; a value that no pinned version and no later one can see is dropped
//! when its key is written again, or by a sweep over the keys that have such values.

use crate::apply::Rows;
use crate::engine::Row;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A sweep starts at this many keys with old values, or at twice what the last one left.
const SWEEP_AT: usize = 1024;

/// What a key held from a version on; `None`: it was removed.
type Chain = Vec<(u64, Option<Bytes>)>;

/// The rows at every version that can still be asked for.
#[derive(Default)]
pub(super) struct Versions {
    chains: BTreeMap<Bytes, Chain>,
    /// Versions with views on them, and how many.
    pins: BTreeMap<u64, usize>,
    /// Keys that may hold values nobody can see.
    old: Vec<Bytes>,
    /// How many such keys the last sweep had to leave.
    left: usize,
}

impl Versions {
    pub(super) fn pin(&mut self, version: u64) {
        *self.pins.entry(version).or_default() += 1;
    }

    pub(super) fn unpin(&mut self, version: u64) {
        if let Some(count) = self.pins.get_mut(&version) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&version);
            }
        }
    }

    pub(super) fn get(&self, key: &[u8], version: u64) -> Option<Bytes> {
        self.chains.get(key).and_then(|chain| seen(chain, version)).cloned()
    }

    pub(super) fn range(
        &self,
        from: &[u8],
        to: &[u8],
        version: u64,
        limit: usize,
        reverse: bool,
    ) -> Vec<Row> {
        if from >= to {
            return Vec::new();
        }
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        let rows = self
            .chains
            .range::<[u8], _>(bounds)
            .filter_map(|(key, chain)| Some((key.clone(), seen(chain, version)?.clone())));
        if reverse { rows.rev().take(limit).collect() } else { rows.take(limit).collect() }
    }

    fn write(&mut self, key: Bytes, version: u64, value: Option<Bytes>) {
        let chain = match (self.chains.get_mut(&key), &value) {
            (None, None) => return,
            (None, Some(_)) => self.chains.entry(key.clone()).or_default(),
            (Some(chain), _) => chain,
        };
        match chain.last_mut() {
            Some((at, held)) if *at == version => *held = value,
            _ => chain.push((version, value)),
        }
        if chain.len() > 1 || chain.iter().all(|(_, value)| value.is_none()) {
            self.old.push(key);
        }
    }

    /// Drops what nobody can see, now and then; `version` is the latest.
    pub(super) fn collect(&mut self, version: u64) {
        if self.old.len() < SWEEP_AT.max(2 * self.left) {
            return;
        }
        let oldest_seen = self.pins.keys().next().copied().unwrap_or(version);
        let mut keys = std::mem::take(&mut self.old);
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| {
            let Some(chain) = self.chains.get_mut(key) else { return false };
            let unseen = chain.iter().skip(1).take_while(|(at, _)| *at <= oldest_seen).count();
            chain.drain(..unseen);
            let removed = matches!(chain.as_slice(), [(at, None)] if *at <= oldest_seen);
            if removed {
                self.chains.remove(key);
                return false;
            }
            chain.len() > 1
        });
        self.left = keys.len();
        self.old = keys;
    }
}

/// The value a chain shows at a version.
fn seen(chain: &Chain, version: u64) -> Option<&Bytes> {
    chain.iter().rev().find(|(at, _)| *at <= version).and_then(|(_, value)| value.as_ref())
}

/// The rows while a plan is applied as `version`.
pub(super) struct Writing<'a> {
    pub(super) rows: &'a mut Versions,
    pub(super) version: u64,
}

impl Rows for Writing<'_> {
    fn held(&self, key: &Bytes) -> Option<Bytes> {
        self.rows.get(key, self.version)
    }

    fn put(&mut self, key: Bytes, value: Bytes) {
        self.rows.write(key, self.version, Some(value));
    }

    fn remove(&mut self, key: Bytes) {
        self.rows.write(key, self.version, None);
    }

    fn remove_range(&mut self, from: Bytes, to: Bytes) {
        for (key, _) in self.rows.range(&from, &to, self.version, usize::MAX, false) {
            self.rows.write(key, self.version, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nobody_can_see_are_dropped() {
        let mut rows = Versions::default();
        let key = Bytes::from_static(b"k");
        for version in 1..=10_000 {
            rows.write(key.clone(), version, Some(Bytes::from_static(b"v")));
            rows.collect(version);
        }
        assert!(rows.chains[&key].len() <= SWEEP_AT, "{} values kept", rows.chains[&key].len());
    }

    #[test]
    fn a_pinned_version_keeps_what_it_shows_through_a_sweep() {
        let mut rows = Versions::default();
        let key = Bytes::from_static(b"k");
        rows.write(key.clone(), 1, Some(Bytes::from_static(b"first")));
        rows.pin(1);
        for version in 2..=5_000 {
            rows.write(key.clone(), version, None);
            rows.collect(version);
        }
        assert_eq!(rows.get(&key, 1).as_deref(), Some(b"first".as_slice()));
        rows.unpin(1);
        rows.left = 0;
        for version in 5_001..=8_000 {
            rows.write(key.clone(), version, None);
            rows.collect(version);
        }
        assert_eq!(rows.get(&key, 1), None, "unpinned and swept");
    }
}
