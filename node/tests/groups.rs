//! Groups over the wire: who may do what, who is told what, and that nobody else is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod support;

use rookery_protocol::client::{
    Describe, DescribeGroup, FindUsers, History, Mark, Readers, Send, SetTyping, Sync,
};
use rookery_protocol::group::{group_id, secret_text};
use rookery_protocol::server::{ConversationChanged, HistoryPage, Receipt, Sent};
use rookery_protocol::{
    Change, ClientFrame, ClientMsgId, ConversationId, ConversationInfo, Direction, Entry,
    EntryKind, ErrorCode, GroupAction, GroupChange, MarkKind, ServerFrame, UserId,
};
use support::Running;
use support::wire::{Client, User};

const SECRET: [u8; 16] = [7; 16];

/// Somebody with a live connection.
struct Person {
    user: User,
    client: Client,
}

impl Person {
    async fn new(running: &Running, name: &str) -> Self {
        let user = User::sign_up(running, name).await;
        let (client, _) = Client::live(running, &user).await;
        Self { user, client }
    }

    fn id(&self) -> UserId {
        self.user.user
    }

    /// Changes a group; the code of a refusal.
    async fn change(
        &mut self,
        conversation: ConversationId,
        change: &GroupChange,
    ) -> Result<Sent, u16> {
        self.send(conversation, new_id(), EntryKind::Group, change.to_body()).await
    }

    async fn say(&mut self, conversation: ConversationId, text: &str) -> Result<Sent, u16> {
        self.send(conversation, new_id(), EntryKind::Text, text.into()).await
    }

    async fn send(
        &mut self,
        conversation: ConversationId,
        client_msg_id: ClientMsgId,
        kind: EntryKind,
        body: Vec<u8>,
    ) -> Result<Sent, u16> {
        let request = self.client.request();
        let frame = Send { request, conversation, client_msg_id, retry: false, kind, body };
        match self.ask(request, frame).await {
            ServerFrame::Sent(sent) => Ok(sent),
            ServerFrame::Error(error) => Err(error.code),
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&mut self, request: u32, frame: impl Into<ClientFrame>) -> ServerFrame {
        self.client.send(frame).await;
        self.client.answer(request).await
    }

    async fn create(&mut self, users: &[UserId]) -> ConversationId {
        let (id, text) = (new_id(), "Lunch".to_owned());
        let users = users.to_vec();
        let create = GroupChange { users, text, ..GroupChange::new(GroupAction::Create) };
        let sent = self.send(group_id(id), id, EntryKind::Group, create.to_body()).await.unwrap();
        assert_eq!((sent.conversation, sent.seq), (group_id(id), 1));
        sent.conversation
    }

    async fn describe(&mut self, conversation: ConversationId) -> Result<ConversationInfo, u16> {
        let request = self.client.request();
        match self.ask(request, Describe { request, conversation }).await {
            ServerFrame::Conversation(answer) => Ok(answer.info),
            ServerFrame::Error(error) => Err(error.code),
            other => panic!("{other:?}"),
        }
    }

    async fn history(&mut self, conversation: ConversationId) -> Result<HistoryPage, u16> {
        let request = self.client.request();
        let direction = Direction::Before;
        let frame = History { request, conversation, anchor: 0, direction, limit: 200 };
        match self.ask(request, frame).await {
            ServerFrame::HistoryPage(page) => Ok(page),
            ServerFrame::Error(error) => Err(error.code),
            other => panic!("{other:?}"),
        }
    }

    /// Entries of a conversation, up to this seq.
    async fn entries(&mut self, of: ConversationId, last: u64) -> Vec<Entry> {
        let mut entries = Vec::new();
        while entries.last().is_none_or(|entry: &Entry| entry.seq < last) {
            let message = self.client.delivered().await;
            if message.conversation == of {
                entries.push(message.entry);
            }
        }
        entries
    }
}

fn new_id() -> ClientMsgId {
    let mut random = [0; 10];
    getrandom::fill(&mut random).unwrap();
    ClientMsgId::from_parts(rookery_node::now_ms(), random)
}

fn change(action: GroupAction, users: &[UserId], value: u8, text: &str) -> GroupChange {
    GroupChange { action, users: users.to_vec(), value, text: text.into() }
}

/// Ann owns the group, Bob is its admin, Cat its member, Dan was removed, Eve never was in it.
struct Scene {
    people: [Person; 5],
    /// Nobody of these, and on nobody's mind.
    others: [UserId; 2],
    _running: Running,
}

const ROLES: [&str; 5] = ["the owner", "an admin", "a member", "who was removed", "a stranger"];

impl Scene {
    async fn start() -> Self {
        let running = Running::start().await;
        let mut people = Vec::new();
        for name in ["ann", "bob", "cat", "dan", "eve"] {
            people.push(Person::new(&running, name).await);
        }
        let other = User::sign_up(&running, "fay").await.user;
        let another = User::sign_up(&running, "gus").await.user;
        let people = people.try_into().unwrap_or_else(|_| panic!("five people"));
        Self { people, others: [other, another], _running: running }
    }

