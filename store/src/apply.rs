//! What the operations of a plan do to rows, written once for every engine that applies them itself.
//!
//! An engine gives the rows ([`Rows`]); the rules of stamps, numbers and maxima live here, so that
//! engines can't differ in them.

use crate::plan::{Guard, Op, STAMP_BYTES, Stamp, Version};
use bytes::{Bytes, BytesMut};

/// The rows a plan is applied to: they show what earlier operations and plans did.
pub(crate) trait Rows {
    /// What a key holds now.
    fn held(&self, key: &Bytes) -> Option<Bytes>;
    /// Sets a key.
    fn put(&mut self, key: Bytes, value: Bytes);
    /// Removes a key.
    fn remove(&mut self, key: Bytes);
    /// Removes the keys in `from..to`, where `from < to`.
    fn remove_range(&mut self, from: Bytes, to: Bytes);
}

/// Whether every guard still holds.
pub(crate) fn guards_hold<R: Rows>(guards: &[Guard], rows: &R) -> bool {
    guards.iter().all(|guard| rows.held(&guard.key) == guard.known)
}

/// Applies operations in their order as the commit `version`, and says its stamp.
pub(crate) fn apply<R: Rows>(ops: Vec<Op>, version: Version, rows: &mut R) -> Stamp {
    let mut stamped: u16 = 0;
    let mut next_stamp = || {
        let stamp = Stamp::new(version, 0, stamped);
        stamped = stamped.saturating_add(1);
        stamp
    };
    for op in ops {
        match op {
            Op::Set { key, value } => rows.put(key, value),
            Op::Clear { key } => rows.remove(key),
            Op::ClearRange { from, to } => {
                if from < to {
                    rows.remove_range(from, to);
                }
            }
            Op::SetStampedKey { prefix, value } => {
                rows.put(joined(&prefix, &next_stamp().0), value);
            }
            Op::SetStampedValue { key, suffix } => {
                rows.put(key, joined(&next_stamp().0, &suffix));
            }
            Op::Add { key, delta } => {
                let sum = number(rows.held(&key).as_deref()).wrapping_add(delta);
                rows.put(key, Bytes::copy_from_slice(&sum.to_le_bytes()));
            }
            Op::ByteMax { key, value } => {
                if rows.held(&key).is_none_or(|held| held < value) {
                    rows.put(key, value);
                }
            }
        }
    }
    Stamp::new(version, 0, 0)
}

/// A little-endian number: what is missing of its 8 bytes counts as 0, what is beyond is ignored.
fn number(held: Option<&[u8]>) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(held.unwrap_or_default()) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

fn joined(left: &[u8], right: &[u8]) -> Bytes {
    debug_assert!(left.len() == STAMP_BYTES || right.len() == STAMP_BYTES);
    let mut bytes = BytesMut::with_capacity(left.len() + right.len());
    bytes.extend_from_slice(left);
    bytes.extend_from_slice(right);
    bytes.freeze()
}
