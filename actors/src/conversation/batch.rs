//! What an append tells everybody: its entries, encoded once.

use crate::message::{Batch, BatchEntry};
use bytes::Bytes;
use rookery_protocol::server::Message;
use rookery_protocol::{ConversationId, Entry, ServerFrame};
use rookery_store::Version;

/// Encodes committed entries once, for everybody.
pub(super) fn encode(conversation: ConversationId, entries: &[Entry], version: Version) -> Batch {
    let bytes: usize = entries.iter().map(|e| e.body.len() + 80).sum();
    let mut frames = Vec::with_capacity(bytes);
    let mut headers = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = frames.len();
        let message = Message { conversation, entry: entry.clone() };
        ServerFrame::Message(message).encode(&mut frames);
        headers.push(BatchEntry {
            seq: entry.seq,
            time_ms: entry.time_ms,
            device: entry.device,
            client_msg_id: entry.client_msg_id,
            frame: start..frames.len(),
        });
    }
    Batch { conversation, entries: headers, frames: Bytes::from(frames), version }
}
