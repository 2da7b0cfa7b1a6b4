//! What an oracle is told: each thing that somebody saw, as data, so that it can be kept and told
//! again to another oracle.

use bincode::{Decode, Encode};

/// Which message: the `number`th of a lane, counted from 0, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Value {
    /// Which sending device.
    pub lane: u32,
    /// Which of its messages.
    pub number: u32,
    /// Hash of id, sender and body.
    pub hash: u64,
}

/// What it took to make a send durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Course {
    /// One attempt.
    #[default]
    Straight,
    /// Several attempts, none of which is known to have been refused: a refusal may have been
    /// lost with its connection.
    Repeated,
    /// The server refused an attempt: sends made later may stand before this one.
    Refused,
}

/// A user's mark in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Mark {
    /// Up to where it reached one of the user's devices.
    Delivered,
    /// Up to where the user has read.
    Read,
}

/// One thing that was seen. Conversations, lanes and readers are known by their number, counted
/// from 0 in the order of the events that made them; users by numbers of the caller's choice.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Event {
    /// A conversation whose newest seq is `base`.
    Conversation {
        /// Its newest seq before all else.
        base: u64,
    },
    /// A device that sends into a conversation.
    Lane {
        /// Which conversation.
        conversation: u32,
    },
    /// A device that is given what is said in a conversation, from `base` + 1 on.
    Reader {
        /// Which conversation.
        conversation: u32,
        /// What it holds already.
        base: u64,
    },
    /// A sender was told that its message is durable; see [`super::Oracle::acknowledged`].
    Acknowledged {
        /// The message.
        value: Value,
        /// Where it stands.
        seq: u64,
        /// [`super::Oracle::floor`] when it was sent.
        floor: u64,
        /// What it took.
        course: Course,
    },
    /// A device was given a message.
    Delivered {
        /// Which device.
        reader: u32,
        /// The message.
        value: Value,
        /// Where it stands.
        seq: u64,
    },
    /// A device was told that it can't be given these any more.
    Missing {
        /// Which device.
        reader: u32,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The history holds a message; told by rising seq.
    ReadBack {
        /// Which conversation.
        conversation: u32,
        /// The message.
        value: Value,
        /// Where it stands.
        seq: u64,
    },
    /// A user's device moved the user's mark.
    Marked {
        /// Which conversation.
        conversation: u32,
        /// Whose mark.
        user: u32,
        /// Which mark.
        mark: Mark,
        /// Up to here.
        seq: u64,
    },
    /// A device was shown somebody's mark.
    Shown {
        /// Which device.
        reader: u32,
        /// Whose mark.
        user: u32,
        /// Which mark.
        mark: Mark,
        /// Up to here.
        seq: u64,
    },
    /// A user came online, or left.
    Online {
        /// Who.
        user: u32,
        /// Whether the user is online now.
        online: bool,
    },
    /// A device was shown somebody's presence.
    Seen {
        /// Which device.
        reader: u32,
        /// Whose presence.
        user: u32,
        /// What it was shown.
        online: bool,
    },
    /// All is at rest, and was for long enough: everybody must have everything and see the same.
    Settled,
    /// A fault that somebody else found, in words: a send refused for good, a connection closed.
    Failed {
        /// What happened.
        words: String,
    },
    /// The end of a history: how many events went before, and the hash of their bytes.
    End {
        /// How many.
        events: u64,
        /// XXH3 of all bytes before this event.
        hash: u64,
    },
}
