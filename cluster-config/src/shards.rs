//! How many workers there are of a kind.

/// Section `shards`: by default one of a kind for each core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shards {
    /// Of sessions.
    pub sessions: Count,
    /// Of conversations.
    pub conversations: Count,
    /// Of presence entries.
    pub presence: Count,
}

/// A number of workers; written 0 in the file to let the machine decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// The machine decides.
    #[default]
    Auto,
    /// So many; never 0.
    Fixed(usize),
}

impl Count {
    /// The number, with what `Auto` stands for here; never 0.
    #[must_use]
    pub fn or(self, auto: usize) -> usize {
        match self {
            Self::Auto => auto.max(1),
            Self::Fixed(count) => count.max(1),
        }
    }

    /// The number, where `Auto` stands for one a core.
    #[must_use]
    pub fn or_cores(self) -> usize {
        self.or(std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get))
    }
}

impl From<usize> for Count {
    fn from(count: usize) -> Self {
        match count {
            0 => Self::Auto,
            count => Self::Fixed(count),
        }
    }
}
