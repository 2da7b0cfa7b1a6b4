//! The bodies of messages about users' own things: blocks, being away, and that something changed.

use super::body::{Address, error_code, here, read};
use super::{WireError, kinds};
use crate::cluster::NodeId;
use crate::message::{ConversationMsg, Envelope, PresenceMsg, SessionMsg};
use bytes::Bytes;

/// Reads a body of these kinds.
pub(super) fn decode(me: NodeId, kind: u8, body: &Bytes) -> Result<Envelope, WireError> {
    Ok(match kind {
        kinds::BLOCK => {
            let (to, from, request, blocked): (_, Address, _, _) = read(body, "block")?;
            let msg = ConversationMsg::Block { from: from.into(), request, blocked };
            Envelope::Conversation(to, msg)
        }
        kinds::OWN => Envelope::Presence(read(body, "user")?, PresenceMsg::Own),
        kinds::AWAY => {
            let (to, session, away) = read(body, "away")?;
            Envelope::Presence(to, PresenceMsg::Away { session, away })
        }
        kinds::ANSWERED => {
            let (to, request, refused): (_, _, Option<u16>) = read(body, "answer")?;
            let refused = refused.map(error_code);
            Envelope::Session(here(me, to), SessionMsg::Answered { request, refused })
        }
        _ => Envelope::Session(here(me, read(body, "session")?), SessionMsg::Own),
    })
}
