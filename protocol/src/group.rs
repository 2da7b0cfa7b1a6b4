//! Groups: who may do what is the server's to decide; here is how a change is told.
//!
//! A change of a group is a message like any other: `Send` with the kind `Group` and a
//! [`GroupChange`] as its body. So it has a `client_msg_id` and may be retried, it stands in the
//! group's log at a place of its own, and every member's device gets it in order.

use crate::codec::{decode_payload, encode_payload};
use crate::ids::{ClientMsgId, ConversationId, UserId};
use crate::limits::{MAX_GROUP_MEMBERS, MAX_REFERENCE_BYTES, MAX_TITLE_BYTES};
use crate::number;
use crate::open_enum::open_enum;
use bincode::{Decode, Encode};

/// Role of a member who may read, write and leave.
pub const ROLE_MEMBER: u8 = 1;
/// Role of a member who may also add members, remove plain ones, rename, and change the link.
pub const ROLE_ADMIN: u8 = 2;
/// Role of a member who may do everything.
pub const ROLE_OWNER: u8 = 3;

/// Digits of a link's secret: 16 bytes in lower-case hex.
pub const SECRET_DIGITS: usize = 32;

open_enum!(
    /// What a change of a group does. What a field of [`GroupChange`] says is told here; a field
    /// that is not named is empty or 0.
    GroupAction {
        /// Makes the group: `users` are its first members beside its owner, who is the sender;
        /// `text` is its title, `value` 1 shows each member the whole history.
        Create = 1,
        /// Gives it the title `text`.
        Rename = 2,
        /// Gives it the picture that `text` refers to; empty: none.
        SetAvatar = 3,
        /// Makes `users` members.
        Add = 4,
        /// Ends the membership of `users`.
        Remove = 5,
        /// Ends the sender's membership. In the log, `users` names who owns the group from then on
        /// where the server had to choose.
        Leave = 6,
        /// Gives each of `users` the role `value`.
        SetRole = 7,
        /// Makes the sender a member: `text` is the link's secret, which the log leaves out.
        Join = 8,
        /// Makes a link: `text` is its secret, 32 digits of lower-case hex that the client draws at
        /// random and the log leaves out. A former link is no longer good.
        ResetLink = 9,
        /// The link is no longer good.
        CloseLink = 10,
        /// `value` 1: each member sees the whole history. 0: from joining on.
        SetHistory = 11,
    }
);

/// The body of an entry of the kind `Group`.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct GroupChange {
    /// What it does.
    pub action: GroupAction,
    /// Whom it is about, each once.
    pub users: Vec<UserId>,
    /// A role or a switch.
    pub value: u8,
    /// A title, a reference or a secret.
    pub text: String,
}

// The secret of a link never reaches a log through `{:?}`.
impl std::fmt::Debug for GroupChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupChange")
            .field("action", &self.action)
            .field("users", &self.users)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl GroupChange {
    /// A change that says nothing but what it does.
    #[must_use]
    pub const fn new(action: GroupAction) -> Self {
        Self { action, users: Vec::new(), value: 0, text: String::new() }
    }

    /// As the body of a `Send` or an entry.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        encode_payload(self)
    }

    /// Reads a body; `None`: it is none, for example because its sender's account was deleted.
    #[must_use]
    pub fn from_body(body: &[u8]) -> Option<Self> {
        decode_payload(number::SEND, body).ok()
    }

    /// As the log keeps it: without a secret.
    #[must_use]
    pub fn without_secret(self) -> Self {
        match self.action {
            GroupAction::Join | GroupAction::ResetLink => Self { text: String::new(), ..self },
            _ => self,
        }
    }

    /// Whether each field is what its action takes, whoever the sender and whatever the group is.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let Self { action, users, value, text } = self;
        let mut sorted = users.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let each_once = sorted.len() == users.len() && users.len() <= MAX_GROUP_MEMBERS;
        let nobody = users.is_empty();
        let title = !text.trim().is_empty() && text.len() <= MAX_TITLE_BYTES;
        let silent = text.is_empty();
        each_once
            && match action {
                GroupAction::Create => title && *value <= 1,
                GroupAction::Rename => nobody && title && *value == 0,
                GroupAction::SetAvatar => {
                    nobody && text.len() <= MAX_REFERENCE_BYTES && *value == 0
                }
                GroupAction::Add | GroupAction::Remove => !nobody && silent && *value == 0,
                GroupAction::Leave | GroupAction::CloseLink => nobody && silent && *value == 0,
                GroupAction::SetRole => {
                    !nobody && silent && (ROLE_MEMBER..=ROLE_OWNER).contains(value)
                }
                GroupAction::Join | GroupAction::ResetLink => {
                    nobody && *value == 0 && secret(text).is_some()
                }
                GroupAction::SetHistory => nobody && silent && *value <= 1,
                GroupAction::Other(_) => false,
            }
    }
}

