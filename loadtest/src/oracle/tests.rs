//! The oracle finds each fault under its own name, and nothing in a clean run.

use super::*;
use proptest::prelude::*;

/// A conversation of two devices that both send and read.
struct Rig {
    oracle: Oracle,
    sent: [u32; 2],
    head: u64,
}

fn value(lane: u32, number: u32) -> Value {
    Value { lane, number, hash: (u64::from(lane) << 32) | (u64::from(number) + 1) }
}

impl Rig {
    fn new() -> Self {
        let mut oracle = Oracle::new();
        let conversation = oracle.conversation(0);
        for _ in 0..2 {
            oracle.lane(conversation);
            oracle.reader(conversation);
        }
        Self { oracle, sent: [0, 0], head: 0 }
    }

    /// One message, acknowledged and given to the readers named.
    fn message(&mut self, lane: u32, readers: &[u32]) -> (Value, u64) {
        let number = &mut self.sent[lane as usize];
        let value = value(lane, *number);
        *number += 1;
        self.head += 1;
        let floor = self.oracle.floor(lane);
        self.oracle.acknowledged(value, self.head, floor, Course::Straight);
        readers.iter().for_each(|&r| self.oracle.delivered(r, value, self.head));
        (value, self.head)
    }

    fn read_back(&mut self, values: &[(Value, u64)]) {
        values.iter().for_each(|&(value, seq)| self.oracle.read_back(0, value, seq));
    }

    fn counts(self) -> Counts {
        let verdict = self.oracle.finish();
        assert_eq!(verdict.counts != Counts::default(), !verdict.findings.is_empty());
        verdict.counts
    }
}

#[test]
fn a_clean_run_is_clean() {
    let mut rig = Rig::new();
    let all: Vec<_> = (0..100).map(|n| rig.message(n % 2, &[0, 1])).collect();
    rig.read_back(&all);
    assert_eq!(rig.oracle.readers_behind(), 0);
    assert!(rig.oracle.finish().clean());
}

#[test]
fn a_run_without_any_acknowledgement_is_not_clean() {
    assert!(!Rig::new().oracle.finish().clean());
}

#[test]
fn a_message_that_a_device_never_got_is_lost_and_leaves_a_gap() {
    let mut rig = Rig::new();
    let mut all = vec![rig.message(0, &[0, 1]), rig.message(0, &[0]), rig.message(0, &[0, 1])];
    rig.read_back(&all);
    assert_eq!(rig.counts(), Counts { lost: 1, gaps: 1, ..Counts::default() });
    // At the end of the conversation there is no jump to see.
    let mut rig = Rig::new();
    all = vec![rig.message(0, &[0, 1]), rig.message(0, &[0])];
    rig.read_back(&all);
    assert_eq!(rig.oracle.readers_behind(), 1);
    assert_eq!(rig.counts(), Counts { lost: 1, ..Counts::default() });
}

#[test]
fn an_acknowledged_message_that_the_history_does_not_hold_is_lost() {
    let mut rig = Rig::new();
    let all = [rig.message(0, &[0, 1]), rig.message(1, &[0, 1])];
    rig.read_back(&all[..1]);
    assert_eq!(rig.counts(), Counts { lost: 1, ..Counts::default() });
}

#[test]
fn a_hole_in_the_history_is_a_gap() {
    let mut rig = Rig::new();
    let all = [rig.message(0, &[0, 1]), rig.message(0, &[0, 1]), rig.message(0, &[0, 1])];
    rig.read_back(&[all[0], all[2]]);
    assert_eq!(rig.counts(), Counts { gaps: 1, ..Counts::default() });
}

#[test]
fn a_place_given_twice_is_duplicated() {
    let mut rig = Rig::new();
    let first = rig.message(0, &[0, 1, 1]);
    rig.read_back(&[first]);
    assert_eq!(rig.counts(), Counts { duplicated: 1, ..Counts::default() });
}

#[test]
fn a_message_at_two_places_is_duplicated() {
    let mut rig = Rig::new();
    let (first, _) = rig.message(0, &[0, 1]);
    rig.oracle.delivered(0, first, 2);
    rig.oracle.delivered(1, first, 2);
    rig.read_back(&[(first, 1), (first, 2)]);
    let counts = rig.counts();
    assert!(counts.duplicated > 0, "{counts:?}");
}

#[test]
fn a_place_given_late_is_reordered_and_no_gap() {
    let mut rig = Rig::new();
    let all = [rig.message(0, &[0]), rig.message(0, &[0])];
    rig.oracle.delivered(1, all[1].0, 2);
    rig.oracle.delivered(1, all[0].0, 1);
    rig.read_back(&all);
    assert_eq!(rig.counts(), Counts { reordered: 1, ..Counts::default() });
}

#[test]
fn two_values_at_one_place_are_found_whoever_tells_of_them() {
    let told: [fn(&mut Rig); 2] = [
        |rig| rig.oracle.delivered(1, value(1, 0), 1),
        |rig| rig.oracle.read_back(0, value(1, 0), 1),
    ];
    for tell in told {
        let mut rig = Rig::new();
        rig.message(0, &[0]);
        tell(&mut rig);
        assert!(rig.counts().lost > 0);
    }
}

