//! Arbitrary frames: every type, every field over its whole range, sizes kept small.

use super::{Frame, arbitrary_people};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rookery_protocol::limits::Limits;
use rookery_protocol::types::{ConversationInfo, FoundUser, ListCursor, Member};
use rookery_protocol::{
    Change, ClientMsgId, ConversationId, ConversationKind, Cursor, DeviceId, Direction, Entry,
    EntryKind, ErrorClass, MarkKind, SessionId, Status, UserId, client, server,
};

/// Integers near the edges of the wire's widths, and any.
pub(super) fn u64s() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..=256_u64,
        65_530..=65_540_u64,
        4_294_967_290..=4_294_967_300_u64,
        Just(u64::MAX),
        any::<u64>(),
    ]
}

pub(super) fn u32s() -> impl Strategy<Value = u32> {
    prop_oneof![0..=256_u32, 65_530..=65_540_u32, Just(u32::MAX), any::<u32>()]
}

pub(super) fn u16s() -> impl Strategy<Value = u16> {
    prop_oneof![0..=256_u16, Just(u16::MAX), any::<u16>()]
}

pub(super) fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..20).prop_map(String::from_iter)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 240..260)]
}

fn users() -> impl Strategy<Value = Vec<UserId>> {
    vec(u64s().prop_map(UserId), 0..10)
}

prop_compose! {
    fn id()(bytes in any::<[u8; 16]>()) -> ClientMsgId { ClientMsgId(bytes) }
}

prop_compose! {
    pub(super) fn conversation()(id in u64s()) -> ConversationId { ConversationId(id) }
}

prop_compose! {
    fn cursor()(epoch in u32s(), stamp in any::<[u8; 12]>()) -> Cursor { Cursor { epoch, stamp } }
}

prop_compose! {
    fn list_cursor()(active_ms in u64s(), conversation in conversation()) -> ListCursor {
        ListCursor { active_ms, conversation }
    }
}

prop_compose! {
    fn entry()(
        seq in u64s(), sender in u64s(), device in u64s(), time_ms in u64s(),
        client_msg_id in id(), kind in any::<u8>(), body in body(),
    ) -> Entry {
        Entry {
            seq,
            sender: UserId(sender),
            device: DeviceId(device),
            time_ms,
            client_msg_id,
            kind: EntryKind::from_code(kind),
            body,
        }
    }
}

prop_compose! {
    fn member()(
        user in u64s(), name in text(), role in any::<u8>(), delivered in u64s(), read in u64s(),
    ) -> Member {
        Member { user: UserId(user), name, role, delivered, read }
    }
}

prop_compose! {
    fn info()(
        conversation in conversation(), kind in any::<u8>(), title in text(),
        members in vec(member(), 0..4), head in u64s(), floor in u64s(), active_ms in u64s(),
        last in option::of(entry()),
    ) -> ConversationInfo {
        let kind = ConversationKind::from_code(kind);
        ConversationInfo { conversation, kind, title, members, head, floor, active_ms, last }
    }
}

prop_compose! {
    fn limits()(large in any::<[u32; 4]>(), small in any::<[u16; 3]>()) -> Limits {
        let ([body_bytes, frame_bytes, message_bytes, window_bytes], [a, b, c]) = (large, small);
        Limits {
            body_bytes,
            frame_bytes,
            message_bytes,
            sends_in_flight: a,
            requests_in_flight: b,
            watched_users: c,
            window_bytes,
        }
    }
}

prop_compose! {
    fn resume()(session in u64s(), secret in any::<[u8; 16]>(), received in u64s())
    -> client::Resume {
        client::Resume { session: SessionId(session), secret, received }
    }
}

prop_compose! {
    fn welcome()(
        version in u16s(), ids in (u64s(), u64s(), u64s()), secret in any::<[u8; 16]>(),
        resumed in any::<bool>(), name in text(), times in (u32s(), u32s(), u64s(), u64s()),
        limits in limits(), node in text(), endpoints in vec(text(), 0..4),
    ) -> server::Welcome {
        server::Welcome {
            version,
            session: SessionId(ids.0),
            secret,
            resumed,
            user: UserId(ids.1),
            device: DeviceId(ids.2),
            name,
            heartbeat_ms: times.0,
            grace_ms: times.1,
            server_time_ms: times.2,
            token_expires_ms: times.3,
            limits,
            node,
            endpoints,
        }
    }
}

