//! The frames a client sends.

use super::*;
use rookery_protocol::client;
use rookery_protocol::types::ListCursor;
use rookery_protocol::{ClientFrame, Cursor, Direction, GroupAction, GroupChange, MarkKind};

/// Every vector of this direction, by name.
pub fn all() -> Vec<(&'static str, ClientFrame)> {
    [client_session(), sends(), marks(), client_queries(), groups()].concat()
}

/// Frames about the connection and the session.
fn client_session() -> Vec<(&'static str, ClientFrame)> {
    vec![
        (
            "hello_first",
            client::Hello {
                versions: vec![1],
                token: TOKEN.into(),
                resume: None,
                agent: "example/1.0".into(),
                window_bytes: 262_144,
            }
            .into(),
        ),
        (
            "hello_resume",
            client::Hello {
                versions: vec![1],
                token: TOKEN.into(),
                resume: Some(client::Resume { session: SESSION, secret: SECRET, received: 3 }),
                agent: "example/1.0".into(),
                window_bytes: 262_144,
            }
            .into(),
        ),
        (
            "hello_several_versions",
            client::Hello {
                versions: vec![300, 2, 1],
                token: String::new(),
                resume: None,
                agent: String::new(),
                window_bytes: 16384,
            }
            .into(),
        ),
        ("ping_zero", client::Ping { nonce: 0 }.into()),
        ("ping_one_byte", client::Ping { nonce: 250 }.into()),
        ("ping_three_bytes", client::Ping { nonce: 251 }.into()),
        ("ping_three_bytes_most", client::Ping { nonce: 65535 }.into()),
        ("ping_five_bytes", client::Ping { nonce: 65536 }.into()),
        ("ping_five_bytes_most", client::Ping { nonce: u32::MAX }.into()),
        ("ack", client::Ack { received: 3 }.into()),
        ("ack_nine_bytes", client::Ack { received: 1 << 32 }.into()),
        ("ack_most", client::Ack { received: u64::MAX }.into()),
        ("sync_without_cursor", client::Sync { request: 1, cursor: None }.into()),
        (
            "sync_from_cursor",
            client::Sync { request: 2, cursor: Some(Cursor { epoch: 1, stamp: STAMP }) }.into(),
        ),
        ("authenticate", client::Authenticate { request: 16, token: TOKEN.into() }.into()),
        ("leave", client::Leave {}.into()),
        (
            "refresh",
            client::Refresh { request: 17, refresh_token: "example-refresh-token".into() }.into(),
        ),
    ]
}

/// Messages on their way.
fn sends() -> Vec<(&'static str, ClientFrame)> {
    vec![
        (
            "send_text",
            client::Send {
                request: 3,
                conversation: CONVERSATION,
                client_msg_id: first_id(),
                retry: false,
                kind: EntryKind::Text,
                body: "Hello, Bob!".into(),
            }
            .into(),
        ),
        (
            "send_retry",
            client::Send {
                request: 4,
                conversation: CONVERSATION,
                client_msg_id: first_id(),
                retry: true,
                kind: EntryKind::Text,
                body: "Hello, Bob!".into(),
            }
            .into(),
        ),
        (
            "send_opaque",
            client::Send {
                request: 5,
                conversation: CONVERSATION,
                client_msg_id: second_id(),
                retry: false,
                kind: EntryKind::Opaque,
                body: vec![0x00, 0xff, 0x80, 0xfb],
            }
            .into(),
        ),
        (
            "send_body_of_250",
            client::Send {
                request: 6,
                conversation: CONVERSATION,
                client_msg_id: second_id(),
                retry: false,
                kind: EntryKind::Text,
                body: vec![b'a'; 250],
            }
            .into(),
        ),
        (
            "send_body_of_251",
            client::Send {
                request: 7,
                conversation: CONVERSATION,
                client_msg_id: second_id(),
                retry: false,
                kind: EntryKind::Text,
                body: vec![b'a'; 251],
            }
            .into(),
        ),
    ]
}

/// Marks and typing.
fn marks() -> Vec<(&'static str, ClientFrame)> {
    vec![
        (
            "mark_delivered",
            client::Mark { conversation: CONVERSATION, kind: MarkKind::Delivered, seq: 2 }.into(),
        ),
        (
            "mark_read",
            client::Mark { conversation: CONVERSATION, kind: MarkKind::Read, seq: 2 }.into(),
        ),
        ("set_typing", client::SetTyping { conversation: CONVERSATION, active: true }.into()),
        (
            "set_typing_stopped",
            client::SetTyping { conversation: CONVERSATION, active: false }.into(),
        ),
    ]
}

/// Frames that ask.
fn client_queries() -> Vec<(&'static str, ClientFrame)> {
    vec![
        (
            "history_newest",
            client::History {
                request: 8,
                conversation: CONVERSATION,
                anchor: 0,
                direction: Direction::Before,
                limit: 50,
            }
            .into(),
        ),
        (
            "history_after",
            client::History {
                request: 9,
                conversation: CONVERSATION,
                anchor: 1,
                direction: Direction::After,
                limit: 200,
            }
            .into(),
        ),
        (
            "conversations_first_page",
            client::Conversations { request: 10, limit: 100, after: None }.into(),
        ),
        (
            "conversations_next_page",
            client::Conversations {
                request: 11,
                limit: 100,
                after: Some(ListCursor { active_ms: T, conversation: CONVERSATION }),
            }
            .into(),
        ),
        ("open_direct", client::OpenDirect { request: 2, name: "bob".into() }.into()),
        ("describe", client::Describe { request: 13, conversation: CONVERSATION }.into()),
        ("watch", client::Watch { request: 14, users: vec![BOB] }.into()),
        ("watch_two", client::Watch { request: 15, users: vec![BOB, EVE] }.into()),
        ("unwatch", client::Unwatch { users: vec![BOB] }.into()),
    ]
}

/// Groups.
fn groups() -> Vec<(&'static str, ClientFrame)> {
    vec![
        (
            "send_create_group",
            client::Send {
                request: 20,
                conversation: made_group(),
                client_msg_id: first_id(),
                retry: false,
                kind: EntryKind::Group,
                body: GroupChange {
                    action: GroupAction::Create,
                    users: vec![BOB],
                    value: 0,
                    text: "Lunch".into(),
                }
                .to_body(),
            }
            .into(),
        ),
        (
            "find_users",
            client::FindUsers { request: 21, names: vec!["bob".into(), "nobody".into()] }.into(),
        ),
        (
            "describe_group",
            client::DescribeGroup { request: 22, conversation: made_group() }.into(),
        ),
        ("readers", client::Readers { request: 23, conversation: made_group(), seq: 2 }.into()),
    ]
}
