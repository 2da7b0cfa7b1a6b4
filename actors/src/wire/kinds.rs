//! The numbers of all kinds of messages. A number is never used again for something else: one
//! that is no longer sent stays here, marked.

use std::ops::RangeInclusive;

/// The kinds that version 1 of links knows; all others came with version 2.
pub(super) const OF_VERSION_1: &[RangeInclusive<u8>] =
    &[SEND..=TYPING, REGISTER..=HUBS_CHANGED, SENT..=PULL, END_DEVICE..=HINTS_LOST];

// To a conversation.
pub(super) const SEND: u8 = 1;
pub(super) const MARK: u8 = 2;
pub(super) const TYPING: u8 = 3;
/// As `SEND`, of a change of a group: an older owner would take it for a message.
pub(super) const CHANGE: u8 = 44;
/// What an owner left undone; an older one skips it, as if the owner had been lost.
pub(super) const UNSETTLED: u8 = 80;

// To hubs.
pub(super) const REGISTER: u8 = 10;
pub(super) const UNREGISTER: u8 = 11;
pub(super) const WATCH: u8 = 12;
pub(super) const UNWATCH: u8 = 13;
pub(super) const HUBS_DELIVER: u8 = 14;
pub(super) const HUBS_RECEIPTS: u8 = 15;
pub(super) const HUBS_TYPING: u8 = 16;
pub(super) const HUBS_CHANGED: u8 = 17;

// To sessions.
pub(super) const SENT: u8 = 30;
pub(super) const REFUSED: u8 = 31;
pub(super) const END: u8 = 32;
pub(super) const DELIVER: u8 = 33;
pub(super) const RECEIPTS: u8 = 34;
pub(super) const TYPING_TO: u8 = 35;
pub(super) const CHANGED: u8 = 36;
pub(super) const PRESENCE: u8 = 37;
pub(super) const PULL: u8 = 38;
// 39 to 42 are kept for what conversations tell.
pub(super) const MOVED: u8 = 43;

// About users' own things; since version 2 of links.
pub(super) const BLOCK: u8 = 60;
pub(super) const OWN: u8 = 61;
pub(super) const AWAY: u8 = 62;
pub(super) const ANSWERED: u8 = 63;
pub(super) const OWN_TO: u8 = 64;

// To a node.
pub(super) const END_DEVICE: u8 = 50;
pub(super) const HUB_LOST: u8 = 51;
pub(super) const HUBS_LOST: u8 = 52;
pub(super) const LOOK: u8 = 53;
pub(super) const HINTS_LOST: u8 = 54;
