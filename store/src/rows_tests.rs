//! The exact bytes of every value, and what happens to values that are something else.

use super::*;
use crate::plan::Version;
use proptest::prelude::*;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

const USER: UserId = UserId(0x0a);
const DEVICE: DeviceId = DeviceId(0x0d);
const CONV: ConversationId = ConversationId(0x1122_3344_5566_7788);
const TIME: u64 = 0x0190_0000_0000;

fn message() -> MessageRow<'static> {
    MessageRow {
        sender: USER,
        device: DEVICE,
        time_ms: TIME,
        client_msg_id: ClientMsgId([0xee; 16]),
        kind: EntryKind::Text,
        body: b"hi",
    }
}

/// Numbers up to 250 take one byte; `fb`, `fc` and `fd` announce 2, 4 and 8 little-endian ones.
#[test]
fn every_value_has_exactly_these_bytes() {
    let (hash, cc) = ([0xcc; 32], "cc".repeat(32));
    let golden = [
        // version, sender, device, time, client_msg_id, kind, body
        (encode(&message()), format!("01 0a 0d fd0000000090010000 {} 01 026869", "ee".repeat(16))),
        (encode(&HeadRow { seq: 300, time_ms: TIME }), "01 fb2c01 fd0000000090010000".into()),
        // version, kind, title, created
        (
            encode(&ConversationRow { kind: ConversationKind::Group, title: "x", created_ms: 7 }),
            "01 02 0178 07".into(),
        ),
        // version, seq, hash, time
        (
            encode(&DedupeRow { seq: 1, hash: CONV.0, time_ms: 2 }),
            "01 01 fd8877665544332211 02".into(),
        ),
        (encode(&MemberRow { role: 1, joined_seq: 4 }), "01 01 04".into()),
        (encode(&DirectRow { conversation: CONV }), "01 fd8877665544332211".into()),
        (encode(&ActivityRow { time_ms: 70_000 }), "01 fc70110100".into()),
        // version, kind, conversation, first, last
        (
            encode(&PointerRow { kind: 1, conversation: CONV, first: 3, last: 5 }),
            "01 01 fd8877665544332211 03 05".into(),
        ),
        (
            encode(&AccountRow { name: "ann", password_hash: "$a", created_ms: 9 }),
            "01 03616e6e 022461 09".into(),
        ),
        (encode(&NameRow { user: USER }), "01 0a".into()),
        (
            encode(&DeviceValue { name: "tv", created_ms: 8, revoked: true }),
            "01 027476 08 01".into(),
        ),
        // version, user, device, expiry, time of its use
        (
            encode(&RefreshValue { user: USER, device: DEVICE, expires_ms: 6, used_ms: 0 }),
            "01 0a 0d 06 00".into(),
        ),
        (
            encode(&RefreshValue { user: USER, device: DEVICE, expires_ms: 6, used_ms: TIME }),
            "01 0a 0d 06 fd0000000090010000".into(),
        ),
        (encode(&RevocationRow { user: USER, device: DEVICE, time_ms: 7 }), "01 0a 0d 07".into()),
        (encode(&SkeletonRow { user: USER }), "01 0a".into()),
        (encode(&ExternalRow { user: USER }), "01 0a".into()),
        (
            encode(&ProfileRow { display_name: "A", avatar: "b", changed_ms: 9 }),
            "01 0141 0162 09".into(),
        ),
        (encode(&ShutOutRow { since_ms: 9, deleting: true }), "01 09 01".into()),
        // version, how many, then of each: name, value
        (
            encode(&SettingsRow {
                settings: vec![SettingRow { name: "a".into(), value: "bc".into() }],
            }),
            "01 01 0161 026263".into(),
        ),
        (
            encode(&InvitationRow { expires_ms: 8, uses_left: 2, created_ms: 9 }),
            "01 08 02 09".into(),
        ),
        // version, how many, then of each: id, seed, first second
        (
            encode(&KeyRingRow { keys: vec![KeyRow { id: 1, seed: hash, signs_from_s: 9 }] }),
            format!("01 01 01 {cc} 09"),
        ),
        (encode(&FamilyRow { hashes: vec![hash] }), format!("01 01 {cc}")),
        (encode(&FenceRow { node: 1, incarnation: 2, epoch: 3 }), "01 01 02 03".into()),
        (encode(&InstallationRow { inbox_epoch: 2 }), "01 02".into()),
        (encode(&SigningRow { seed: hash }), format!("01 {cc}")),
        (encode(&RetentionRow { keep_ms: 300 }), "01 fb2c01".into()),
        // version, source, phase, last key, rows
        (
            encode(&TransferRow { source: 1, phase: 2, last_key: b"mx", rows: 3 }),
            "01 01 02 026d78 03".into(),
        ),
    ];
    assert_bytes(golden);
}