/// The bytes of a link's secret; `None`: it is not 32 digits of lower-case hex.
#[must_use]
pub fn secret(text: &str) -> Option<[u8; 16]> {
    let digits: &[u8; SECRET_DIGITS] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// A secret as a link carries it.
#[must_use]
pub fn secret_text(secret: &[u8; 16]) -> String {
    use std::fmt::Write as _;
    secret.iter().fold(String::with_capacity(SECRET_DIGITS), |mut text, byte| {
        // Writing to a string can't fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// The id of the group that a message with this id creates: its last 8 bytes, big endian. So a
/// retry of the creation goes where the first attempt went.
#[must_use]
pub const fn group_id(creation: ClientMsgId) -> ConversationId {
    let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h] = creation.0;
    ConversationId(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: GroupAction) -> GroupChange {
        GroupChange::new(action)
    }

    #[test]
    fn a_change_comes_back_as_it_was_and_what_is_none_is_refused() {
        let users = vec![UserId(7), UserId(u64::MAX)];
        let add = GroupChange { users, ..change(GroupAction::Add) };
        assert_eq!(GroupChange::from_body(&add.to_body()), Some(add));
        assert_eq!(GroupChange::from_body(b""), None);
        assert_eq!(GroupChange::from_body(&[4, 250]), None);
    }

    #[test]
    fn each_action_takes_its_own_fields_and_no_others() {
        let text = |text: &str| text.to_owned();
        let (one, two) = (vec![UserId(1)], vec![UserId(1), UserId(2)]);
        let digits = "0123456789abcdef0123456789abcdef";
        let good = [
            GroupChange { users: two.clone(), text: text("Lunch"), ..change(GroupAction::Create) },
            GroupChange { text: text("Lunch"), value: 1, ..change(GroupAction::Create) },
            GroupChange { text: text("Dinner"), ..change(GroupAction::Rename) },
            change(GroupAction::SetAvatar),
            GroupChange { users: two, ..change(GroupAction::Add) },
            GroupChange { users: one.clone(), ..change(GroupAction::Remove) },
            change(GroupAction::Leave),
            GroupChange { users: one.clone(), value: 3, ..change(GroupAction::SetRole) },
            GroupChange { text: text(digits), ..change(GroupAction::Join) },
            GroupChange { text: text(digits), ..change(GroupAction::ResetLink) },
            change(GroupAction::CloseLink),
            GroupChange { value: 1, ..change(GroupAction::SetHistory) },
        ];
        for change in &good {
            assert!(change.is_well_formed(), "{change:?}");
        }
        let twice = vec![UserId(1), UserId(1)];
        let many = (0..=MAX_GROUP_MEMBERS as u64).map(UserId).collect();
        let long = "x".repeat(MAX_TITLE_BYTES + 1);
        let bad = [
            GroupChange { text: text(" "), ..change(GroupAction::Create) },
            GroupChange { text: long, ..change(GroupAction::Rename) },
            GroupChange {
                text: "x".repeat(MAX_REFERENCE_BYTES + 1),
                ..change(GroupAction::SetAvatar)
            },
            change(GroupAction::Add),
            GroupChange { users: twice, ..change(GroupAction::Add) },
            GroupChange { users: many, ..change(GroupAction::Add) },
            GroupChange { users: one.clone(), ..change(GroupAction::Leave) },
            GroupChange { users: one.clone(), value: 4, ..change(GroupAction::SetRole) },
            GroupChange { users: one, ..change(GroupAction::SetRole) },
            GroupChange { text: text(&digits.to_uppercase()), ..change(GroupAction::Join) },
            GroupChange { text: text("00"), ..change(GroupAction::ResetLink) },
            GroupChange { value: 2, ..change(GroupAction::SetHistory) },
            change(GroupAction::Other(200)),
        ];
        for change in &bad {
            assert!(!change.is_well_formed(), "{change:?}");
        }
    }

    #[test]
    fn a_secret_is_read_as_it_was_told_and_stays_out_of_log_and_debug() {
        let bytes = [0x0f; 16];
        let told = secret_text(&bytes);
        assert_eq!(secret(&told), Some(bytes));
        let join = GroupChange { text: told.clone(), ..change(GroupAction::Join) };
        assert!(!format!("{join:?}").contains(&told));
        assert_eq!(join.without_secret(), change(GroupAction::Join));
    }

    #[test]
    fn a_group_has_the_id_that_its_creation_ends_with() {
        let id = ClientMsgId::from_parts(1, [0, 0, 0x8f, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(group_id(id), ConversationId(0x8f01_0203_0405_0607));
    }
}
