//! What a client asks about its user's own things: contacts and blocks, reports, one's own view of
//! conversations, privacy, devices.

use crate::client::{Ask, Client, Command, Tell};
use crate::error::CallError;
use crate::event::Reply;
use rookery_protocol::client::{
    Devices, GetPrivacy, NameDevice, OwnStates, People, Report, RevokeDevice, SetBlocked,
    SetContact, SetOwnState, SetPrivacy,
};
use rookery_protocol::people::OwnState;
use rookery_protocol::server::{DevicePage, PeoplePage, Privacy};
use rookery_protocol::{Audience, ClientFrame, ConversationId, DeviceId, ReportReason, UserId};

/// How the user wants to see a conversation; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnChange {
    /// Muted until this time, Unix milliseconds; 0: not muted, [`u64::MAX`]: for good.
    pub muted_until_ms: Option<u64>,
    /// Put away, or not.
    pub archived: Option<bool>,
    /// Marked as unread, or not.
    pub unread: Option<bool>,
}

impl Client {
    /// A page of contacts and blocked users, by rising id.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn people(&self, limit: u16, after: Option<UserId>) -> Result<PeoplePage, CallError> {
        match self.request(move |request| People { request, limit, after }.into()).await? {
            Reply::People(page) => Ok(*page),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Makes somebody a contact, or takes one off the list.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn set_contact(&self, user: UserId, contact: bool) -> Result<(), CallError> {
        self.done(move |request| SetContact { request, user, contact }.into()).await
    }

    /// Blocks somebody from now on, or ends that.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn set_blocked(&self, user: UserId, blocked: bool) -> Result<(), CallError> {
        self.done(move |request| SetBlocked { request, user, blocked }.into()).await
    }

    /// Reports an entry to the operators.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn report(
        &self,
        conversation: ConversationId,
        seq: u64,
        reason: ReportReason,
        comment: &str,
    ) -> Result<(), CallError> {
        let comment = comment.to_owned();
        self.done(move |request| Report { request, conversation, seq, reason, comment }.into())
            .await
    }

    /// Mutes, archives, marks as unread, or takes that back.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn set_own_state(
        &self,
        conversation: ConversationId,
        change: OwnChange,
    ) -> Result<(), CallError> {
        let OwnChange { muted_until_ms, archived, unread } = change;
        let frame = move |request| {
            SetOwnState { request, conversation, muted_until_ms, archived, unread }.into()
        };
        self.done(frame).await
    }

    /// How the user sees conversations, at most a page of the list.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn own_states(
        &self,
        conversations: Vec<ConversationId>,
    ) -> Result<Vec<OwnState>, CallError> {
        match self.request(move |request| OwnStates { request, conversations }.into()).await? {
            Reply::OwnStates(page) => Ok(page.states),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Who may see what of the user.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn privacy(&self) -> Result<Privacy, CallError> {
        match self.request(|request| GetPrivacy { request }.into()).await? {
            Reply::Privacy(privacy) => Ok(privacy),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Replaces who may see whether the user is there, when the user was there, what the user read.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn set_privacy(
        &self,
        presence: Audience,
        last_seen: Audience,
        receipts: Audience,
    ) -> Result<(), CallError> {
        let frame = move |request| SetPrivacy { request, presence, last_seen, receipts }.into();
        self.done(frame).await
    }

    /// Tells that the user is away from this device, or back; it is told again in a new session.
    /// Returns when it is queued.
    ///
    /// # Errors
    /// [`CallError::NotQueued`].
    pub async fn set_away(&self, away: bool) -> Result<(), CallError> {
        let tell: Tell = Box::new(move |driver| driver.set_away(away));
        self.tell(tell).await
    }

    /// A page of the user's devices, by rising id.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn devices(
        &self,
        limit: u16,
        after: Option<DeviceId>,
    ) -> Result<DevicePage, CallError> {
        match self.request(move |request| Devices { request, limit, after }.into()).await? {
            Reply::Devices(page) => Ok(*page),
            _ => Err(CallError::WrongAnswer),
        }
    }

    /// Gives a device another name.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn name_device(&self, device: DeviceId, name: &str) -> Result<(), CallError> {
        let name = name.to_owned();
        self.done(move |request| NameDevice { request, device, name }.into()).await
    }

    /// Ends a device: its connections close, on every node.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn revoke_device(&self, device: DeviceId) -> Result<(), CallError> {
        self.done(move |request| RevokeDevice { request, device }.into()).await
    }

    async fn request(
        &self,
        frame: impl FnOnce(u32) -> ClientFrame + Send + 'static,
    ) -> Result<Reply, CallError> {
        let ask: Ask = Box::new(move |driver| driver.ask(frame));
        self.command(|answer| Command::Ask(ask, answer)).await
    }

    async fn done(
        &self,
        frame: impl FnOnce(u32) -> ClientFrame + Send + 'static,
    ) -> Result<(), CallError> {
        match self.request(frame).await? {
            Reply::Done => Ok(()),
            _ => Err(CallError::WrongAnswer),
        }
    }
}