pub(super) fn client_frame(frame: impl Into<rookery_protocol::ClientFrame>) -> Frame {
    Frame::Client(frame.into())
}

pub(super) fn server_frame(frame: impl Into<rookery_protocol::ServerFrame>) -> Frame {
    Frame::Server(frame.into())
}

fn session_requests() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (vec(u16s(), 0..5), text(), option::of(resume()), text(), u32s()).prop_map(
            |(versions, token, resume, agent, window_bytes)| {
                client_frame(client::Hello { versions, token, resume, agent, window_bytes })
            }
        ),
        u32s().prop_map(|nonce| client_frame(client::Ping { nonce })),
        u64s().prop_map(|received| client_frame(client::Ack { received })),
        (u32s(), option::of(cursor()))
            .prop_map(|(request, cursor)| client_frame(client::Sync { request, cursor })),
        (u32s(), text())
            .prop_map(|(request, token)| client_frame(client::Authenticate { request, token })),
        Just(client_frame(client::Leave {})),
        (u32s(), text()).prop_map(|(request, refresh_token)| client_frame(client::Refresh {
            request,
            refresh_token
        })),
    ]
}

fn conversation_requests() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (u32s(), conversation(), id(), any::<bool>(), any::<u8>(), body()).prop_map(
            |(request, conversation, client_msg_id, retry, kind, body)| {
                let kind = EntryKind::from_code(kind);
                client_frame(client::Send {
                    request,
                    conversation,
                    client_msg_id,
                    retry,
                    kind,
                    body,
                })
            }
        ),
        (conversation(), any::<u8>(), u64s()).prop_map(|(conversation, kind, seq)| {
            client_frame(client::Mark { conversation, kind: MarkKind::from_code(kind), seq })
        }),
        (conversation(), any::<bool>()).prop_map(|(conversation, active)| client_frame(
            client::SetTyping { conversation, active }
        )),
        (u32s(), conversation(), u64s(), any::<u8>(), u16s()).prop_map(
            |(request, conversation, anchor, direction, limit)| {
                let direction = Direction::from_code(direction);
                client_frame(client::History { request, conversation, anchor, direction, limit })
            }
        ),
        (u32s(), u16s(), option::of(list_cursor())).prop_map(|(request, limit, after)| {
            client_frame(client::Conversations { request, limit, after })
        }),
        (u32s(), text())
            .prop_map(|(request, name)| client_frame(client::OpenDirect { request, name })),
        (u32s(), conversation()).prop_map(|(request, conversation)| {
            client_frame(client::Describe { request, conversation })
        }),
        (u32s(), vec(text(), 0..4))
            .prop_map(|(request, names)| client_frame(client::FindUsers { request, names })),
        (u32s(), conversation()).prop_map(|(request, conversation)| {
            client_frame(client::DescribeGroup { request, conversation })
        }),
        (u32s(), conversation(), u64s()).prop_map(|(request, conversation, seq)| {
            client_frame(client::Readers { request, conversation, seq })
        }),
        (u32s(), users())
            .prop_map(|(request, users)| client_frame(client::Watch { request, users })),
        users().prop_map(|users| client_frame(client::Unwatch { users })),
    ]
}

