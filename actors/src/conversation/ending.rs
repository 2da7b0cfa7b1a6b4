//! How an activation of a conversation ends before its time: another node has its slot, its fence
//! is stale, or an outcome is not known.

use super::people::answer;
use super::{Conversation, Phase, refused};
use crate::effect::Effect;
use crate::message::ConversationMsg;
use crate::plant::{self, Bug};
use rookery_protocol::ErrorCode;

impl Conversation {
    /// What is in flight goes on; what waits is refused, and its senders turn to the new owner.
    pub(super) fn hand_off(&mut self, out: &mut Vec<Effect>) {
        self.leaving = true;
        self.flushing = true;
        if let Phase::Ready(ready) = &mut self.phase {
            if plant::is(Bug::HandOffDropsMarks) {
                ready.marks.forget();
            }
            self.fail_queue(ErrorCode::Moved, out);
            self.refuse_wishes(ErrorCode::Moved, out);
        } else {
            self.give_up(ErrorCode::Moved, out);
        }
    }

    pub(super) fn drop_fence(&mut self, out: &mut Vec<Effect>) {
        if let Phase::Ready(ready) = &self.phase {
            let value = ready.fence.value.clone();
            out.push(Effect::DropFence { slot: ready.fence.slot, value });
        }
    }

    /// Refuses everything that waits and ends this activation; what nobody waits for is left to the next.
    pub(super) fn give_up(&mut self, code: ErrorCode, out: &mut Vec<Effect>) {
        self.fail_queue(code, out);
        self.refuse_wishes(code, out);
        for msg in std::mem::take(&mut self.early) {
            refuse_early(msg, code, out);
        }
        self.keep_marks();
        self.stop(out);
    }
}

/// Refuses what came before the conversation was loaded.
pub(super) fn refuse_early(msg: ConversationMsg, code: ErrorCode, out: &mut Vec<Effect>) {
    match msg {
        ConversationMsg::Mark { from, .. } | ConversationMsg::Typing { from, .. } => {
            refused(from, code, out);
        }
        ConversationMsg::Block { from, request, .. } => answer(from, request, Some(code), out),
        _ => {}
    }
}
