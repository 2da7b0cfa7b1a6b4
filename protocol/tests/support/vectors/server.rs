//! The frames the server sends.

use super::*;
use rookery_protocol::server;
use rookery_protocol::types::{FoundUser, ListCursor};
use rookery_protocol::{
    Change, Cursor, ErrorClass, GroupAction, GroupChange, MarkKind, ServerFrame, Status,
};

/// Every vector of this direction, by name.
pub fn all() -> Vec<(&'static str, ServerFrame)> {
    [welcomes(), server_session(), server_answers(), entries(), news(), groups()].concat()
}

/// Welcomes.
fn welcomes() -> Vec<(&'static str, ServerFrame)> {
    vec![
        (
            "welcome_new",
            server::Welcome {
                version: 1,
                session: SESSION,
                secret: SECRET,
                resumed: false,
                user: ADA,
                device: ADA_DEVICE,
                name: "ada".into(),
                heartbeat_ms: 5000,
                grace_ms: 30000,
                server_time_ms: T,
                token_expires_ms: T + 900_000,
                limits: limits(),
                node: "n1".into(),
                endpoints: Vec::new(),
            }
            .into(),
        ),
        (
            "welcome_resumed",
            server::Welcome {
                version: 1,
                session: SESSION,
                secret: SECRET,
                resumed: true,
                user: ADA,
                device: ADA_DEVICE,
                name: "ada".into(),
                heartbeat_ms: 5000,
                grace_ms: 30000,
                server_time_ms: T + 60_000,
                token_expires_ms: T + 900_000,
                limits: limits(),
                node: "n2".into(),
                endpoints: vec!["wss://n1.example/v1/ws".into(), "wss://n2.example/v1/ws".into()],
            }
            .into(),
        ),
    ]
}

/// Frames about the connection and the session.
fn server_session() -> Vec<(&'static str, ServerFrame)> {
    vec![
        ("pong", server::Pong { nonce: 250 }.into()),
        (
            "error_retryable",
            server::Error {
                request: 3,
                code: 402,
                class: ErrorClass::Server,
                retryable: true,
                retry_after_ms: 100,
                detail: String::new(),
            }
            .into(),
        ),
        (
            "error_final",
            server::Error {
                request: 2,
                code: 300,
                class: ErrorClass::Request,
                retryable: false,
                retry_after_ms: 0,
                detail: "no user has this name".into(),
            }
            .into(),
        ),
        ("behind", server::Behind {}.into()),
        (
            "drain",
            server::Drain {
                reconnect_after_ms: 1500,
                alternates: vec!["wss://n2.example/v1/ws".into()],
            }
            .into(),
        ),
        ("bye", server::Bye { code: 4001, reason: "slow".into() }.into()),
        (
            "too_far",
            server::TooFar { request: 2, cursor: Cursor { epoch: 2, stamp: STAMP } }.into(),
        ),
        ("done", server::Done { request: 14 }.into()),
        (
            "refreshed",
            server::Refreshed {
                request: 17,
                access_token: TOKEN.into(),
                access_expires_ms: 1_760_003_600_000,
                refresh_token: "example-refresh-token".into(),
            }
            .into(),
        ),
        (
            "notice",
            server::Notice { notice: 3, time_ms: 1_760_000_060_000, text: "Back at 22:00.".into() }
                .into(),
        ),
    ]
}

/// Answers and passing news.
fn server_answers() -> Vec<(&'static str, ServerFrame)> {
    vec![
        (
            "history_page",
            server::HistoryPage {
                request: 8,
                conversation: CONVERSATION,
                entries: vec![first_entry(), second_entry()],
                head: 2,
                floor: 1,
                more: false,
            }
            .into(),
        ),
        (
            "history_page_empty",
            server::HistoryPage {
                request: 9,
                conversation: CONVERSATION,
                entries: Vec::new(),
                head: 0,
                floor: 1,
                more: false,
            }
            .into(),
        ),
        (
            "conversation_page",
            server::ConversationPage {
                request: 10,
                conversations: vec![used_conversation(), group()],
                next: Some(ListCursor { active_ms: T, conversation: CONVERSATION }),
            }
            .into(),
        ),
        (
            "conversation_page_last",
            server::ConversationPage { request: 11, conversations: Vec::new(), next: None }.into(),
        ),
        (
            "conversation_created",
            server::Conversation { request: 2, created: true, info: new_conversation() }.into(),
        ),
        (
            "conversation_found",
            server::Conversation { request: 13, created: false, info: used_conversation() }.into(),
        ),
        (
            "presence_online",
            server::Presence { user: BOB, status: Status::Online, last_seen_ms: 0 }.into(),
        ),
        (
            "presence_offline",
            server::Presence { user: BOB, status: Status::Offline, last_seen_ms: T + 60_000 }
                .into(),
        ),
        ("typing", server::Typing { conversation: CONVERSATION, user: BOB, active: true }.into()),
    ]
}