fn assert_bytes(golden: impl IntoIterator<Item = (Bytes, String)>) {
    for (value, wanted) in golden {
        assert_eq!(hex(value), wanted.replace(' ', ""));
    }
}

#[test]
fn the_rows_of_users_own_things_have_exactly_these_bytes() {
    let golden = [
        (encode(&BlockRow { since_ms: 300 }), "01 fb2c01".into()),
        (encode(&ContactRow { since_ms: 7 }), "01 07".into()),
        // version, muted until, archived, marked unread
        (
            encode(&OwnStateRow { muted_until_ms: 300, archived: true, unread: false }),
            "01 fb2c01 01 00".into(),
        ),
        // version, head, until, delivered, read
        (
            encode(&ShadeRow { head: 5, until: u64::MAX, delivered: 4, read: 3 }),
            "01 05 fdffffffffffffffff 04 03".into(),
        ),
        // version, sender, reason, comment, time
        (
            encode(&ReportRow { sender: USER, reason: 1, comment: "ad", time_ms: 9 }),
            "01 0a 01 026164 09".into(),
        ),
        (encode(&PrivacyRow { presence: 1, last_seen: 2, receipts: 3 }), "01 01 02 03".into()),
    ];
    assert_bytes(golden);
}

#[test]
fn values_that_are_compared_as_bytes_are_big_endian() {
    let golden = [
        (Bytes::copy_from_slice(&encode_rising(258)), "01 0000000000000102".into()),
        (
            Bytes::copy_from_slice(&encode_inbox_floor(2, Stamp::new(Version(258), 3, 4))),
            "01 00000002 0000000000000102 0003 0004".into(),
        ),
        (
            Bytes::copy_from_slice(&encode_device_cursor(2, Stamp::new(Version(258), 3, 4), 5)),
            "01 00000002 0000000000000102 0003 0004 0000000000000005".into(),
        ),
    ];
    assert_bytes(golden);
}

#[test]
fn the_rows_of_a_clusters_members_have_exactly_these_bytes() {
    let golden = [
        // version, name, incarnation, state, counter, link, endpoint, zone, capacity, sessions, lag
        (
            encode(&LeaseRow {
                name: "n1",
                incarnation: 2,
                state: 1,
                counter: 3,
                link: "l",
                endpoint: "e",
                zone: "",
                capacity: 4,
                sessions: 5,
                lag_ms: 6,
            }),
            "01 026e31 02 01 03 016c 0165 00 04 05 06".into(),
        ),
        (encode(&EpochRow { cluster: "c", epoch: 7 }), "01 0163 07".into()),
    ];
    for (value, wanted) in golden {
        let wanted: String = wanted;
        assert_eq!(hex(value), wanted.replace(' ', ""));
    }
}

