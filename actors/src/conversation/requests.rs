//! What members ask of a conversation beside sending: marks, typing, blocks. Pure.

use super::ending::refuse_early;
use super::{Conversation, MAX_EARLY, Phase, refused};
use crate::effect::Effect;
use crate::message::{ConversationMsg, Envelope, PresenceMsg};
use crate::time::Now;
use rookery_protocol::ErrorCode;

impl Conversation {
    /// Marks and typing: only for members, and not worth a lookup.
    pub(super) fn member_request(&mut self, now: Now, msg: ConversationMsg, out: &mut Vec<Effect>) {
        self.touch(now, out);
        let Phase::Ready(ready) = &mut self.phase else {
            if self.early.len() < MAX_EARLY {
                self.early.push(msg);
            } else if !matches!(msg, ConversationMsg::Typing { .. }) {
                refuse_early(msg, ErrorCode::Busy, out);
            }
            return;
        };
        match msg {
            ConversationMsg::Mark { from, kind, seq } => {
                if !ready.members.contains(&from.user) {
                    return refused(from, ErrorCode::NotAMember, out);
                }
                if seq > ready.head {
                    return refused(from, ErrorCode::BeyondHead, out);
                }
                ready.mark(now, from.user, kind, seq, out);
            }
            ConversationMsg::Typing { from, active } => {
                if !ready.members.contains(&from.user) {
                    return refused(from, ErrorCode::NotAMember, out);
                }
                if ready.people.any_block() {
                    return;
                }
                for member in ready.members.iter().filter(|m| **m != from.user) {
                    let typing =
                        PresenceMsg::Typing { conversation: self.id, user: from.user, active };
                    out.push(Effect::Tell(Envelope::Presence(*member, typing)));
                }
            }
            ConversationMsg::Block { from, request, blocked } => {
                self.block(now, (from, request, blocked), out);
            }
            _ => {}
        }
    }
}
