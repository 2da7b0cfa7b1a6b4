//! Commits as data: guards, operations, outcomes, versions and stamps.

use bytes::Bytes;
use rookery_protocol::Cursor;

/// Most bytes of keys and values in one plan.
pub const MAX_PLAN_BYTES: usize = 1_000_000;
/// Most bytes of one value.
pub const MAX_VALUE_BYTES: usize = 100_000;
/// Most bytes of one key; the fewest are one.
pub const MAX_KEY_BYTES: usize = 256;
/// Bytes of a [`Stamp`].
pub const STAMP_BYTES: usize = 12;
/// Most stamped operations of one plan: their place has 16 bits, and the greatest stamp of a
/// version is kept free for [`Stamp::end_of`].
pub const MAX_STAMPED_OPS: usize = 65_535;

/// A position in the store's history of commits. It only rises; equal versions mean one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Version(pub u64);

/// Place of a stamped row: the commit's version (8 bytes, big-endian), the commit's place among
/// those of that version (2), the place of the stamped operation in the commit (2). Rises with
/// commit order. Plans that an engine merges into one commit share the first two; their stamped
/// operations are counted on from plan to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Stamp(pub [u8; STAMP_BYTES]);

impl Stamp {
    /// Builds a stamp from its parts.
    #[must_use]
    pub fn new(version: Version, commit: u16, op: u16) -> Self {
        let [v0, v1, v2, v3, v4, v5, v6, v7] = version.0.to_be_bytes();
        let [c0, c1] = commit.to_be_bytes();
        let [o0, o1] = op.to_be_bytes();
        Self([v0, v1, v2, v3, v4, v5, v6, v7, c0, c1, o0, o1])
    }

    /// The greatest stamp a commit of `version` or an earlier one can have: what a reader of a
    /// view at `version` has seen everything up to.
    #[must_use]
    pub fn end_of(version: Version) -> Self {
        Self::new(version, u16::MAX, u16::MAX)
    }

    /// The commit's version.
    #[must_use]
    pub fn version(self) -> Version {
        let [v0, v1, v2, v3, v4, v5, v6, v7, ..] = self.0;
        Version(u64::from_be_bytes([v0, v1, v2, v3, v4, v5, v6, v7]))
    }

    /// The client's cursor of this stamp in the inbox log of `epoch`.
    #[must_use]
    pub fn cursor(self, epoch: u32) -> Cursor {
        Cursor { epoch, stamp: self.0 }
    }
}

/// "This key still holds what it held when I knew it." Rows of
/// [`crate::keys::is_never_guarded`] can't be guarded on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Which key.
    pub key: Bytes,
    /// What it held; `None`: it did not exist.
    pub known: Option<Bytes>,
    /// A version at which that was so. It only makes a check cheaper: every engine decides by the
    /// value held at the commit. FoundationDB commits without a look when nobody wrote the key
    /// since this version, and looks at the value when somebody did. So it must be true: who
    /// only supposes a value says version 0, and every engine looks.
    pub version: Version,
}

/// One change. Operations of a plan apply in order; a plan cannot read what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Set {
        /// Which key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key.
    Clear {
        /// Which key.
        key: Bytes,
    },
    /// Removes all keys in `from..to`.
    ClearRange {
        /// First key removed.
        from: Bytes,
        /// First key kept.
        to: Bytes,
    },
    /// Sets the key `prefix ++ stamp`, where the stamp is the one reported for the plan with its
    /// last two bytes counted up over the stamped operations of the plan (+0, +1, +2, ...).
    SetStampedKey {
        /// What comes before the 12 bytes of the stamp.
        prefix: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Sets `key` to `stamp ++ suffix`.
    SetStampedValue {
        /// Which key.
        key: Bytes,
        /// What comes after the 12 bytes of the stamp.
        suffix: Bytes,
    },
    /// Adds to a 64-bit little-endian number, wrapping; an absent key counts as 0. A value held
    /// that is shorter is taken as padded with zeros, a longer one as cut to 8 bytes.
    Add {
        /// Which key.
        key: Bytes,
        /// What is added.
        delta: u64,
    },
    /// Keeps the greater of the value held and `value`, compared as byte strings; an absent key
    /// counts as smaller than any.
    ByteMax {
        /// Which key.
        key: Bytes,
        /// The candidate.
        value: Bytes,
    },
}