/// Stream frames about entries.
fn entries() -> Vec<(&'static str, ServerFrame)> {
    vec![
        ("message", server::Message { conversation: CONVERSATION, entry: second_entry() }.into()),
        (
            "message_of_unknown_kind",
            server::Message {
                conversation: CONVERSATION,
                entry: Entry {
                    seq: 3,
                    sender: BOB,
                    device: BOB_DEVICE,
                    time_ms: T + 60_020,
                    client_msg_id: second_id(),
                    kind: EntryKind::Other(77),
                    body: Vec::new(),
                },
            }
            .into(),
        ),
        (
            "sent",
            server::Sent {
                request: 3,
                conversation: CONVERSATION,
                client_msg_id: first_id(),
                seq: 1,
                time_ms: T + 150,
                duplicate: false,
            }
            .into(),
        ),
        (
            "sent_duplicate",
            server::Sent {
                request: 4,
                conversation: CONVERSATION,
                client_msg_id: first_id(),
                seq: 1,
                time_ms: T + 150,
                duplicate: true,
            }
            .into(),
        ),
    ]
}

/// Other stream frames.
fn news() -> Vec<(&'static str, ServerFrame)> {
    vec![
        (
            "receipt_delivered",
            server::Receipt {
                conversation: CONVERSATION,
                user: BOB,
                kind: MarkKind::Delivered,
                seq: 1,
            }
            .into(),
        ),
        (
            "receipt_read",
            server::Receipt { conversation: CONVERSATION, user: BOB, kind: MarkKind::Read, seq: 1 }
                .into(),
        ),
        (
            "conversation_changed",
            server::ConversationChanged { conversation: CONVERSATION, change: Change::Created }
                .into(),
        ),
        (
            "caught_up",
            server::CaughtUp { request: 1, cursor: Cursor { epoch: 1, stamp: STAMP } }.into(),
        ),
        (
            "caught_up_unasked",
            server::CaughtUp { request: 0, cursor: Cursor { epoch: 1, stamp: [0; 12] } }.into(),
        ),
    ]
}

/// Groups.
fn groups() -> Vec<(&'static str, ServerFrame)> {
    vec![
        (
            "users",
            server::Users { request: 21, users: vec![FoundUser { user: BOB, name: "bob".into() }] }
                .into(),
        ),
        (
            "group",
            server::Group {
                request: 22,
                conversation: made_group(),
                avatar: "pictures/lunch".into(),
                open_history: true,
                link: rookery_protocol::group::secret_text(&SECRET),
                created_ms: T,
            }
            .into(),
        ),
        (
            "read_by",
            server::ReadBy {
                request: 23,
                conversation: made_group(),
                seq: 2,
                delivered: vec![EVE],
                read: vec![ADA, BOB],
            }
            .into(),
        ),
        (
            "message_of_a_change",
            server::Message {
                conversation: made_group(),
                entry: Entry {
                    sender: ADA,
                    device: ADA_DEVICE,
                    kind: EntryKind::Group,
                    body: GroupChange { users: vec![EVE], ..GroupChange::new(GroupAction::Add) }
                        .to_body(),
                    ..second_entry()
                },
            }
            .into(),
        ),
        (
            "receipt_of_everybody",
            server::Receipt {
                conversation: made_group(),
                user: UserId(0),
                kind: MarkKind::Read,
                seq: 2,
            }
            .into(),
        ),
    ]
}
