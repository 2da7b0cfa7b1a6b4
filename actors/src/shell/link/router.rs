//! The only remotable actors of a node: they take frames from other nodes.
//!
//! An actor is shown to other nodes if and only if its message type is serializable, so
//! [`RouterMsg`] is the only such type of the crate.

use super::core::Core;
use bytes::Bytes;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef, Message};
use std::sync::Arc;

/// Actors that take frames, of each node: peers spread over them, each peer always to the same one.
pub(super) const ROUTERS: usize = 2;

/// What a router takes.
pub(super) enum RouterMsg {
    /// A frame.
    Frame(Vec<u8>),
    /// What no version of this code sends.
    Unknown,
}

impl Message for RouterMsg {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        match self {
            Self::Frame(args) => {
                Ok(SerializedMessage::Cast { variant: String::new(), args, metadata: None })
            }
            Self::Unknown => Err(BoxedDowncastErr),
        }
    }

    // Never an error: ractor would drop the message, and nobody would count it.
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(match message {
            SerializedMessage::Cast { args, .. } => Self::Frame(args),
            _ => Self::Unknown,
        })
    }
}

/// The actor; its number among the node's routers.
pub(super) struct Router(pub(super) usize);

impl Actor for Router {
    type Msg = RouterMsg;
    type State = Arc<Core>;
    type Arguments = Arc<Core>;

    async fn pre_start(
        &self,
        myself: ActorRef<RouterMsg>,
        core: Arc<Core>,
    ) -> Result<Arc<Core>, ActorProcessingErr> {
        core.router_started(self.0, myself.get_id().pid());
        Ok(core)
    }

    async fn handle(
        &self,
        _myself: ActorRef<RouterMsg>,
        message: RouterMsg,
        core: &mut Arc<Core>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RouterMsg::Frame(bytes) => core.received(Bytes::from(bytes)),
            RouterMsg::Unknown => core.unknown_message(),
        }
        Ok(())
    }
}
