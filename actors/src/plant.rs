//! Bugs planted on purpose, to see that the simulation finds them. Pure.
//!
//! Only with the feature `simulation`, which no build of a node has, can one be switched on, for the
//! thread that asks. Without it [`is`] is constantly false and the planted lines are compiled away.

/// A bug, named by what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Messages are announced when their plan is handed over, not when it is durable.
    AckBeforeCommit,
    /// Retries are taken for new messages.
    NoDedupe,
    /// Messages leave no trace that a later retry could be recognised by.
    NoDedupeRow,
    /// A place is jumped over now and then.
    SkippedSeq,
    /// Appends don't guard on the fence.
    StaleOwner,
    /// One member gets no pointer to new messages.
    LostInboxRow,
    /// Marks are set instead of raised.
    MarkGoesBack,
    /// An unknown outcome is told as "did not happen", and the activation goes on.
    UnknownIsFailed,
    /// A live batch is passed on whatever is missing before it.
    NoGapCheck,
    /// A resume repeats a frame the client had.
    ReplayRepeats,
    /// A resume leaves a frame out.
    ReplaySkips,
    /// A session does not register again when its hub was lost.
    HubForgotten,
    /// The cursor moves although the pull was cut short.
    CursorRunsAhead,
    /// Delivery starts, and the client is not told.
    SyncUnanswered,
    /// A fence is kept although it was found stale.
    FenceKept,
    /// A send that was refused stays in the way of its retry.
    RefusedRemembered,
    /// The head is not moved back to the truth after a commit: two batches get one place.
    HeadNotMoved,
    /// Marks whose write failed are not written again.
    MarksForgotten,
    /// An append whose outcome is not known is not followed up. Not among [`Bug::ALL`], as the next two:
    /// what they lose the minute makes up for, and only a run that can't wait so long shows them.
    DoubtForgotten,
    /// Marks that wait when a fence is lost are lost with it.
    MarksLostWithFence,
    /// Presence of watched users is not asked for again when hints were lost.
    WatchesNotRenewed,
    /// A conversation that is lost leaves its fence to its successor.
    FenceOfTheLost,
    /// A node works by a view that its last renewal doesn't allow any more.
    StaleViewServes,
    /// A node renews its lease although it was declared dead.
    RenewedWhenDead,
    /// To find the own lease in its place counts as a renewal.
    LookIsRenewal,
    /// A lease is ended before it stood still for long enough.
    SuspectedEarly,
    /// A node that is declared dead leaves the epoch as it is.
    EpochNotRaised,
    /// Placement of a new epoch is that of the one before.
    TableOfTheLastEpoch,
    /// Nobody is told that slots have moved.
    MoveNotTold,
    /// A conversation that is handed off leaves its marks unwritten. Not among [`Bug::ALL`]: the next
    /// mark makes up for it, and only a hand-off behind the last one shows (once in some 1,000 seeds).
    HandOffDropsMarks,
    /// A session does not register at the new home of its user.
    HandOffForgets,
    /// Hints that the link refused are not confessed.
    HintsNotConfessed,
    /// A new connection goes on where the old one was, without sending anything again.
    NoResend,
    /// What a link was given before is handed over again.
    NoLinkDedupe,
    /// A message that is missing on a link is not missed.
    NoLinkGapCheck,
    /// A link sends whatever its peer grants.
    CreditIgnored,
    /// A group may be left without an owner.
    OwnerlessGroup,
    /// A change of a group is made whatever its sender's role is.
    RoleUnchecked,
    /// A conversation goes on by the members it was loaded with.
    MembersKept,
    /// Who is added to a group gets no pointer to the entry that says so.
    AddedUntold,
    /// A message that waited for its turn is not held to who is a member by then.
    SenderUnchecked,
}

impl Bug {
    /// Those that a simulation must find within 1,000 seeds.
    pub const ALL: &'static [Self] = &[
        Self::AckBeforeCommit,
        Self::NoDedupe,
        Self::NoDedupeRow,
        Self::SkippedSeq,
        Self::StaleOwner,
        Self::LostInboxRow,
        Self::MarkGoesBack,
        Self::UnknownIsFailed,
        Self::NoGapCheck,
        Self::ReplayRepeats,
        Self::ReplaySkips,
        Self::HubForgotten,
        Self::CursorRunsAhead,
        Self::SyncUnanswered,
        Self::FenceKept,
        Self::RefusedRemembered,
        Self::HeadNotMoved,
        Self::MarksForgotten,
        Self::FenceOfTheLost,
        Self::StaleViewServes,
        Self::RenewedWhenDead,
        Self::LookIsRenewal,
        Self::SuspectedEarly,
        Self::EpochNotRaised,
        Self::TableOfTheLastEpoch,
        Self::MoveNotTold,
        Self::HandOffForgets,
        Self::HintsNotConfessed,
        Self::NoResend,
        Self::NoLinkDedupe,
        Self::NoLinkGapCheck,
        Self::CreditIgnored,
        Self::OwnerlessGroup,
        Self::RoleUnchecked,
        Self::MembersKept,
        Self::AddedUntold,
        Self::SenderUnchecked,
    ];
}

#[cfg(feature = "simulation")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in what this thread runs from now on, or takes it out again.
#[cfg(feature = "simulation")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[cfg(feature = "simulation")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "simulation"))]
#[must_use]
#[inline]
pub const fn is(_: Bug) -> bool {
    false
}
