//! What the keeper of a node's membership does next: the decisions around [`Membership`] that need
//! no store, link or clock. Pure; the shell's keeper and the simulation's carry them out.
//!
//! ```text
//! look at the store -> looked -> publish the view -> linked -> carry out the commits -> next
//!                  `-> blind (it could not be read)
//! ```

use super::{Attempt, Load, Membership, Phase, Profile, Refused, Timing, View};
use crate::link::NodeKey;
use rookery_store::{Members, Outcome, Plan};
use std::collections::BTreeSet;

/// A node that joins waits this long for links to the members before it takes slots.
const LINKS_PATIENCE_MS: u64 = 3_000;
/// After a commit that changed where the node is in its life, it looks again this soon.
const AT_ONCE_MS: u64 = 5;
/// Between two attempts to begin a life that was refused for a lasting reason.
const REBIRTH_PAUSE_MS: u64 = 2_000;

/// What the node is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// It works.
    Serve,
    /// It gives its slots away.
    Drain,
    /// It gives its lease back.
    Leave,
}

/// A commit that a look led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    /// What it is for; goes to [`Keeping::committed`] with the outcome.
    pub attempt: Attempt,
    /// The plan.
    pub plan: Plan,
    /// It changes who the members are: once it happened, all nodes should look.
    pub changes: bool,
}

/// What a look led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Looked {
    /// To be published first.
    pub view: View,
    /// To be carried out then, in this order.
    pub commits: Vec<Commit>,
}

/// What comes after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another look in so many milliseconds.
    LookIn(u64),
    /// This life is over: what belonged to it ends, and another one begins after a pause.
    Reborn(Refused, u64),
    /// The lease was given back: nothing more.
    Left,
}

/// See the module.
pub struct Keeping {
    core: Membership,
    timing: Timing,
    wish: Wish,
    joining_since_ms: Option<u64>,
    changed: bool,
}

impl Keeping {
    /// The keeper of a life that has not begun yet. The incarnation must never have been used before.
    #[must_use]
    pub fn new(profile: Profile, incarnation: u64, timing: Timing) -> Self {
        let core = Membership::new(profile, incarnation, timing);
        Self { core, timing, wish: Wish::Serve, joining_since_ms: None, changed: false }
    }

    /// This node, in this life.
    #[must_use]
    pub fn me(&self) -> NodeKey {
        self.core.me()
    }

    /// Where it is in its life.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        self.core.phase()
    }

    /// Until when the last renewal allows this node to work, on its own clock.
    #[must_use]
    pub fn serves_until_ms(&self) -> u64 {
        self.core.serves_until_ms()
    }

    /// What the node is to become; to be said before each look.
    pub fn wish(&mut self, wish: Wish) {
        self.wish = wish;
        match wish {
            Wish::Serve => {}
            Wish::Drain => self.core.drain(),
            Wish::Leave => self.core.leave(),
        }
    }

    /// To which lives there are links; to be said before each look.
    pub fn linked_to(&mut self, linked: BTreeSet<NodeKey>) {
        self.core.linked_to(linked);
    }

    /// The store was read: the read started at `started_ms`, `now_ms` is now.
    pub fn looked(
        &mut self,
        started_ms: u64,
        now_ms: u64,
        load: Load,
        members: &Members,
        before: &View,
    ) -> Looked {
        self.changed = false;
        let decision = self.core.look(started_ms, now_ms, load, members, before);
        let outside = *self.core.phase() == Phase::Outside;
        let commits = decision.commits.into_iter().map(|(attempt, plan)| {
            // Those that change who the members are guard on the epoch too.
            let changes = plan.guards.len() > 1 || outside;
            Commit { attempt, plan, changes }
        });
        Looked { commits: commits.collect(), view: decision.view }
    }

    /// The store could not be read: the view stays, unless it is too old to work by it; then it is
    /// replaced by the one returned.
    #[must_use]
    pub fn blind(&mut self, now_ms: u64, view: &View) -> Option<View> {
        self.changed = false;
        (view.serving && !self.core.is_serving(now_ms)).then(|| view.not_serving())
    }

    /// Whether this node is linked to all active members: a joining node takes slots once it is, or
    /// has waited long enough. True: it goes on without some.
    pub fn linked(&mut self, now_ms: u64, linked: bool) -> bool {
        if *self.core.phase() != Phase::Joining {
            return false;
        }
        let since_ms = *self.joining_since_ms.get_or_insert(now_ms);
        let patient = now_ms < since_ms + LINKS_PATIENCE_MS;
        if linked || !patient {
            self.core.ready();
        }
        !linked && !patient
    }

    /// What became of a commit. True: the members changed, and all nodes should look.
    pub fn committed(&mut self, attempt: Attempt, changes: bool, outcome: &Outcome) -> bool {
        self.core.committed(attempt, outcome);
        let changed = changes && matches!(outcome, Outcome::Committed { .. });
        self.changed |= changed;
        changed
    }

    /// What comes now that a look and its commits are done.
    #[must_use]
    pub fn next(&self) -> Next {
        match self.core.phase() {
            Phase::Left => Next::Left,
            Phase::Ended(why) => {
                let at_once = self.wish == Wish::Leave || *why == Refused::DeclaredDead;
                Next::Reborn(why.clone(), if at_once { AT_ONCE_MS } else { REBIRTH_PAUSE_MS })
            }
            _ if self.changed => Next::LookIn(AT_ONCE_MS),
            _ => Next::LookIn(self.timing.look_ms()),
        }
    }
}
