//! What operators ask of a running node.
//!
//! ```text
//! unguarded     GET /cluster, on the listener of the metrics
//! router        /admin/v1/..., on a listener of its own (`admin.listen`)
//!   guard       who asks (a token of `credentials`), and the log of what was asked
//!   users, conversations, reports, notices, limits, status (and drain), log
//!               the operations; openapi describes them
//! follow        what operators changed on any node, applied on this one
//! ask           the other end: how the command line asks
//! ```
//!
//! Safety: without a good token nothing is answered but the description of the API. What changes
//! something is in the log before it begins, and its outcome after it; what shows something about
//! people is in the log before it is shown. Nobody is shown what people wrote.

mod ask;
mod conversations;
mod credentials;
mod follow;
mod guard;
mod limits;
mod log;
mod notices;
mod openapi;
mod reports;
mod router;
mod status;
mod unguarded;
mod users;

pub use ask::{AskError, Asked, ask};
pub use credentials::{Credentials, CredentialsError};
/// What answers hold, for who asks.
pub(crate) mod views {
    pub(crate) use super::conversations::{ConversationIds, Inspected};
    pub(crate) use super::limits::LimitList;
    pub(crate) use super::log::LogPage;
    pub(crate) use super::notices::{NoticeList, NoticeView};
    pub(crate) use super::reports::{ReportDetail, ReportPage};
    pub(crate) use super::status::NodeStatus;
    pub(crate) use super::users::{Invited, Revoked, UserDetail, UserPage, UserRow};
}

pub(crate) use follow::follow;
pub(crate) use notices::Notices;
pub(crate) use router::router;
pub(crate) use unguarded::router as unguarded;
