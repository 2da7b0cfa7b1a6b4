//! Arbitrary frames about people, one's own view of things, and devices.

use super::Frame;
use super::arbitrary::{client_frame, conversation, server_frame, text, u16s, u32s, u64s};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rookery_protocol::people::{DeviceInfo, OwnState, Person};
use rookery_protocol::{Audience, DeviceId, OwnKind, ReportReason, UserId, client, server};

fn audiences() -> impl Strategy<Value = [Audience; 3]> {
    any::<[u8; 3]>().prop_map(|codes| codes.map(Audience::from_code))
}

prop_compose! {
    fn person()(user in u64s(), name in text(), contact in any::<bool>(), blocked in any::<bool>())
    -> Person {
        Person { user: UserId(user), name, contact, blocked }
    }
}

prop_compose! {
    fn own_state()(
        conversation in conversation(), muted_until_ms in u64s(), archived in any::<bool>(),
        unread in any::<bool>(),
    ) -> OwnState {
        OwnState { conversation, muted_until_ms, archived, unread }
    }
}

prop_compose! {
    fn device()(device in u64s(), name in text(), created_ms in u64s(), seen_ms in u64s())
    -> DeviceInfo {
        DeviceInfo { device: DeviceId(device), name, created_ms, seen_ms }
    }
}

/// What a client asks.
pub fn requests() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (u32s(), u16s(), option::of(u64s())).prop_map(|(request, limit, after)| client_frame(
            client::People { request, limit, after: after.map(UserId) }
        )),
        (u32s(), u64s(), any::<bool>()).prop_map(|(request, user, contact)| client_frame(
            client::SetContact { request, user: UserId(user), contact }
        )),
        (u32s(), u64s(), any::<bool>()).prop_map(|(request, user, blocked)| client_frame(
            client::SetBlocked { request, user: UserId(user), blocked }
        )),
        (u32s(), conversation(), u64s(), any::<u8>(), text()).prop_map(
            |(request, conversation, seq, reason, comment)| {
                let reason = ReportReason::from_code(reason);
                client_frame(client::Report { request, conversation, seq, reason, comment })
            }
        ),
        (
            u32s(),
            conversation(),
            option::of(u64s()),
            option::of(any::<bool>()),
            option::of(any::<bool>())
        )
            .prop_map(|(request, conversation, muted_until_ms, archived, unread)| {
                client_frame(client::SetOwnState {
                    request,
                    conversation,
                    muted_until_ms,
                    archived,
                    unread,
                })
            }),
        (u32s(), vec(conversation(), 0..5)).prop_map(|(request, conversations)| client_frame(
            client::OwnStates { request, conversations }
        )),
        u32s().prop_map(|request| client_frame(client::GetPrivacy { request })),
        (u32s(), audiences()).prop_map(|(request, [presence, last_seen, receipts])| client_frame(
            client::SetPrivacy { request, presence, last_seen, receipts }
        )),
        any::<bool>().prop_map(|away| client_frame(client::SetAway { away })),
        (u32s(), u16s(), option::of(u64s())).prop_map(|(request, limit, after)| client_frame(
            client::Devices { request, limit, after: after.map(DeviceId) }
        )),
        (u32s(), u64s(), text()).prop_map(|(request, device, name)| client_frame(
            client::NameDevice { request, device: DeviceId(device), name }
        )),
        (u32s(), u64s()).prop_map(|(request, device)| client_frame(client::RevokeDevice {
            request,
            device: DeviceId(device)
        })),
    ]
}

/// What the server says.
pub fn answers() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (u32s(), vec(person(), 0..4), option::of(u64s())).prop_map(|(request, people, next)| {
            server_frame(server::PeoplePage { request, people, next: next.map(UserId) })
        }),
        (u32s(), vec(own_state(), 0..4))
            .prop_map(|(request, states)| server_frame(server::OwnStatePage { request, states })),
        (u32s(), audiences()).prop_map(|(request, [presence, last_seen, receipts])| server_frame(
            server::Privacy { request, presence, last_seen, receipts }
        )),
        (u32s(), vec(device(), 0..4), option::of(u64s())).prop_map(|(request, devices, next)| {
            server_frame(server::DevicePage { request, devices, next: next.map(DeviceId) })
        }),
        (any::<u8>(), u64s()).prop_map(|(kind, id)| server_frame(server::OwnChanged {
            kind: OwnKind::from_code(kind),
            id
        })),
    ]
}
