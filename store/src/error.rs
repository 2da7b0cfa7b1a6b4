//! Why an operation of the layer failed, and the bounded retry that most of them share.

use crate::engine::ReadError;
use crate::plan::{Outcome, Version};
use std::fmt;

/// Why an operation failed. Only [`StoreError::Unresolved`] leaves open whether it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A row could not be read; nothing was written.
    Read(ReadError),
    /// The user is no member of the conversation, or it does not exist.
    NotAMember,
    /// Another account holds the name.
    NameTaken,
    /// The invitation does not exist, has expired, or was used up.
    NotInvited,
    /// The id (or token hash) chosen for a new row is in use: choose another.
    IdTaken,
    /// There is no such user, or no such device of the user.
    UnknownUser,
    /// An argument is outside of what a row may hold: nothing was written, and it never will be.
    BadArgument(&'static str),
    /// A list of the user's holds as much as it may; which one. Nothing was written.
    Full(&'static str),
    /// The engine has no room, or others kept changing the same rows: nothing was written; retry.
    Busy,
    /// The outcome is unknown, even after reading again: it may have happened, or still happen.
    Unresolved,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::NotAMember => f.write_str("the user is no member of the conversation"),
            Self::NameTaken => f.write_str("another account holds the name"),
            Self::NotInvited => f.write_str("the invitation is not good"),
            Self::IdTaken => f.write_str("the id chosen for a new row is in use"),
            Self::UnknownUser => f.write_str("there is no such user or device"),
            Self::BadArgument(what) => write!(f, "bad argument: {what}"),
            Self::Full(what) => write!(f, "as many {what} as there may be"),
            Self::Busy => f.write_str("the store is busy; nothing was written"),
            Self::Unresolved => f.write_str("the outcome of the commit is unknown"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Most times an operation reads, decides and commits before it gives up.
pub(crate) const MAX_ATTEMPTS: u32 = 8;

/// Book-keeping of a read-decide-commit loop. It remembers whether an attempt is in doubt: from
/// then on no failure may be told as "nothing happened".
///
/// An attempt in doubt can still be applied while a later one is under way. That is harmless as
/// long as each attempt guards on what it read: whichever comes second finds its guard stale.
#[derive(Debug)]
pub(crate) struct Attempts {
    left: u32,
    in_doubt: bool,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self { left: MAX_ATTEMPTS, in_doubt: false }
    }

    /// Counts an attempt.
    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| self.or_in_doubt(StoreError::Busy))?;
        Ok(())
    }

    /// `Some` when committed, `None` when the caller must read again.
    pub(crate) fn settle(&mut self, outcome: Outcome) -> Result<Option<Version>, StoreError> {
        match outcome {
            Outcome::Committed { version, .. } => Ok(Some(version)),
            Outcome::Conflict => Ok(None),
            Outcome::Unresolved => {
                self.in_doubt = true;
                Ok(None)
            }
            Outcome::Busy => Err(self.or_in_doubt(StoreError::Busy)),
            Outcome::TooLarge => Err(StoreError::BadArgument("over the size limit of a commit")),
        }
    }

    /// Whether an attempt so far may have been applied.
    pub(crate) fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// What a read said; its failure while an attempt is in doubt leaves the outcome open.
    pub(crate) fn read<T>(&self, result: Result<T, ReadError>) -> Result<T, StoreError> {
        result.map_err(|error| self.or_in_doubt(error))
    }

    /// `error`, unless an attempt is in doubt.
    pub(crate) fn or_in_doubt(&self, error: impl Into<StoreError>) -> StoreError {
        if self.in_doubt { StoreError::Unresolved } else { error.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_attempt_in_doubt_no_failure_says_that_nothing_happened() {
        let mut attempts = Attempts::new();
        assert_eq!(attempts.settle(Outcome::Conflict), Ok(None));
        assert_eq!(attempts.settle(Outcome::Busy), Err(StoreError::Busy));
        assert_eq!(attempts.settle(Outcome::Unresolved), Ok(None));
        assert_eq!(attempts.settle(Outcome::Busy), Err(StoreError::Unresolved));
        let read = attempts.or_in_doubt(ReadError::Unavailable("gone".into()));
        assert_eq!(read, StoreError::Unresolved);
    }

    #[test]
    fn attempts_are_bounded() {
        let mut attempts = Attempts::new();
        let begun = (0..100).take_while(|_| attempts.begin().is_ok()).count();
        assert_eq!(begun, MAX_ATTEMPTS as usize);
        assert_eq!(attempts.begin(), Err(StoreError::Busy));
    }
}
