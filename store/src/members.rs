//! The membership of a cluster as rows: one lease a node, and one epoch for all.
//!
//! Safety
//! - Whatever changes who may hold slots (a node becomes active, drains, leaves, is declared dead)
//!   is one commit that guards on the lease seen and on the epoch seen, and raises the epoch. So
//!   there is one sequence of epochs, and whoever reads epoch `e` reads the same members.
//! - A renewal guards on the lease as its owner knows it: a node that was declared dead, or whose
//!   name another one took, can't renew.
//!
//! What the caller owes: it decides (see `rookery_actors::cluster`); nothing here reads a clock.

use crate::engine::{Engine, ReadError, View};
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan, Version};
use crate::rows::{self, EpochRow, LeaseRow};
use crate::store::Store;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Most leases that are read: a cluster has fewer nodes.
pub const MAX_NODES: usize = 1024;
/// Most bytes of each text of a lease.
pub const MAX_TEXT_BYTES: usize = 256;

/// Where a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeState {
    /// It has a lease and makes itself known; it holds no slots.
    Joining,
    /// It holds slots.
    Active,
    /// It gave its slots away and says goodbye to its sessions.
    Draining,
    /// Its lease stood still and was ended by another node.
    Dead,
}

impl NodeState {
    const fn code(self) -> u8 {
        match self {
            Self::Joining => 1,
            Self::Active => 2,
            Self::Draining => 3,
            Self::Dead => 4,
        }
    }

    fn from_code(code: u8) -> Result<Self, ReadError> {
        match code {
            1 => Ok(Self::Joining),
            2 => Ok(Self::Active),
            3 => Ok(Self::Draining),
            4 => Ok(Self::Dead),
            other => Err(rows::damaged("lease", &format!("state {other} never existed"))),
        }
    }

    /// The state's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Dead => "dead",
        }
    }
}

/// What a node says of itself, and its state. Texts are at most [`MAX_TEXT_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The node's name; its number, the row's key, is a function of it.
    pub name: String,
    /// Which of its lives.
    pub incarnation: u64,
    /// Where it is in this life.
    pub state: NodeState,
    /// Rises with each renewal.
    pub counter: u64,
    /// Where its link listens, `host:port`.
    pub link: String,
    /// Where its clients connect, a WebSocket URL.
    pub endpoint: String,
    /// What it shares its fate with: a rack, a data centre.
    pub zone: String,
    /// How many shares of the slots it takes.
    pub capacity: u32,
    /// Sessions it serves.
    pub sessions: u32,
    /// Milliseconds its last renewal took.
    pub lag_ms: u32,
}

/// A lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// What it says.
    pub lease: Lease,
    /// The row's bytes, for guards.
    value: Bytes,
}

/// All leases and the epoch, as one snapshot shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// How often the members changed; 0: there were never any.
    pub epoch: u64,
    /// The cluster's name, once a node became active.
    pub cluster: Option<String>,
    /// By the node's number.
    pub leases: BTreeMap<u64, HeldLease>,
    epoch_value: Option<Bytes>,
    version: Version,
}

impl Members {
    /// No members, as a fresh store shows it.
    #[must_use]
    pub fn none() -> Self {
        Self {
            epoch: 0,
            cluster: None,
            leases: BTreeMap::new(),
            epoch_value: None,
            version: Version::default(),
        }
    }

    fn lease_guard(&self, node: u64) -> Guard {
        Guard {
            key: own(keys::lease(node)),
            known: self.leases.get(&node).map(|held| held.value.clone()),
            version: self.version,
        }
    }

    /// Writes a node's lease, if its row is still as seen here. The members stay who they are:
    /// for renewals, and for a node that is not active yet.
    #[must_use]
    pub fn renew(&self, node: u64, lease: &Lease) -> Plan {
        let guard = self.lease_guard(node);
        let ops = vec![Op::Set { key: guard.key.clone(), value: encode(lease) }];
        Plan { guards: vec![guard], ops }
    }

    /// Changes who the members are: writes or removes a node's lease and raises the epoch, if both
    /// rows are still as seen here.
    #[must_use]
    pub fn change(&self, cluster: &str, node: u64, lease: Option<&Lease>) -> Plan {
        let guard = self.lease_guard(node);
        let key = guard.key.clone();
        let write = match lease {
            Some(lease) => Op::Set { key, value: encode(lease) },
            None => Op::Clear { key },
        };
        let epoch =
            Guard { key: own(keys::EPOCH), known: self.epoch_value.clone(), version: self.version };
        let row = EpochRow { cluster, epoch: self.epoch.saturating_add(1) };
        let raise = Op::Set { key: epoch.key.clone(), value: rows::encode(&row) };
        Plan { guards: vec![guard, epoch], ops: vec![write, raise] }
    }

    /// Removes the lease of a node that is dead already.
    #[must_use]
    pub fn forget(&self, node: u64) -> Plan {
        let guard = self.lease_guard(node);
        let ops = vec![Op::Clear { key: guard.key.clone() }];
        Plan { guards: vec![guard], ops }
    }
}

fn encode(lease: &Lease) -> Bytes {
    rows::encode(&LeaseRow {
        name: &lease.name,
        incarnation: lease.incarnation,
        state: lease.state.code(),
        counter: lease.counter,
        link: &lease.link,
        endpoint: &lease.endpoint,
        zone: &lease.zone,
        capacity: lease.capacity,
        sessions: lease.sessions,
        lag_ms: lease.lag_ms,
    })
}

fn decode(value: Bytes) -> Result<HeldLease, ReadError> {
    let row = rows::decode::<LeaseRow<'_>>(&value)?;
    let lease = Lease {
        name: row.name.to_owned(),
        incarnation: row.incarnation,
        state: NodeState::from_code(row.state)?,
        counter: row.counter,
        link: row.link.to_owned(),
        endpoint: row.endpoint.to_owned(),
        zone: row.zone.to_owned(),
        capacity: row.capacity,
        sessions: row.sessions,
        lag_ms: row.lag_ms,
    };
    Ok(HeldLease { lease, value })
}

/// Whether a row holds a lease.
///
/// # Errors
/// [`ReadError::Damaged`].
pub(crate) fn judge(value: &[u8]) -> Result<(), ReadError> {
    decode(Bytes::copy_from_slice(value)).map(drop)
}

impl<E: Engine> Store<E> {
    /// All leases and the epoch, in one snapshot.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn members(&self) -> Result<Members, ReadError> {
        let view = self.latest().await?;
        let end = keys::prefix_end(keys::LEASES);
        let found = view.range(keys::LEASES, &end, MAX_NODES, false).await?;
        let epoch_value = view.get(keys::EPOCH).await?;
        let (epoch, cluster) = match &epoch_value {
            Some(value) => {
                let row = rows::decode::<EpochRow<'_>>(value)?;
                (row.epoch, Some(row.cluster.to_owned()))
            }
            None => (0, None),
        };
        let mut leases = BTreeMap::new();
        for (key, value) in found {
            let node = match key.last_chunk::<8>() {
                Some(node) if key.len() == 9 => u64::from_be_bytes(*node),
                _ => return Err(rows::damaged("lease", "its key has another length")),
            };
            leases.insert(node, decode(value)?);
        }
        Ok(Members { epoch, cluster, leases, epoch_value, version: view.version() })
    }
}