    /// A fresh group of theirs, with a link and a plain member more.
    async fn group(&mut self) -> ConversationId {
        let [ann, bob, cat, dan, _] = &mut self.people;
        let all = [bob.id(), cat.id(), dan.id(), self.others[0]];
        let group = ann.create(&all).await;
        for step in [
            change(GroupAction::SetRole, &[bob.id()], 2, ""),
            change(GroupAction::ResetLink, &[], 0, &secret_text(&SECRET)),
            change(GroupAction::Remove, &[dan.id()], 0, ""),
        ] {
            ann.change(group, &step).await.unwrap();
        }
        group
    }
}

/// What the five get; `None`: it is done.
type Row = (GroupChange, [Option<ErrorCode>; 5]);

fn matrix(scene: &Scene) -> Vec<Row> {
    use ErrorCode::{AlreadyMember, BadLink, LastOwner, NotAMember, RoleTooLow, TargetNoMember};
    use GroupAction as A;
    let no = Some;
    let outside = no(NotAMember);
    let admins = [None, None, no(RoleTooLow), outside, outside];
    let owners = [None, no(RoleTooLow), no(RoleTooLow), outside, outside];
    let [member, new] = scene.others;
    let (owner, admin) = (scene.people[0].id(), scene.people[1].id());
    let (good, bad) = (secret_text(&SECRET), secret_text(&[0; 16]));
    vec![
        (change(A::Rename, &[], 0, "Dinner"), admins),
        (change(A::SetAvatar, &[], 0, "pictures/1"), admins),
        (change(A::ResetLink, &[], 0, &bad), admins),
        (change(A::CloseLink, &[], 0, ""), admins),
        (change(A::Add, &[new], 0, ""), admins),
        (change(A::Remove, &[member], 0, ""), admins),
        (
            change(A::Remove, &[new], 0, ""),
            [no(TargetNoMember), no(TargetNoMember), no(RoleTooLow), outside, outside],
        ),
        (
            change(A::Remove, &[owner], 0, ""),
            [no(LastOwner), no(RoleTooLow), no(RoleTooLow), outside, outside],
        ),
        (change(A::SetRole, &[member], 2, ""), owners),
        (change(A::SetRole, &[admin], 3, ""), owners),
        (change(A::SetHistory, &[], 1, ""), owners),
        (change(A::Leave, &[], 0, ""), [no(LastOwner), None, None, outside, outside]),
        (
            change(A::Join, &[], 0, &good),
            [no(AlreadyMember), no(AlreadyMember), no(AlreadyMember), no(BadLink), None],
        ),
        (change(A::Join, &[], 0, &bad), [no(BadLink); 5]),
    ]
}

#[tokio::test]
async fn every_change_gets_what_the_role_allows_and_a_refused_one_changes_nothing() {
    let mut scene = Scene::start().await;
    for (change, expected) in matrix(&scene) {
        for (at, expected) in expected.into_iter().enumerate() {
            let group = scene.group().await;
            let before = scene.people[0].describe(group).await.unwrap();
            let came = scene.people[at].change(group, &change).await;
            let who = ROLES[at];
            match expected {
                None => assert_eq!(came.map(|sent| sent.seq), Ok(5), "{change:?} by {who}"),
                Some(code) => {
                    assert_eq!(came.err(), Some(code.code()), "{change:?} by {who}");
                    let after = scene.people[0].describe(group).await.unwrap();
                    let told = |info: &ConversationInfo| {
                        let roles: Vec<_> = info.members.iter().map(|m| (m.user, m.role)).collect();
                        (info.head, info.title.clone(), roles)
                    };
                    assert_eq!(told(&after), told(&before), "{change:?} by {who}");
                }
            }
        }
    }
}

#[tokio::test]
async fn outsiders_learn_nothing_of_a_group() {
    let mut scene = Scene::start().await;
    let group = scene.group().await;
    let code = ErrorCode::NotAMember.code();
    for person in &mut scene.people[3..] {
        assert_eq!(person.say(group, "let me in").await.err(), Some(code));
        assert_eq!(person.describe(group).await.err(), Some(code));
        assert_eq!(person.history(group).await.err(), Some(code));
        let request = person.client.request();
        let frames: [ClientFrame; 2] = [
            DescribeGroup { request, conversation: group }.into(),
            Readers { request, conversation: group, seq: 1 }.into(),
        ];
        for frame in frames {
            let came = person.ask(request, frame).await;
            assert!(matches!(&came, ServerFrame::Error(e) if e.code == code), "{came:?}");
        }
        let frames: [ClientFrame; 2] = [
            Mark { conversation: group, kind: MarkKind::Read, seq: 1 }.into(),
            SetTyping { conversation: group, active: true }.into(),
        ];
        for frame in frames {
            let came = person.ask(0, frame).await;
            assert!(matches!(&came, ServerFrame::Error(e) if e.code == code), "{came:?}");
        }
        assert!(person.client.conversations().await.conversations.is_empty());
    }
    // Of the link only those are told who may give it away.
    for (person, link) in scene.people.iter_mut().zip([true, true, false]) {
        let request = person.client.request();
        match person.ask(request, DescribeGroup { request, conversation: group }).await {
            ServerFrame::Group(told) => assert_eq!(told.link == secret_text(&SECRET), link),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_is_removed_gets_the_entry_that_says_so_and_nothing_later_until_added_again() {
    let mut scene = Scene::start().await;
    let [ann, bob, ..] = &mut scene.people;
    let group = ann.create(&[bob.id()]).await;
    ann.say(group, "one").await.unwrap();
    let out = change(GroupAction::Remove, &[bob.id()], 0, "");
    ann.change(group, &out).await.unwrap();
    let entries = bob.entries(group, 3).await;
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(GroupChange::from_body(&entries[2].body), Some(out));
    ann.say(group, "not for bob").await.unwrap();
    let back = change(GroupAction::Add, &[bob.id()], 0, "");
    ann.change(group, &back).await.unwrap();
    // The first that Bob hears after the third entry is that he is back.
    let told = bob.client.frame().await;
    let created = ConversationChanged { conversation: group, change: Change::Created };
    let news = |frame: &ServerFrame| match frame {
        ServerFrame::ConversationChanged(changed) => Some(*changed == created),
        ServerFrame::Message(message) => panic!("{message:?}"),
        _ => None,
    };
    match news(&told) {
        Some(known) => assert!(known),
        None => assert!(bob.client.until(news).await),
    }
    assert_eq!(bob.entries(group, 5).await.iter().map(|e| e.seq).collect::<Vec<_>>(), [5]);
    let page = bob.history(group).await.unwrap();
    assert_eq!((page.floor, page.entries.len()), (5, 1));
    assert_eq!(bob.describe(group).await.unwrap().floor, 5);
}

#[tokio::test]
async fn a_new_device_and_one_that_was_away_hold_the_same_history_bit_for_bit() {
    let mut scene = Scene::start().await;
    let [ann, bob, cat, ..] = &mut scene.people;
    let (mut away, _) = Client::welcomed(&scene._running, &bob.user).await;
    away.send(Sync { request: 1, cursor: None }).await;
    let cursor = match away.answer(1).await {
        ServerFrame::CaughtUp(caught_up) => caught_up.cursor,
        other => panic!("{other:?}"),
    };
    drop(away);
    let group = ann.create(&[bob.id()]).await;
    ann.say(group, "hello").await.unwrap();
    ann.change(group, &change(GroupAction::ResetLink, &[], 0, &secret_text(&SECRET)))
        .await
        .unwrap();
    cat.change(group, &change(GroupAction::Join, &[], 0, &secret_text(&SECRET))).await.unwrap();
    ann.change(group, &change(GroupAction::Rename, &[], 0, "Dinner")).await.unwrap();
    cat.say(group, "me too").await.unwrap();
    let live = bob.entries(group, 6).await;
    assert_eq!(live.len(), 6);
    for entry in &live {
        let told = format!("{:?}", String::from_utf8_lossy(&entry.body));
        assert!(!told.contains(&secret_text(&SECRET)), "the log keeps no secret");
    }
    let (client, _) = Client::live(&scene._running, &bob.user).await;
    let mut fresh = Person { user: bob.user.clone(), client };
    let page = fresh.history(group).await.unwrap();
    assert_eq!((page.entries, page.head), (live.clone(), 6));
    let info = fresh.client.conversations().await.conversations.remove(0);
    assert_eq!((info.title.as_str(), info.head, info.last.as_ref()), ("Dinner", 6, live.last()));
    let (client, _) = Client::welcomed(&scene._running, &bob.user).await;
    let mut back = Person { user: bob.user.clone(), client };
    back.client.send(Sync { request: 1, cursor: Some(cursor) }).await;
    assert_eq!(back.entries(group, 6).await, live);
}

#[tokio::test]
async fn a_creation_that_is_repeated_makes_one_group() {
    let mut scene = Scene::start().await;
    let [ann, bob, ..] = &mut scene.people;
    let id = new_id();
    let create = change(GroupAction::Create, &[bob.id()], 0, "Lunch").to_body();
    let request = ann.client.request();
    let mut frame = Send {
        request,
        conversation: group_id(id),
        client_msg_id: id,
        retry: false,
        kind: EntryKind::Group,
        body: create,
    };
    assert!(matches!(ann.ask(request, frame.clone()).await, ServerFrame::Sent(s) if s.seq == 1));
    (frame.request, frame.retry) = (ann.client.request(), true);
    let again = ann.ask(frame.request, frame.clone()).await;
    assert!(matches!(again, ServerFrame::Sent(s) if s.seq == 1 && s.duplicate), "{again:?}");
    // The same id with other content, another's group, and an id that is not the message's.
    frame.request = ann.client.request();
    frame.body = change(GroupAction::Create, &[bob.id()], 0, "Dinner").to_body();
    let reused = ann.ask(frame.request, frame.clone()).await;
    assert!(matches!(&reused, ServerFrame::Error(e) if e.code == ErrorCode::IdReused.code()));
    let taken = bob.send(group_id(id), id, EntryKind::Group, frame.body.clone()).await;
    assert_eq!(taken.err(), Some(ErrorCode::IdTaken.code()));
    frame.conversation = ConversationId(1);
    frame.request = ann.client.request();
    let other = ann.ask(frame.request, frame).await;
    assert!(matches!(&other, ServerFrame::Error(e) if e.code == ErrorCode::BadField.code()));
    assert_eq!(ann.describe(group_id(id)).await.unwrap().head, 1);
}

#[tokio::test]
async fn of_two_admins_who_remove_the_same_member_one_is_told_that_it_is_done() {
    let mut scene = Scene::start().await;
    let group = scene.group().await;
    let member = scene.others[0];
    let [ann, bob, ..] = &mut scene.people;
    let remove = change(GroupAction::Remove, &[member], 0, "");
    let (one, other) = tokio::join!(ann.change(group, &remove), bob.change(group, &remove));
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(refused, [ErrorCode::TargetNoMember.code()]);
    assert_eq!(ann.describe(group).await.unwrap().head, 5);
}

#[tokio::test]
async fn typing_and_marks_are_told_and_who_has_read_can_be_asked() {
    let mut scene = Scene::start().await;
    let [ann, bob, cat, ..] = &mut scene.people;
    let group = ann.create(&[bob.id(), cat.id()]).await;
    let seq = ann.say(group, "hello").await.unwrap().seq;
    for person in [&mut *bob, &mut *cat] {
        person.entries(group, seq).await;
    }
    bob.client.send(SetTyping { conversation: group, active: true }).await;
    let typist = ann
        .client
        .until(|frame| match frame {
            ServerFrame::Typing(typing) => Some(typing.user),
            _ => None,
        })
        .await;
    assert_eq!(typist, bob.id());
    bob.client.send(Mark { conversation: group, kind: MarkKind::Read, seq }).await;
    // Bob hears of his own mark, and it is stored by then.
    let own = Receipt { conversation: group, user: bob.id(), kind: MarkKind::Read, seq };
    bob.client.until(|frame| (*frame == ServerFrame::Receipt(own)).then_some(())).await;
    let request = ann.client.request();
    match ann.ask(request, Readers { request, conversation: group, seq }).await {
        ServerFrame::ReadBy(told) => {
            let mut expected = vec![ann.id(), bob.id()];
            expected.sort_unstable();
            assert_eq!((told.read, told.delivered), (expected, vec![]));
        }
        other => panic!("{other:?}"),
    }
    cat.client.send(Mark { conversation: group, kind: MarkKind::Read, seq }).await;
    let all = Receipt { conversation: group, user: UserId(0), kind: MarkKind::Read, seq };
    ann.client.until(|frame| (*frame == ServerFrame::Receipt(all)).then_some(())).await;
}

#[tokio::test]
async fn users_are_found_by_their_names_and_strangers_cannot_be_invented() {
    let mut scene = Scene::start().await;
    let [ann, bob, ..] = &mut scene.people;
    let request = ann.client.request();
    let names = ["BOB", "nobody", "x".repeat(99).as_str()].map(str::to_owned).to_vec();
    match ann.ask(request, FindUsers { request, names }).await {
        ServerFrame::Users(found) => {
            let found: Vec<_> = found.users.into_iter().map(|f| (f.user, f.name)).collect();
            assert_eq!(found, [(bob.id(), "bob".to_owned())]);
        }
        other => panic!("{other:?}"),
    }
    let group = ann.create(&[]).await;
    let nobody = change(GroupAction::Add, &[UserId(404)], 0, "");
    let refused = ann.change(group, &nobody).await;
    assert_eq!(refused.err(), Some(ErrorCode::UnknownUser.code()));
    // A one-to-one conversation is no group.
    let direct = ann.client.open_direct("bob").await;
    let rename = change(GroupAction::Rename, &[], 0, "Ours");
    assert_eq!(ann.change(direct, &rename).await.err(), Some(ErrorCode::NotAGroup.code()));
    let malformed = change(GroupAction::Rename, &[], 0, "");
    assert_eq!(ann.change(group, &malformed).await.err(), Some(ErrorCode::BadField.code()));
}