impl Op {
    /// Bytes of key and value, as the plan limit counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Set { key, value } | Self::ByteMax { key, value } => key.len() + value.len(),
            Self::Clear { key } => key.len(),
            Self::ClearRange { from, to } => from.len() + to.len(),
            Self::SetStampedKey { prefix, value } => prefix.len() + STAMP_BYTES + value.len(),
            Self::SetStampedValue { key, suffix } => key.len() + STAMP_BYTES + suffix.len(),
            Self::Add { key, .. } => key.len() + 8,
        }
    }

    /// Whether the operation's rows carry the commit's stamp.
    #[must_use]
    pub fn is_stamped(&self) -> bool {
        matches!(self, Self::SetStampedKey { .. } | Self::SetStampedValue { .. })
    }

    /// Whether its keys and value keep the size limits.
    fn within_limits(&self) -> bool {
        match self {
            Self::Set { key, value } | Self::ByteMax { key, value } => {
                is_key_len(key.len()) && value.len() <= MAX_VALUE_BYTES
            }
            Self::Clear { key } | Self::Add { key, .. } => is_key_len(key.len()),
            Self::ClearRange { from, to } => {
                from.len() <= MAX_KEY_BYTES && to.len() <= MAX_KEY_BYTES
            }
            Self::SetStampedKey { prefix, value } => {
                is_key_len(prefix.len() + STAMP_BYTES) && value.len() <= MAX_VALUE_BYTES
            }
            Self::SetStampedValue { key, suffix } => {
                is_key_len(key.len()) && suffix.len() + STAMP_BYTES <= MAX_VALUE_BYTES
            }
        }
    }
}

/// Whether a key of this many bytes is a possible one.
fn is_key_len(len: usize) -> bool {
    (1..=MAX_KEY_BYTES).contains(&len)
}

/// A commit: all of it or nothing, if every guard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What must still be so.
    pub guards: Vec<Guard>,
    /// What changes.
    pub ops: Vec<Op>,
}

impl Plan {
    /// Bytes of all keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let guards: usize = self.guards.iter().map(|g| g.key.len()).sum();
        guards + self.ops.iter().map(Op::bytes).sum::<usize>()
    }

    /// Whether an engine takes this plan: at most [`MAX_PLAN_BYTES`] in all, keys of
    /// 1..=[`MAX_KEY_BYTES`] bytes (bounds of a range may be empty), values of at most
    /// [`MAX_VALUE_BYTES`], and no more stamped operations than a stamp can tell apart.
    #[must_use]
    pub fn within_limits(&self) -> bool {
        let stamped = self.ops.iter().filter(|op| op.is_stamped()).count();
        self.bytes() <= MAX_PLAN_BYTES
            && stamped <= MAX_STAMPED_OPS
            && self.guards.iter().all(|guard| is_key_len(guard.key.len()))
            && self.ops.iter().all(Op::within_limits)
    }
}

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Durable.
    Committed {
        /// The commit's version: a view at it or later shows the plan's rows.
        version: Version,
        /// The stamp of the plan's first stamped operation; of a plan without any, the one it
        /// would have got (which a later plan of the same commit may have).
        stamp: Stamp,
    },
    /// A guard was stale: nothing was applied.
    Conflict,
    /// The engine has no room or can't be reached: nothing was applied.
    Busy,
    /// It may or may not have been applied, now or later. Only a read (after fencing the plan's
    /// guard) can tell; it must not be treated as a failure.
    Unresolved,
    /// The plan is outside a size limit ([`Plan::within_limits`]): nothing was applied, and it
    /// never will be.
    TooLarge,
}
