//! Every operation of a client, and what it answers: one row a frame of the protocol.
//!
//! A new frame needs a row here: the test `every_frame_of_the_protocol_has_a_row` reads the numbers
//! from the protocol's own list. A row says what a member gets and what a stranger gets who names the
//! same conversation and the same people; who has no session at all gets nothing, whatever the row.

use crate::support::wire::User;
use rookery_protocol::client::{
    Ack, Authenticate, Conversations, Describe, DescribeGroup, FindUsers, History, Leave, Mark,
    OpenDirect, Ping, Readers, Refresh, Send, SetTyping, Sync, Unwatch, Watch,
};
use rookery_protocol::{
    ClientFrame, ClientMsgId, CloseCode, ConversationId, Direction, EntryKind, ErrorCode, MarkKind,
    number,
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
