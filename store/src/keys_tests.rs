//! The exact bytes of every key.

use super::*;
use crate::plan::Version;

const CONV: ConversationId = ConversationId(0x1122_3344_5566_7788);
const ANN: UserId = UserId(0x0a);
const BOB: UserId = UserId(0x0b);
const DEVICE: DeviceId = DeviceId(0x0d);

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn every_key_has_exactly_these_bytes() {
    let id = ClientMsgId([0xee; 16]);
    let stamp = Stamp::new(Version(0x0102), 3, 4);
    let golden = [
        // tag, conversation, seq
        (hex(message(CONV, 258)), "6d11223344556677880000000000000102"),
        (hex(head(CONV)), "681122334455667788"),
        (hex(floor(CONV)), "621122334455667788"),
        (hex(conversation(CONV)), "631122334455667788"),
        // tag, conversation, sender, client_msg_id
        (
            hex(dedupe(CONV, ANN, id)),
            "641122334455667788000000000000000aeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
        ),
        (hex(member(CONV, ANN)), "701122334455667788000000000000000a"),
        (hex(members(CONV)), "701122334455667788"),
        // tag, conversation, user, kind
        (hex(mark(CONV, ANN, MarkKind::Read)), "771122334455667788000000000000000a02"),
        // tag, lower user, higher user
        (hex(direct(ANN, BOB)), "78000000000000000a000000000000000b"),
        (hex(direct(BOB, ANN)), "78000000000000000a000000000000000b"),
        (hex(activity(ANN, CONV)), "61000000000000000a1122334455667788"),
        (hex(activities(ANN)), "61000000000000000a"),
        // tag, user, epoch, then: version, plan, op
        (hex(inbox(ANN, 1)), "69000000000000000a00000001"),
        (hex(pointer(ANN, 1, stamp)), "69000000000000000a00000001000000000000010200030004"),
        (hex(inbox_floor(ANN)), "6a000000000000000a"),
        (hex(account(ANN)), "75000000000000000a"),
        (hex(name("ann")), "6e616e6e"),
        (hex(device(ANN, DEVICE)), "76000000000000000a000000000000000d"),
        (
            hex(refresh(&[0xcc; 32])),
            "74cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        ),
        (hex(family(ANN, DEVICE)), "79000000000000000a000000000000000d"),
        (hex(revocation(stamp)), "52000000000000010200030004"),
        (hex(skeleton("ann")), "4e616e6e"),
        (
            hex(external(&[0xcc; 32])),
            "4fcccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        ),
        (hex(profile(ANN)), "55000000000000000a"),
        (hex(shut_out(ANN)), "58000000000000000a"),
        (hex(settings(ANN)), "54000000000000000a"),
        (
            hex(invitation(&[0xcc; 32])),
            "47cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        ),
        (hex(block(ANN, BOB)), "42000000000000000a000000000000000b"),
        (hex(blocks(ANN)), "42000000000000000a"),
        (hex(contact(BOB, ANN)), "43000000000000000b000000000000000a"),
        (hex(contacts(ANN)), "43000000000000000a"),
        (hex(own_state(ANN, CONV)), "44000000000000000a1122334455667788"),
        (hex(own_states(ANN)), "44000000000000000a"),
        (hex(shade(CONV, ANN)), "501122334455667788000000000000000a"),
        // tag, conversation, seq, reporter
        (hex(report(CONV, 258, ANN)), "5111223344556677880000000000000102000000000000000a"),
        (hex(reports_of(CONV)), "511122334455667788"),
        (hex(privacy(ANN)), "56000000000000000a"),
        (hex(last_seen(ANN)), "73000000000000000a"),
        (hex(device_cursor(ANN, DEVICE)), "71000000000000000a000000000000000d"),
        (hex(retention(CONV)), "721122334455667788"),
        (hex(fence(Slot(0x0fff))), "660fff"),
        (hex(lease(0x0102)), "4c0000000000000102"),
        (hex(EPOCH), "45"),
        (hex(INSTALLATION), "49"),
        (hex(SIGNING_KEY), "4b"),
        (hex(KEY_RING), "4a"),
        (hex(TRANSFER), "5a"),
        // tag, time, id
        (hex(audit(AuditPlace { time_ms: 0x0102, id: 3 })), "5900000000000001020000000000000003"),
        (hex(NOTICES), "41"),
        (hex(OVERRIDES), "53"),
    ];
    for (key, wanted) in golden {
        assert_eq!(key, wanted);
    }
}

#[test]
fn the_keys_of_words_have_exactly_these_bytes() {
    // tag, conversation, word, 0, seq inverted
    assert_eq!(hex(word(CONV, "ann", 258)), "571122334455667788616e6e00fffffffffffffefd");
    assert_eq!(hex(words_from(CONV, "an")), "571122334455667788616e");
    assert_eq!(hex(WORD_INDEX), "46");
}

#[test]
fn a_prefix_ends_before_the_next_id_and_after_its_own_rows() {
    let end = prefix_end(&members(CONV));
    assert!(member(CONV, UserId(u64::MAX)).as_slice() < end.as_ref());
    assert!(member(ConversationId(CONV.0 + 1), UserId(0)).as_slice() >= end.as_ref());
    let last = prefix_end(&members(ConversationId(u64::MAX)));
    assert_eq!(last.as_ref(), b"q");
    assert!(prefix_end(&[u8::MAX; 3]).is_empty());
}

#[test]
fn rows_that_decide_something_can_be_guarded_on() {
    let never = |key: &[u8]| is_never_guarded(key.first(), key.len());
    let stamp = Stamp::new(Version(1), 0, 0);
    assert!(never(&message(CONV, 1)));
    assert!(never(&dedupe(CONV, ANN, ClientMsgId([0; 16]))));
    assert!(never(&pointer(ANN, 1, stamp)));
    assert!(never(&word(CONV, "ann", 1)));
    for key in [head(CONV).as_slice(), &fence(Slot(1)), &member(CONV, ANN), &inbox_floor(ANN)] {
        assert!(!never(key));
    }
    assert!(!never(b"m") && !never(b"") && !never(INSTALLATION));
}

#[test]
fn keys_of_another_length_are_damaged_not_guessed() {
    assert_eq!(last_id(&message(CONV, 7), "message"), Ok(7));
    assert!(matches!(last_id(b"m", "message"), Err(ReadError::Damaged(_))));
    assert!(matches!(last_id(&[0; 18], "message"), Err(ReadError::Damaged(_))));
    assert_eq!(word_parts(&word(CONV, "ann", 7)), Ok((CONV, "ann", 7)));
    for bad in [b"W".as_slice(), b"Wann", &words_from(CONV, "anything and more")] {
        assert!(matches!(word_parts(bad), Err(ReadError::Damaged(_))));
    }
    let stamp = Stamp::new(Version(9), 1, 2);
    assert_eq!(last_stamp(&pointer(ANN, 1, stamp)), Ok(stamp));
    assert!(matches!(last_stamp(&[0; 24]), Err(ReadError::Damaged(_))));
}
