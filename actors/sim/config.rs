//! What a seed decides before its run begins: how big the cluster is, and how ill it fares.
//!
//! Each kind of fault is off in about half of the seeds and common in some: faults that are always
//! a little present hide the long quiet stretches in which others do their harm.

use super::rng::Rng;

/// The dice of one run. Chances are per mille.
#[derive(Clone, Debug)]
pub struct Config {
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Shards of each kind on each node.
    pub shards: usize,
    /// Users, each with one conversation with each other.
    pub users: usize,
    /// Most devices of a user.
    pub devices: usize,
    /// How long faults go on, milliseconds.
    pub chaos_ms: u64,
    /// Between two actions of a device on average, milliseconds.
    pub pace_ms: u64,
    /// Largest body in bytes.
    pub body_bytes: u64,
    /// Devices grant the smallest window.
    pub small_windows: bool,
    /// Chance that a device is slow to acknowledge.
    pub slow_device: u64,
    /// Nothing happens that may lose a hint or a mark (hints of a commit whose outcome was unknown, and
    /// marks that wait when a fence is lost, are made up for only within the minute): then all must
    /// come right soon, not only at last.
    pub gentle: bool,
    /// One node works without a cluster.
    pub alone: bool,
    /// How far monotonic clocks may run fast or slow, per mille.
    pub drift: u64,
    /// Chance that what a link hands over is lost all the same: worse than it promises.
    pub hint_drop: u64,
    /// Chance that it comes twice, the second time late.
    pub hint_double: u64,
    /// Chance that a frame vanishes from a connection, which TCP promises not to do.
    pub frame_drop: u64,
    /// Chance that it comes twice.
    pub frame_double: u64,
    /// Chance that later ones overtake it.
    pub frame_late: u64,
    /// Longest way of a frame, milliseconds.
    pub link_ms: u64,
    /// Ways that are cut hold frames back instead of losing them.
    pub cuts_hold: bool,
    /// Bytes that links let each other have in flight.
    pub link_window: usize,
    /// Bytes that may wait for a link.
    pub link_queue: usize,
    /// Longest commit, milliseconds.
    pub store_ms: u64,
    /// Chance of a refusal, of a stale guard that was none, of each kind of unknown outcome.
    pub store_busy: u64,
    /// See `store_busy`.
    pub store_conflict: u64,
    /// See `store_busy`.
    pub store_unresolved: u64,
    /// Chance that a read fails.
    pub view_fails: u64,
    /// Chance that a handler panics, per message.
    pub panic: u64,
    /// Between faults of whole nodes, shards, links, clocks on average, milliseconds; 0: none.
    pub big_fault_ms: u64,
    /// After healing the run idles so long before it is judged, milliseconds.
    pub idle_ms: u64,
}

impl Config {
    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Self {
        let nodes = *[1, 2, 2, 3, 3, 3, 3, 4].get(rng.index(8)).unwrap_or(&3);
        let gentle = rng.chance(300);
        let (hostile_hints, hostile_frames) = (rng.chance(300), rng.chance(300));
        let hostile = |rng: &mut Rng, really: bool, most| if really { often(rng, most) } else { 0 };
        let tight = rng.chance(400);
        Self {
            nodes,
            gentle,
            alone: nodes == 1 && rng.chance(500),
            drift: if rng.chance(300) { 150 } else { 0 },
            shards: usize::try_from(rng.range(1, 2)).unwrap_or(1),
            users: usize::try_from(rng.range(2, 3)).unwrap_or(2),
            devices: usize::try_from(rng.range(1, 2)).unwrap_or(1),
            chaos_ms: rng.range(5_000, 40_000),
            pace_ms: rng.range(300, 1_500),
            body_bytes: if rng.chance(250) { 6_000 } else { 40 },
            small_windows: rng.chance(500),
            slow_device: if gentle { 0 } else { often(rng, 300) },
            hint_drop: hostile(rng, hostile_hints && !gentle, 150),
            hint_double: hostile(rng, hostile_hints, 300),
            frame_drop: hostile(rng, hostile_frames && !gentle, 50),
            frame_double: hostile(rng, hostile_frames, 100),
            frame_late: hostile(rng, hostile_frames, 50),
            cuts_hold: rng.chance(500),
            link_window: if tight { 3_000 } else { 1 << 20 },
            link_queue: if tight && !gentle { 12_000 } else { 8 << 20 },
            link_ms: if rng.chance(300) { rng.range(50, 3_000) } else { 5 },
            store_ms: if rng.chance(300) { rng.range(20, 1_000) } else { 5 },
            store_busy: often(rng, 100),
            store_conflict: if gentle { 0 } else { often(rng, 60) },
            store_unresolved: if gentle { 0 } else { often(rng, 150) },
            view_fails: often(rng, 100),
            panic: if gentle { 0 } else { often(rng, 15) },
            big_fault_ms: if rng.chance(700) { rng.range(500, 8_000) } else { 0 },
            idle_ms: if rng.chance(125) { 400_000 } else { 0 },
        }
    }
}

/// A chance that is nought in half of the seeds and up to `most` in the others.
fn often(rng: &mut Rng, most: u64) -> u64 {
    if rng.chance(500) { 0 } else { rng.range(1, most) }
}