fn session_answers() -> impl Strategy<Value = Frame> {
    prop_oneof![
        welcome().prop_map(server_frame),
        u32s().prop_map(|nonce| server_frame(server::Pong { nonce })),
        (u32s(), u16s(), any::<u8>(), any::<bool>(), u32s(), text()).prop_map(
            |(request, code, class, retryable, retry_after_ms, detail)| {
                let class = ErrorClass::from_code(class);
                server_frame(server::Error {
                    request,
                    code,
                    class,
                    retryable,
                    retry_after_ms,
                    detail,
                })
            }
        ),
        Just(server_frame(server::Behind {})),
        (u32s(), vec(text(), 0..4)).prop_map(|(reconnect_after_ms, alternates)| {
            server_frame(server::Drain { reconnect_after_ms, alternates })
        }),
        (u16s(), text()).prop_map(|(code, reason)| server_frame(server::Bye { code, reason })),
        (u32s(), cursor())
            .prop_map(|(request, cursor)| server_frame(server::TooFar { request, cursor })),
        u32s().prop_map(|request| server_frame(server::Done { request })),
        (u32s(), text(), u64s(), text()).prop_map(
            |(request, access_token, access_expires_ms, refresh_token)| {
                server_frame(server::Refreshed {
                    request,
                    access_token,
                    access_expires_ms,
                    refresh_token,
                })
            }
        ),
        (u64s(), u64s(), text()).prop_map(|(notice, time_ms, text)| server_frame(server::Notice {
            notice,
            time_ms,
            text
        })),
        (u32s(), cursor())
            .prop_map(|(request, cursor)| server_frame(server::CaughtUp { request, cursor })),
    ]
}

fn conversation_answers() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (u32s(), conversation(), vec(entry(), 0..4), u64s(), u64s(), any::<bool>()).prop_map(
            |(request, conversation, entries, head, floor, more)| {
                server_frame(server::HistoryPage {
                    request,
                    conversation,
                    entries,
                    head,
                    floor,
                    more,
                })
            }
        ),
        (u32s(), vec(info(), 0..4), option::of(list_cursor())).prop_map(
            |(request, conversations, next)| {
                server_frame(server::ConversationPage { request, conversations, next })
            }
        ),
        (u32s(), any::<bool>(), info()).prop_map(|(request, created, info)| {
            server_frame(server::Conversation { request, created, info })
        }),
        (u32s(), vec((u64s(), text()), 0..4)).prop_map(|(request, users)| {
            let found = |(user, name)| FoundUser { user: UserId(user), name };
            server_frame(server::Users { request, users: users.into_iter().map(found).collect() })
        }),
        (u32s(), conversation(), text(), any::<bool>(), text(), u64s()).prop_map(
            |(request, conversation, avatar, open_history, link, created_ms)| {
                server_frame(server::Group {
                    request,
                    conversation,
                    avatar,
                    open_history,
                    link,
                    created_ms,
                })
            }
        ),
        (u32s(), conversation(), u64s(), users(), users()).prop_map(
            |(request, conversation, seq, delivered, read)| {
                server_frame(server::ReadBy { request, conversation, seq, delivered, read })
            }
        ),
        (u64s(), any::<u8>(), u64s()).prop_map(|(user, status, last_seen_ms)| {
            let status = Status::from_code(status);
            server_frame(server::Presence { user: UserId(user), status, last_seen_ms })
        }),
        (conversation(), u64s(), any::<bool>()).prop_map(|(conversation, user, active)| {
            server_frame(server::Typing { conversation, user: UserId(user), active })
        }),
    ]
}

fn stream() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (conversation(), entry()).prop_map(|(conversation, entry)| server_frame(server::Message {
            conversation,
            entry
        })),
        (u32s(), conversation(), id(), u64s(), u64s(), any::<bool>()).prop_map(
            |(request, conversation, client_msg_id, seq, time_ms, duplicate)| {
                server_frame(server::Sent {
                    request,
                    conversation,
                    client_msg_id,
                    seq,
                    time_ms,
                    duplicate,
                })
            }
        ),
        (conversation(), u64s(), any::<u8>(), u64s()).prop_map(
            |(conversation, user, kind, seq)| {
                let kind = MarkKind::from_code(kind);
                server_frame(server::Receipt { conversation, user: UserId(user), kind, seq })
            }
        ),
        (conversation(), any::<u8>()).prop_map(|(conversation, change)| {
            let change = Change::from_code(change);
            server_frame(server::ConversationChanged { conversation, change })
        }),
    ]
}

/// Any frame of either direction. Boxed: the value trees would fill a test thread's stack.
pub fn frame() -> BoxedStrategy<Frame> {
    prop_oneof![
        session_requests().boxed(),
        conversation_requests().boxed(),
        session_answers().boxed(),
        conversation_answers().boxed(),
        stream().boxed(),
        arbitrary_people::requests().boxed(),
        arbitrary_people::answers().boxed(),
    ]
    .boxed()
}