#[test]
fn the_rows_of_operators_have_exactly_these_bytes() {
    let audit = AuditRow {
        action_id: 7,
        operator: "o",
        node: "n1",
        action: "user.disable",
        target: "",
        outcome: "done",
    };
    let notice = NoticeRow { id: 2, time_ms: 3, until_ms: 300, text: "hi".into() };
    let limits = vec![OverrideRow { number: 1, value: 300 }, OverrideRow { number: 9, value: 0 }];
    let nodes = vec!["n1".to_owned()];
    let word_index =
        WordIndexRow { on: true, whole: false, conversation: 1, seq: 2, erased: 3, nodes };
    assert_bytes([
        // version, action, operator, node, what, target, outcome
        (encode(&audit), "01 07 016f 026e31 0c757365722e64697361626c65 00 04646f6e65".into()),
        // version, greatest id, how many, then of each: id, posted, until, text
        (
            encode(&NoticesRow { last: 2, notices: vec![notice] }),
            "01 02 01 02 03 fb2c01 026869".into(),
        ),
        // version, how many, then of each: number, value
        (encode(&OverridesRow { limits }), "01 02 01 fb2c01 09 00".into()),
        // version, on, whole, conversation, seq, erased, how many nodes, their names
        (encode(&word_index), "01 01 00 01 02 03 01 026e31".into()),
    ]);
}

#[test]
fn a_row_of_a_newer_version_is_refused_by_name() {
    let mut value = encode(&HeadRow { seq: 1, time_ms: 2 }).to_vec();
    value[0] = 2;
    let Err(ReadError::Damaged(why)) = decode::<HeadRow>(&value) else { panic!("not refused") };
    assert!(why.contains("head") && why.contains("newer version of the software"), "{why}");
    let mut rising = encode_rising(1);
    rising[0] = 9;
    let Err(ReadError::Damaged(why)) = decode_rising(&rising, "mark") else {
        panic!("not refused")
    };
    assert!(why.contains("mark") && why.contains("newer version of the software"), "{why}");
}

#[test]
fn what_is_not_exactly_a_row_is_damaged_and_named() {
    let whole = encode(&message());
    let mut longer = whole.to_vec();
    longer.push(0);
    let mut version_0 = whole.to_vec();
    version_0[0] = 0;
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    for value in cut.chain([longer, version_0]) {
        let Err(ReadError::Damaged(why)) = decode::<MessageRow<'_>>(&value) else {
            panic!("{} was read", hex(value));
        };
        assert!(why.starts_with("message: "), "{why}");
    }
    assert!(decode_rising(&[1; 8], "mark").is_err());
    assert!(decode_rising(&[1; 10], "mark").is_err());
    assert!(decode_inbox_floor(&[1; 16]).is_err());
    assert!(decode_inbox_floor(&[1; 18]).is_err());
    assert!(decode_inbox_floor(&[]).is_err());
    for len in [0, 1, 8, 17, 24, 26] {
        assert!(decode_device_cursor(&vec![1; len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_length_that_lies_is_damaged_without_allocating_it() {
    // A family of 2^62 hashes.
    let value = [1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0x40];
    assert!(matches!(decode::<FamilyRow>(&value), Err(ReadError::Damaged(_))));
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(
        sender: u64, device: u64, time_ms: u64, id: [u8; 16], kind: u8,
        body in prop::collection::vec(any::<u8>(), 0..400), seq: u64,
    ) {
        let row = MessageRow {
            sender: UserId(sender),
            device: DeviceId(device),
            time_ms,
            client_msg_id: ClientMsgId(id),
            kind: EntryKind::from_code(kind),
            body: &body,
        };
        let value = encode(&row);
        prop_assert!(value.len() <= MESSAGE_OVERHEAD_BYTES + body.len());
        let read: MessageRow<'_> = decode(&value).unwrap();
        prop_assert_eq!(&read, &row);
        prop_assert_eq!(read.entry(seq).seq, seq);
        prop_assert_eq!(read.entry(seq).body, body);
    }

    #[test]
    fn any_bytes_are_read_or_damaged_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut value = vec![1];
        value.extend(bytes);
        let _message = decode::<MessageRow<'_>>(&value);
        let _family = decode::<FamilyRow>(&value);
        let _account = decode::<AccountRow<'_>>(&value);
        let _floor = decode_inbox_floor(&value);
    }

    #[test]
    fn rising_values_compare_like_their_numbers(one: u64, other: u64) {
        prop_assert_eq!(encode_rising(one).cmp(&encode_rising(other)), one.cmp(&other));
        prop_assert_eq!(decode_rising(&encode_rising(one), "mark"), Ok(one));
    }
}