#[test]
fn a_message_sent_after_an_acknowledgement_must_stand_behind_it() {
    let mut rig = Rig::new();
    rig.oracle.acknowledged(value(0, 0), 2, 0, Course::Straight);
    // Even one that was refused for a while.
    rig.oracle.acknowledged(value(0, 1), 1, 2, Course::Refused);
    rig.oracle.delivered(0, value(0, 1), 1);
    rig.oracle.delivered(0, value(0, 0), 2);
    rig.oracle.delivered(1, value(0, 1), 1);
    rig.oracle.delivered(1, value(0, 0), 2);
    rig.read_back(&[(value(0, 1), 1), (value(0, 0), 2)]);
    assert_eq!(rig.counts(), Counts { reordered: 1, ..Counts::default() });
}

#[test]
fn messages_under_way_together_keep_their_order_unless_one_was_refused() {
    for (course, reordered) in [(Course::Straight, 1), (Course::Repeated, 1), (Course::Refused, 0)]
    {
        let mut rig = Rig::new();
        rig.oracle.acknowledged(value(0, 1), 1, 0, Course::Straight);
        rig.oracle.acknowledged(value(0, 0), 2, 0, course);
        for reader in 0..2 {
            rig.oracle.delivered(reader, value(0, 1), 1);
            rig.oracle.delivered(reader, value(0, 0), 2);
        }
        rig.read_back(&[(value(0, 1), 1), (value(0, 0), 2)]);
        assert_eq!(rig.counts(), Counts { reordered, ..Counts::default() });
    }
}

#[test]
fn what_is_missing_at_rest_is_told_before_and_counts_after() {
    let mut rig = Rig::new();
    let first = rig.message(0, &[0]);
    assert!(rig.oracle.unsettled().unwrap().contains("reader 1 holds 0 of 1"));
    assert_eq!(rig.oracle.breach(), None);
    rig.oracle.settled();
    assert!(rig.oracle.breach().unwrap().contains("at rest"));
    rig.read_back(&[first]);
    assert!(rig.counts().lost > 0);
}

#[test]
fn marks_never_go_back_and_are_the_same_for_all_at_rest() {
    let mut rig = Rig::new();
    let mark = Mark::Read;
    let marked = |user, seq| Event::Marked { conversation: 0, user, mark, seq };
    rig.message(0, &[0, 1]);
    rig.message(0, &[0, 1]);
    rig.oracle.hear(&marked(1, 2));
    rig.oracle.shown(0, 1, mark, 1);
    assert!(rig.oracle.unsettled().unwrap().contains("at 1, it is at 2"));
    rig.oracle.shown(0, 1, mark, 2);
    assert_eq!(rig.oracle.unsettled(), None);
    rig.oracle.settled();
    assert_eq!(rig.oracle.breach(), None);
    rig.oracle.shown(0, 1, mark, 1);
    assert!(rig.oracle.breach().unwrap().contains("went from 2 to 1"));
    assert_eq!(rig.counts().marks, 1);
}

#[test]
fn presence_that_is_shown_otherwise_than_it_is_at_rest_diverges() {
    let mut rig = Rig::new();
    rig.oracle.hear(&Event::Online { user: 1, online: true });
    rig.oracle.hear(&Event::Seen { reader: 0, user: 1, online: false });
    assert!(rig.oracle.unsettled().unwrap().contains("online: false"));
    rig.oracle.hear(&Event::Seen { reader: 0, user: 1, online: true });
    assert_eq!(rig.oracle.unsettled(), None);
    rig.oracle.hear(&Event::Online { user: 1, online: false });
    rig.oracle.settled();
    assert_eq!(rig.counts().diverged, 2, "at rest, and at the end");
}

#[test]
fn a_number_that_nobody_made_is_a_fault_and_no_panic() {
    let value = value(9, 0);
    for event in [
        Event::Acknowledged { value, seq: 1, floor: 0, course: Course::Straight },
        Event::Delivered { reader: 9, value, seq: 1 },
        Event::ReadBack { conversation: 9, value, seq: 1 },
        Event::Shown { reader: 9, user: 0, mark: Mark::Read, seq: 1 },
    ] {
        let mut oracle = Oracle::new();
        oracle.hear(&event);
        assert!(oracle.breach().is_some(), "{event:?}");
    }
}

#[test]
fn an_unacknowledged_message_that_was_committed_is_no_fault() {
    let mut rig = Rig::new();
    let first = rig.message(0, &[0, 1]);
    let orphan = (value(1, 0), 2);
    rig.oracle.delivered(0, orphan.0, 2);
    rig.oracle.delivered(1, orphan.0, 2);
    rig.read_back(&[first, orphan]);
    assert_eq!(rig.counts(), Counts::default());
}

proptest! {
    /// Any one fault planted into one reader's stream is found.
    #[test]
    fn any_single_fault_in_a_stream_is_found(
        length in 2usize..60,
        at in 0usize..60,
        fault in 0u8..3,
    ) {
        let mut rig = Rig::new();
        let all: Vec<_> = (0..length).map(|n| rig.message(u32::from(n % 3 == 0), &[0])).collect();
        let at = at % (length - 1);
        let mut stream = all.clone();
        match fault {
            0 => drop(stream.remove(at)),
            1 => stream.insert(at, all[at]),
            _ => stream.swap(at, at + 1),
        }
        stream.iter().for_each(|&(value, seq)| rig.oracle.delivered(1, value, seq));
        rig.read_back(&all);
        let counts = rig.counts();
        prop_assert!(match fault {
            0 => counts.lost == 1,
            1 => counts.duplicated == 1,
            _ => counts.reordered == 1,
        }, "{:?}", counts);
    }
}
