//! The rules of groups: every operation times every role, and what each comes to.

use super::*;
use rookery_protocol::ConversationId;
use rookery_protocol::group::secret_text;
use rookery_store::Version;

const OWNER: UserId = UserId(1);
const ADMIN: UserId = UserId(2);
const MEMBER: UserId = UserId(3);
const OTHER_ADMIN: UserId = UserId(4);
const OTHER_MEMBER: UserId = UserId(5);
/// Never was a member.
const STRANGER: UserId = UserId(8);
/// Was removed from it.
const REMOVED: UserId = UserId(9);
const SECRET: [u8; 16] = [0xab; 16];

fn seat(user: UserId, role: u8) -> Seat {
    Seat { user, role, joined_seq: user.0 }
}

fn group() -> Group {
    Group {
        facts: GroupFacts { title: "Lunch".into(), link: Some(SECRET), ..GroupFacts::default() },
        seats: vec![
            seat(OWNER, ROLE_OWNER),
            seat(ADMIN, ROLE_ADMIN),
            seat(MEMBER, ROLE_MEMBER),
            seat(OTHER_ADMIN, ROLE_ADMIN),
            seat(OTHER_MEMBER, ROLE_MEMBER),
        ],
        absent: None,
    }
}

fn change(action: GroupAction, users: &[UserId], value: u8, text: &str) -> GroupChange {
    GroupChange { action, users: users.to_vec(), value, text: text.into() }
}

fn by(group: &Group, sender: UserId, change: &GroupChange) -> Result<Decision, ErrorCode> {
    let wish = Wish { sender, change, hash: 7, seq: 51, time_ms: 1_000 };
    let facts = ChangeFacts { removed: sender == REMOVED, ..ChangeFacts::default() };
    decide(group, &wish, &facts)
}

/// What each gets: owner, admin, member, stranger, removed; `None`: it is done.
type Row = (GroupChange, [Option<ErrorCode>; 5]);

fn matrix() -> Vec<Row> {
    use ErrorCode::{
        AlreadyMember, BadLink, IdTaken, LastOwner, NotAMember, RoleTooLow, TargetNoMember,
    };
    use GroupAction::{
        Add, CloseLink, Create, Join, Leave, Remove, Rename, ResetLink, SetAvatar, SetHistory,
        SetRole,
    };
    let no = Some;
    let admins = [None, None, no(RoleTooLow), no(NotAMember), no(NotAMember)];
    let owners = [None, no(RoleTooLow), no(RoleTooLow), no(NotAMember), no(NotAMember)];
    let (good, bad) = (secret_text(&SECRET), secret_text(&[0; 16]));
    let new = UserId(77);
    vec![
        (change(Create, &[new], 0, "Lunch"), [no(IdTaken); 5]),
        (change(Rename, &[], 0, "Dinner"), admins),
        (change(SetAvatar, &[], 0, "a"), admins),
        (change(ResetLink, &[], 0, &bad), admins),
        (change(CloseLink, &[], 0, ""), admins),
        (change(Add, &[new], 0, ""), admins),
        (change(Remove, &[OTHER_MEMBER], 0, ""), admins),
        (change(Remove, &[OTHER_ADMIN], 0, ""), owners),
        (change(Remove, &[OTHER_MEMBER, OTHER_ADMIN], 0, ""), owners),
        (
            change(Remove, &[OWNER], 0, ""),
            [no(LastOwner), no(RoleTooLow), no(RoleTooLow), no(NotAMember), no(NotAMember)],
        ),
        (
            change(Remove, &[new], 0, ""),
            [
                no(TargetNoMember),
                no(TargetNoMember),
                no(RoleTooLow),
                no(NotAMember),
                no(NotAMember),
            ],
        ),
        (change(SetRole, &[OTHER_MEMBER], ROLE_ADMIN, ""), owners),
        (change(SetRole, &[OTHER_MEMBER], ROLE_OWNER, ""), owners),
        (change(SetRole, &[OTHER_ADMIN], ROLE_MEMBER, ""), owners),
        (
            change(SetRole, &[OWNER], ROLE_MEMBER, ""),
            [no(LastOwner), no(RoleTooLow), no(RoleTooLow), no(NotAMember), no(NotAMember)],
        ),
        (change(SetHistory, &[], 1, ""), owners),
        (change(Leave, &[], 0, ""), [no(LastOwner), None, None, no(NotAMember), no(NotAMember)]),
        (
            change(Join, &[], 0, &good),
            [no(AlreadyMember), no(AlreadyMember), no(AlreadyMember), None, no(BadLink)],
        ),
        (change(Join, &[], 0, &bad), [no(BadLink); 5]),
        (change(GroupAction::Other(99), &[], 0, ""), {
            let other = no(RoleTooLow);
            [no(ErrorCode::BadField), other, other, no(NotAMember), no(NotAMember)]
        }),
    ]
}

#[test]
fn every_operation_gets_what_the_role_allows_and_no_more() {
    for (change, expected) in matrix() {
        for (sender, expected) in
            [OWNER, ADMIN, MEMBER, STRANGER, REMOVED].into_iter().zip(expected)
        {
            let came = by(&group(), sender, &change).err();
            assert_eq!(came, expected, "{change:?} by {sender}");
        }
    }
}

