//! Every operation of a client, and what it answers: one row a frame of the protocol.
//!
//! A new frame needs a row here: the test `every_frame_of_the_protocol_has_a_row` reads the numbers
//! from the protocol's own list. A row says what a member gets and what a stranger gets who names the
//! same conversation and the same people; who has no session at all gets nothing, whatever the row.

use crate::support::wire::User;
use rookery_protocol::client::{
    Ack, Authenticate, Conversations, Describe, DescribeGroup, Devices, FindUsers, GetPrivacy,
    History, Leave, Mark, NameDevice, OpenDirect, OwnStates, People, Ping, Readers, Refresh,
    Report, RevokeDevice, Send, SetAway, SetBlocked, SetContact, SetOwnState, SetPrivacy,
    SetTyping, Sync, Unwatch, Watch,
};
use rookery_protocol::{
    Audience, ClientFrame, ClientMsgId, CloseCode, ConversationId, Direction, EntryKind, ErrorCode,
    MarkKind, ReportReason, number,
};

/// What comes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The frame of this number, to the request.
    Frame(u8),
    /// An error, to the request.
    Refused(ErrorCode),
    /// An error of a frame that has no number of a request.
    RefusedAlone(ErrorCode),
    /// Nothing: it is not answered.
    Nothing,
    /// The end of the connection.
    Closed(CloseCode),
}

/// What an operation is about: a conversation of Ada and Bob with one message in it. Whom anybody
/// may write to is Dan.
pub struct Subject {
    pub ada: User,
    pub bob: User,
    pub dan: User,
    pub conversation: ConversationId,
}

/// One operation.
pub struct Row {
    pub number: u8,
    /// The frame, with this request's number, about the subject.
    pub frame: fn(&Subject, u32) -> ClientFrame,
    /// For Ada.
    pub member: Answer,
    /// For anybody else with a session.
    pub stranger: Answer,
}

const fn row(
    number: u8,
    frame: fn(&Subject, u32) -> ClientFrame,
    member: Answer,
    stranger: Answer,
) -> Row {
    Row { number, frame, member, stranger }
}

const NOT_A_MEMBER: Answer = Answer::Refused(ErrorCode::NotAMember);
/// Of a device of somebody else.
const NO_DEVICE: Answer = Answer::Refused(ErrorCode::UnknownDevice);

/// The table.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    //  frame                        about                  a member gets                           a stranger gets
    row(number::HELLO,               hello,                 Answer::Closed(CloseCode::ProtocolError), Answer::Closed(CloseCode::ProtocolError)),
    row(number::PING,                ping,                  Answer::Frame(number::PONG),              Answer::Frame(number::PONG)),
    row(number::ACK,                 ack,                   Answer::Nothing,                          Answer::Nothing),
    row(number::SYNC,                sync,                  Answer::Frame(number::CAUGHT_UP),         Answer::Frame(number::CAUGHT_UP)),
    row(number::SEND,                send,                  Answer::Frame(number::SENT),              NOT_A_MEMBER),
    row(number::MARK,                mark,                  Answer::Nothing,                          Answer::RefusedAlone(ErrorCode::NotAMember)),
    row(number::SET_TYPING,          set_typing,            Answer::Nothing,                          Answer::RefusedAlone(ErrorCode::NotAMember)),
    row(number::HISTORY,             history,               Answer::Frame(number::HISTORY_PAGE),      NOT_A_MEMBER),
    row(number::CONVERSATIONS,       conversations,         Answer::Frame(number::CONVERSATION_PAGE), Answer::Frame(number::CONVERSATION_PAGE)),
    row(number::OPEN_DIRECT,         open_direct,           Answer::Frame(number::CONVERSATION),      Answer::Frame(number::CONVERSATION)),
    row(number::DESCRIBE,            describe,              Answer::Frame(number::CONVERSATION),      NOT_A_MEMBER),
    row(number::WATCH,               watch,                 Answer::Frame(number::DONE),              Answer::Frame(number::DONE)),
    row(number::UNWATCH,             unwatch,               Answer::Nothing,                          Answer::Nothing),
    row(number::AUTHENTICATE,        authenticate,          Answer::Frame(number::DONE),              Answer::Refused(ErrorCode::ForeignToken)),
    row(number::PEOPLE,              people,                Answer::Frame(number::PEOPLE_PAGE),       Answer::Frame(number::PEOPLE_PAGE)),
    row(number::SET_CONTACT,         set_contact,           Answer::Frame(number::DONE),              Answer::Frame(number::DONE)),
    row(number::SET_BLOCKED,         set_blocked,           Answer::Frame(number::DONE),              Answer::Frame(number::DONE)),
    row(number::REPORT,              report,                Answer::Frame(number::DONE),              NOT_A_MEMBER),
    row(number::SET_OWN_STATE,       set_own_state,         Answer::Frame(number::DONE),              NOT_A_MEMBER),
    row(number::OWN_STATES,          own_states,            Answer::Frame(number::OWN_STATE_PAGE),    Answer::Frame(number::OWN_STATE_PAGE)),
    row(number::GET_PRIVACY,         get_privacy,           Answer::Frame(number::PRIVACY),           Answer::Frame(number::PRIVACY)),
    row(number::SET_PRIVACY,         set_privacy,           Answer::Frame(number::DONE),              Answer::Frame(number::DONE)),
    row(number::SET_AWAY,            set_away,              Answer::Nothing,                          Answer::Nothing),
    row(number::DEVICES,             devices,               Answer::Frame(number::DEVICE_PAGE),       Answer::Frame(number::DEVICE_PAGE)),
    row(number::NAME_DEVICE,         name_device,           NO_DEVICE,                                NO_DEVICE),
    row(number::REVOKE_DEVICE,       revoke_device,         NO_DEVICE,                                NO_DEVICE),
    row(number::REFRESH,             refresh,               Answer::Frame(number::REFRESHED),         Answer::Refused(ErrorCode::ForeignToken)),
    row(number::LEAVE,               leave,                 Answer::Closed(CloseCode::GoingAway),     Answer::Closed(CloseCode::GoingAway)),
    row(number::FIND_USERS,          find_users,            Answer::Frame(number::USERS),             Answer::Frame(number::USERS)),
    // What roles allow in a group has its own matrix, in `groups.rs`.
    row(number::DESCRIBE_GROUP,      describe_group,        Answer::Refused(ErrorCode::NotAGroup),    NOT_A_MEMBER),
    row(number::READERS,             readers,               Answer::Frame(number::READ_BY),           NOT_A_MEMBER),
];

