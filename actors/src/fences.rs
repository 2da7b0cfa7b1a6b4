//! The fences of the slots a conversation shard works for. Pure.
//!
//! Safety: a fence is handed to conversations only between the take-over that wrote it and the
//! first sign that it may have been taken away. Liveness: every conversation that waits for a
//! take-over is answered when it ends, however it ends.

use crate::plant::{self, Bug};
use bytes::Bytes;
use rookery_protocol::ConversationId;
use rookery_store::{Fence, Slot, TakeOver};
use std::collections::BTreeMap;

/// What to do for a conversation that needs its slot's fence.
#[derive(Debug, PartialEq, Eq)]
pub enum Need {
    /// It is held: answer at once.
    Held(Fence),
    /// Nobody has asked yet: start a take-over.
    Start,
    /// A take-over is under way.
    Wait,
}

enum SlotState {
    Taking(Vec<ConversationId>),
    Held(Fence),
}

/// The fences of one shard.
#[derive(Default)]
pub struct Fences {
    slots: BTreeMap<Slot, SlotState>,
}

impl Fences {
    /// A conversation needs the fence of its slot.
    pub fn need(&mut self, slot: Slot, conversation: ConversationId) -> Need {
        match self.slots.get_mut(&slot) {
            Some(SlotState::Held(fence)) => Need::Held(fence.clone()),
            Some(SlotState::Taking(waiting)) => {
                waiting.push(conversation);
                Need::Wait
            }
            None => {
                self.slots.insert(slot, SlotState::Taking(vec![conversation]));
                Need::Start
            }
        }
    }

    /// A take-over ended: who waited for it, and the fence if there is one.
    pub fn taken(&mut self, slot: Slot, result: TakeOver) -> (Vec<ConversationId>, Option<Fence>) {
        let waiting = match self.slots.remove(&slot) {
            Some(SlotState::Taking(waiting)) => waiting,
            Some(held @ SlotState::Held(_)) => {
                self.slots.insert(slot, held);
                return (Vec::new(), None);
            }
            None => Vec::new(),
        };
        match result {
            TakeOver::Held(fence) => {
                self.slots.insert(slot, SlotState::Held(fence.clone()));
                (waiting, Some(fence))
            }
            TakeOver::Contended | TakeOver::Unavailable => (waiting, None),
        }
    }

    /// Drops the fences of slots that are not kept: other nodes work for them now.
    pub fn keep(&mut self, kept: impl Fn(Slot) -> bool) {
        self.slots.retain(|slot, state| matches!(state, SlotState::Taking(_)) || kept(*slot));
    }

    /// A conversation found its fence stale. Only that very fence is dropped: a newer one of the
    /// same slot stays, or conversations would take it from each other in turns.
    pub fn drop_fence(&mut self, slot: Slot, value: &Bytes) {
        if plant::is(Bug::FenceKept) {
            return;
        }
        if let Some(SlotState::Held(fence)) = self.slots.get(&slot)
            && fence.value == *value
        {
            self.slots.remove(&slot);
        }
    }

    /// The outcome of a plan of this slot will never be known: the next take-over makes that plan
    /// harmless or visible.
    pub fn doubt(&mut self, slot: Slot) {
        if let Some(SlotState::Held(_)) = self.slots.get(&slot) {
            self.slots.remove(&slot);
        }
    }
}
