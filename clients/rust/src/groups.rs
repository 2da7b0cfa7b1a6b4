//! Groups, as calls: each change is a message of its own and returns once it is durable.

use crate::client::Client;
use crate::core::Outgoing;
use crate::driver::new_message_id;
use crate::error::CallError;
use crate::event::{Reply, Sent};
use rookery_protocol::group::group_id;
use rookery_protocol::server::{Group, ReadBy, Users};
use rookery_protocol::{ConversationId, EntryKind, GroupAction, GroupChange, UserId};

impl Client {
    /// Makes a group with these members beside oneself; its id is in the answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_group(&self, title: &str, users: Vec<UserId>) -> Result<Sent, CallError> {
        let client_msg_id = new_message_id();
        let text = title.to_owned();
        let change = GroupChange { users, text, ..GroupChange::new(GroupAction::Create) };
        let conversation = group_id(client_msg_id);
        let (kind, body) = (EntryKind::Group, change.to_body());
        self.send(Outgoing { conversation, client_msg_id, kind, body }).await
    }

    /// Changes a group.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn change_group(
        &self,
        conversation: ConversationId,
        change: &GroupChange,
    ) -> Result<Sent, CallError> {
        let client_msg_id = new_message_id();
        let (kind, body) = (EntryKind::Group, change.to_body());
        self.send(Outgoing { conversation, client_msg_id, kind, body }).await
    }

    /// Users by their unique names; names that nobody has are left out.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn find_users(&self, names: Vec<String>) -> Result<Users, CallError> {
        match self.ask(Box::new(move |d| d.find_users(names))).await? {
            Reply::Users(users) => Ok(*users),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// What a group is beside its description.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn describe_group(&self, id: ConversationId) -> Result<Group, CallError> {
        match self.ask(Box::new(move |d| d.describe_group(id))).await? {
            Reply::Group(group) => Ok(*group),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Whom an entry has reached.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn readers(&self, id: ConversationId, seq: u64) -> Result<ReadBy, CallError> {
        match self.ask(Box::new(move |d| d.readers(id, seq))).await? {
            Reply::ReadBy(read_by) => Ok(*read_by),
            _ => Err(CallError::WrongAnswer),
        }
    }
}