fn hello(subject: &Subject, _: u32) -> ClientFrame {
    subject.ada.hello().into()
}

fn ping(_: &Subject, request: u32) -> ClientFrame {
    Ping { nonce: request }.into()
}

fn ack(_: &Subject, _: u32) -> ClientFrame {
    Ack { received: 0 }.into()
}

fn sync(_: &Subject, request: u32) -> ClientFrame {
    Sync { request, cursor: None }.into()
}

fn send(subject: &Subject, request: u32) -> ClientFrame {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    Send {
        request,
        conversation: subject.conversation,
        client_msg_id: ClientMsgId::from_parts(rookery_node::now_ms(), random),
        retry: false,
        kind: EntryKind::Text,
        body: b"from whoever this is".to_vec(),
    }
    .into()
}

fn mark(subject: &Subject, _: u32) -> ClientFrame {
    Mark { conversation: subject.conversation, kind: MarkKind::Read, seq: 1 }.into()
}

fn set_typing(subject: &Subject, _: u32) -> ClientFrame {
    SetTyping { conversation: subject.conversation, active: true }.into()
}

fn history(subject: &Subject, request: u32) -> ClientFrame {
    let (conversation, direction) = (subject.conversation, Direction::Before);
    History { request, conversation, anchor: 0, direction, limit: 10 }.into()
}

fn conversations(_: &Subject, request: u32) -> ClientFrame {
    Conversations { request, limit: 10, after: None }.into()
}

fn open_direct(subject: &Subject, request: u32) -> ClientFrame {
    OpenDirect { request, name: subject.dan.name.clone() }.into()
}

fn describe(subject: &Subject, request: u32) -> ClientFrame {
    Describe { request, conversation: subject.conversation }.into()
}

fn watch(subject: &Subject, request: u32) -> ClientFrame {
    Watch { request, users: vec![subject.bob.user] }.into()
}

fn unwatch(subject: &Subject, _: u32) -> ClientFrame {
    Unwatch { users: vec![subject.bob.user] }.into()
}

fn authenticate(subject: &Subject, request: u32) -> ClientFrame {
    Authenticate { request, token: subject.ada.token.clone() }.into()
}

fn find_users(subject: &Subject, request: u32) -> ClientFrame {
    FindUsers { request, names: vec![subject.dan.name.clone()] }.into()
}

fn describe_group(subject: &Subject, request: u32) -> ClientFrame {
    DescribeGroup { request, conversation: subject.conversation }.into()
}

fn readers(subject: &Subject, request: u32) -> ClientFrame {
    Readers { request, conversation: subject.conversation, seq: 1 }.into()
}

fn refresh(subject: &Subject, request: u32) -> ClientFrame {
    Refresh { request, refresh_token: subject.ada.refresh_token.clone() }.into()
}

fn leave(_: &Subject, _: u32) -> ClientFrame {
    Leave {}.into()
}

fn people(_: &Subject, request: u32) -> ClientFrame {
    People { request, limit: 10, after: None }.into()
}

fn set_contact(subject: &Subject, request: u32) -> ClientFrame {
    SetContact { request, user: subject.bob.user, contact: true }.into()
}

fn set_blocked(subject: &Subject, request: u32) -> ClientFrame {
    // Not blocked: the other rows go on.
    SetBlocked { request, user: subject.bob.user, blocked: false }.into()
}

fn report(subject: &Subject, request: u32) -> ClientFrame {
    let (conversation, reason) = (subject.conversation, ReportReason::Spam);
    Report { request, conversation, seq: 1, reason, comment: String::new() }.into()
}

fn set_own_state(subject: &Subject, request: u32) -> ClientFrame {
    let conversation = subject.conversation;
    let (muted_until_ms, archived, unread) = (None, Some(true), None);
    SetOwnState { request, conversation, muted_until_ms, archived, unread }.into()
}

fn own_states(subject: &Subject, request: u32) -> ClientFrame {
    OwnStates { request, conversations: vec![subject.conversation] }.into()
}

fn get_privacy(_: &Subject, request: u32) -> ClientFrame {
    GetPrivacy { request }.into()
}

fn set_privacy(_: &Subject, request: u32) -> ClientFrame {
    let everyone = Audience::Everyone;
    SetPrivacy { request, presence: everyone, last_seen: everyone, receipts: everyone }.into()
}

fn set_away(_: &Subject, _: u32) -> ClientFrame {
    SetAway { away: true }.into()
}

fn devices(_: &Subject, request: u32) -> ClientFrame {
    Devices { request, limit: 10, after: None }.into()
}

fn name_device(subject: &Subject, request: u32) -> ClientFrame {
    NameDevice { request, device: subject.bob.device, name: "mine".to_owned() }.into()
}

fn revoke_device(subject: &Subject, request: u32) -> ClientFrame {
    RevokeDevice { request, device: subject.bob.device }.into()
}
