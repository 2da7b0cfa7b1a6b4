//! The frames about people, one's own view of things, and devices.

use super::*;
use rookery_protocol::people::{DeviceInfo, OwnState, Person};
use rookery_protocol::{Audience, OwnKind, ReportReason, client, server};

/// Every vector, by name.
pub fn all() -> Vec<(&'static str, Frame)> {
    let asked = [asked_of_people(), asked_of_own()].concat();
    let asked = asked.into_iter().map(|(name, frame)| (name, Frame::Client(frame)));
    let told = told().into_iter().map(|(name, frame)| (name, Frame::Server(frame)));
    asked.chain(told).collect()
}

/// Frames of a client about other users.
fn asked_of_people() -> Vec<(&'static str, rookery_protocol::ClientFrame)> {
    vec![
        ("people_first_page", client::People { request: 20, limit: 100, after: None }.into()),
        ("people_next_page", client::People { request: 21, limit: 100, after: Some(BOB) }.into()),
        ("set_contact", client::SetContact { request: 22, user: BOB, contact: true }.into()),
        ("set_blocked", client::SetBlocked { request: 23, user: EVE, blocked: true }.into()),
        (
            "report",
            client::Report {
                request: 24,
                conversation: CONVERSATION,
                seq: 2,
                reason: ReportReason::Spam,
                comment: "an advert".into(),
            }
            .into(),
        ),
    ]
}

/// Frames of a client about what is its user's own.
fn asked_of_own() -> Vec<(&'static str, rookery_protocol::ClientFrame)> {
    vec![
        (
            "set_own_state",
            client::SetOwnState {
                request: 25,
                conversation: CONVERSATION,
                muted_until_ms: Some(u64::MAX),
                archived: Some(true),
                unread: None,
            }
            .into(),
        ),
        (
            "own_states",
            client::OwnStates {
                request: 26,
                conversations: vec![CONVERSATION, ConversationId(300)],
            }
            .into(),
        ),
        ("get_privacy", client::GetPrivacy { request: 27 }.into()),
        (
            "set_privacy",
            client::SetPrivacy {
                request: 28,
                presence: Audience::Everyone,
                last_seen: Audience::Contacts,
                receipts: Audience::Nobody,
            }
            .into(),
        ),
        ("set_away", client::SetAway { away: true }.into()),
        ("devices_first_page", client::Devices { request: 29, limit: 100, after: None }.into()),
        (
            "name_device",
            client::NameDevice { request: 30, device: ADA_DEVICE, name: "phone".into() }.into(),
        ),
        ("revoke_device", client::RevokeDevice { request: 31, device: ADA_DEVICE }.into()),
    ]
}

/// Frames of the server.
fn told() -> Vec<(&'static str, rookery_protocol::ServerFrame)> {
    vec![
        (
            "people_page",
            server::PeoplePage {
                request: 20,
                people: vec![
                    Person { user: EVE, name: "eve".into(), contact: false, blocked: true },
                    Person { user: BOB, name: "bob".into(), contact: true, blocked: false },
                ],
                next: Some(BOB),
            }
            .into(),
        ),
        (
            "own_state_page",
            server::OwnStatePage {
                request: 26,
                states: vec![OwnState {
                    conversation: CONVERSATION,
                    muted_until_ms: u64::MAX,
                    archived: true,
                    unread: false,
                }],
            }
            .into(),
        ),
        (
            "privacy",
            server::Privacy {
                request: 27,
                presence: Audience::Everyone,
                last_seen: Audience::Contacts,
                receipts: Audience::Nobody,
            }
            .into(),
        ),
        (
            "device_page",
            server::DevicePage {
                request: 29,
                devices: vec![DeviceInfo {
                    device: ADA_DEVICE,
                    name: "phone".into(),
                    created_ms: T,
                    seen_ms: T + 60_000,
                }],
                next: None,
            }
            .into(),
        ),
        ("own_changed_person", server::OwnChanged { kind: OwnKind::Person, id: EVE.0 }.into()),
        (
            "own_changed_conversation",
            server::OwnChanged { kind: OwnKind::Conversation, id: CONVERSATION.0 }.into(),
        ),
        ("own_changed_privacy", server::OwnChanged { kind: OwnKind::Privacy, id: 0 }.into()),
    ]
}