#[test]
fn who_is_added_or_joins_is_a_plain_member_from_the_entry_on() {
    let new = UserId(77);
    for (sender, change) in [
        (ADMIN, change(GroupAction::Add, &[new], 0, "")),
        (new, change(GroupAction::Join, &[], 0, &secret_text(&SECRET))),
    ] {
        let Decision { after, writes } = by(&group(), sender, &change).unwrap();
        let seat = Seat { user: new, role: ROLE_MEMBER, joined_seq: 50 };
        assert_eq!(writes.joined, [seat]);
        assert_eq!(after.seat(new), Some(&seat));
        assert_eq!((writes.facts, writes.ended), (None, vec![]));
    }
}

#[test]
fn an_end_is_written_with_whether_it_was_chosen() {
    let removed = by(&group(), OWNER, &change(GroupAction::Remove, &[MEMBER], 0, "")).unwrap();
    let ended = Ended { user: MEMBER, joined_seq: MEMBER.0, removed: true };
    assert_eq!(removed.writes.ended, [ended]);
    assert!(removed.after.seat(MEMBER).is_none());
    let left = by(&group(), MEMBER, &change(GroupAction::Leave, &[], 0, "")).unwrap();
    assert_eq!(left.writes.ended, [Ended { removed: false, ..ended }]);
}

#[test]
fn of_two_admins_the_second_meets_what_the_first_has_left() {
    let demoted =
        by(&group(), OWNER, &change(GroupAction::SetRole, &[ADMIN], ROLE_MEMBER, "")).unwrap();
    let late = by(&demoted.after, ADMIN, &change(GroupAction::Rename, &[], 0, "Mine"));
    assert_eq!(late.err(), Some(ErrorCode::RoleTooLow));
    let twice = change(GroupAction::Remove, &[MEMBER], 0, "");
    let first = by(&group(), ADMIN, &twice).unwrap();
    let second = by(&first.after, OTHER_ADMIN, &twice);
    assert_eq!(second.err(), Some(ErrorCode::TargetNoMember));
}

#[test]
fn an_owner_may_go_once_there_is_another_and_a_group_ends_with_its_last_member() {
    let shared =
        by(&group(), OWNER, &change(GroupAction::SetRole, &[ADMIN], ROLE_OWNER, "")).unwrap();
    let alone = by(&shared.after, OWNER, &change(GroupAction::Leave, &[], 0, "")).unwrap();
    assert_eq!(alone.after.owners(), 1);
    let last = Group { seats: vec![seat(OWNER, ROLE_OWNER)], ..group() };
    let ended = by(&last, OWNER, &change(GroupAction::Leave, &[], 0, "")).unwrap();
    assert_eq!(ended.after.members(), []);
    assert_eq!(ended.after.facts.link, None, "nobody can join what has ended");
    assert!(ended.writes.link);
}

#[test]
fn a_group_takes_as_many_as_it_may_and_only_who_is_there() {
    let many: Vec<UserId> = (100..195).map(UserId).collect();
    assert!(by(&group(), ADMIN, &change(GroupAction::Add, &many, 0, "")).is_ok());
    let too_many: Vec<UserId> = (100..196).map(UserId).collect();
    let full = by(&group(), ADMIN, &change(GroupAction::Add, &too_many, 0, ""));
    assert_eq!(full.err(), Some(ErrorCode::GroupFull));
    let twice = by(&group(), ADMIN, &change(GroupAction::Add, &[MEMBER], 0, ""));
    assert_eq!(twice.err(), Some(ErrorCode::AlreadyMember));
    let add = change(GroupAction::Add, &[UserId(77)], 0, "");
    let wish = Wish { sender: ADMIN, change: &add, hash: 7, seq: 51, time_ms: 1_000 };
    let facts = ChangeFacts { unknown: vec![UserId(77)], ..ChangeFacts::default() };
    assert_eq!(decide(&group(), &wish, &facts).err(), Some(ErrorCode::UnknownUser));
}

#[test]
fn who_makes_a_group_owns_it_and_it_is_made_only_once() {
    let absent = rookery_store::group::absent(ConversationId(5), Version(3));
    let nothing =
        Group { facts: GroupFacts::default(), seats: Vec::new(), absent: Some(absent.clone()) };
    let create = change(GroupAction::Create, &[MEMBER], 1, "Lunch");
    let wish = Wish { sender: OWNER, change: &create, hash: 7, seq: 1, time_ms: 1_000 };
    let made = decide(&nothing, &wish, &ChangeFacts::default()).unwrap();
    assert_eq!(made.writes.guards, [absent]);
    let facts = made.writes.facts.unwrap();
    assert_eq!(
        (facts.title.as_str(), facts.open_history, facts.created_ms),
        ("Lunch", true, 1_000)
    );
    let role = |user| made.after.seat(user).map(|seat| (seat.role, seat.joined_seq));
    assert_eq!(role(OWNER), Some((ROLE_OWNER, 0)));
    assert_eq!(role(MEMBER), Some((ROLE_MEMBER, 0)));
    assert_eq!(decide(&made.after, &wish, &ChangeFacts::default()).err(), Some(ErrorCode::IdTaken));
    // Whatever else is asked of a group that is not there.
    for (change, _) in matrix().into_iter().filter(|(c, _)| c.action != GroupAction::Create) {
        let expected = match change.action {
            GroupAction::Join => ErrorCode::BadLink,
            _ => ErrorCode::NotAMember,
        };
        assert_eq!(by(&nothing, OWNER, &change).err(), Some(expected), "{change:?}");
    }
}
