//! Tables of what is delivered and answered: order, repeats, gaps, sends.

use super::*;
use crate::event::Course;

#[test]
fn unknown_stream_frames_are_counted_and_unknown_others_are_not() {
    let mut rig = Rig::up();
    let before = rig.core.stream.received();
    for n in [0xfe, 0xc9, 0xbf, 0x90] {
        rig.core.handle(rig.now, Input::Received(&[n, 1, 0]));
    }
    assert_eq!(rig.core.stream.received(), before + 2);
}

#[test]
fn the_stream_comes_out_dense_whatever_order_and_repeats_come_in() {
    // Live seqs (0: the page of the fill comes) -> what the application sees.
    for (live, told) in [
        (&[1, 2, 3][..], &[1, 2, 3][..]),
        (&[1, 1, 2, 2, 1], &[1, 2]),
        (&[1, 4, 0], &[1, 2, 3, 4]),
        (&[1, 4, 5, 4, 0, 6], &[1, 2, 3, 4, 5, 6]),
        (&[1, 4, 5], &[1]),
        (&[1, 6, 4, 0], &[1, 2, 3, 4, 5, 6]),
        // The first one of an unknown conversation says where it starts.
        (&[41, 42], &[41, 42]),
    ] {
        let mut rig = Rig::up();
        let mut newest = 0;
        for &seq in live {
            if seq == 0 {
                let (request, anchor) = rig.history_request();
                rig.say(page(request, anchor + 1..=newest, newest, 1));
            } else {
                newest = newest.max(seq);
                rig.say(message(seq));
            }
        }
        assert_eq!(rig.seqs(), told, "{live:?}");
    }
}

#[test]
fn a_fill_asks_page_after_page_and_tells_what_the_server_has_trimmed() {
    let mut rig = Rig::up();
    rig.core.track(ROOM, 0);
    rig.say(message(9));
    let (request, anchor) = rig.history_request();
    assert_eq!(anchor, 0);
    rig.say(page(request, 3..=5, 9, 3));
    let (request, anchor) = rig.history_request();
    assert_eq!(anchor, 5);
    rig.say(page(request, 6..=8, 9, 3));
    // 1 and 2 are gone.
    assert_eq!(rig.seqs(), [0, 3, 4, 5, 6, 7, 8, 9]);
    assert!(rig.written().is_empty());
}

#[test]
fn a_fill_that_gets_nothing_asks_again_later_and_then_tells_the_hole() {
    let mut rig = Rig::up();
    rig.core.track(ROOM, 1);
    rig.say(message(4));
    for _ in 0..10 {
        let (request, _) = rig.history_request();
        // An entry that the client has: nothing that it needs.
        rig.say(page(request, 1..=1, 4, 1));
        assert!(rig.written().is_empty(), "not at once");
        rig.wait(200);
    }
    assert_eq!(rig.seqs(), [0, 4]);
    assert!(rig.written().is_empty());
}

#[test]
fn a_cursor_is_held_back_until_the_gaps_before_it_are_filled() {
    let mut rig = Rig::up();
    rig.core.track(ROOM, 1);
    rig.say(message(3));
    rig.say(server::CaughtUp { request: 0, cursor: cursor(2) }.into());
    assert_eq!(rig.core.cursor(), Some(cursor(1)));
    let (request, _) = rig.history_request();
    rig.say(page(request, 2..=3, 3, 1));
    assert_eq!(rig.core.cursor(), Some(cursor(2)));
    assert!(rig.events().contains(&Event::CaughtUp { cursor: cursor(2) }));
}

#[test]
fn after_too_far_every_known_conversation_is_compared_with_the_history() {
    let mut rig = Rig::up();
    rig.core.track(ROOM, 2);
    rig.say(server::TooFar { request: 0, cursor: cursor(8) }.into());
    let (request, anchor) = rig.history_request();
    assert_eq!(anchor, 2);
    rig.say(page(request, 3..=4, 4, 1));
    assert_eq!(rig.seqs(), [3, 4]);
}

#[test]
fn each_way_of_hearing_of_an_own_send_answers_it_once_and_places_it_once() {
    let own = |seq, n| {
        ServerFrame::from(server::Message { conversation: ROOM, entry: entry(seq, ME, n) })
    };
    // What comes -> (seq, placed, answer) of the Sent events, seqs of the Message events.
    type Case = (Vec<ServerFrame>, Vec<(u64, bool, bool)>, Vec<u64>);
    let cases: Vec<Case> = vec![
        (vec![sent(1, 1, false)], vec![(1, true, true)], vec![]),
        (vec![sent(1, 1, false), sent(1, 1, true)], vec![(1, true, true)], vec![]),
        (vec![own(1, 1), sent(1, 1, true)], vec![(1, true, true)], vec![]),
        (vec![sent(1, 1, true), own(1, 1)], vec![(1, false, true)], vec![1]),
        (vec![own(1, 1), own(1, 1)], vec![(1, true, true)], vec![]),
        // Not ours any more (already answered before): it still has its place.
        (vec![sent(1, 50, false)], vec![(1, true, false)], vec![]),
    ];
    for (frames, sents, messages) in cases {
        let mut rig = Rig::up();
        rig.core.track(ROOM, 0);
        rig.send(1);
        rig.written();
        frames.iter().for_each(|f| rig.say(f.clone()));
        let events = rig.events();
        let told: Vec<_> = events
            .iter()
            .filter_map(|e| match e {
                Event::Sent(s) => Some((s.seq, s.placed, s.answer)),
                _ => None,
            })
            .collect();
        let came: Vec<_> = events
            .iter()
            .filter_map(|e| match e {
                Event::Message { entry, .. } => Some(entry.seq),
                _ => None,
            })
            .collect();
        assert_eq!((told, came), (sents, messages), "{frames:?}");
    }
}

#[test]
fn an_answer_that_waits_behind_a_gap_is_told_when_the_page_brings_its_entry_too() {
    let mut rig = Rig::up();
    rig.core.track(ROOM, 0);
    rig.send(1);
    rig.written();
    rig.say(sent(2, 1, false));
    let (request, _) = rig.history_request();
    let entries = vec![entry(1, OTHER, 100), entry(2, ME, 1)];
    let page = server::HistoryPage {
        request,
        conversation: ROOM,
        entries,
        head: 2,
        floor: 1,
        more: false,
    };
    rig.say(page.into());
    let events = rig.events();
    assert!(
        matches!(events.as_slice(), [Event::Message { .. }, Event::Sent(s)] if s.answer && s.placed),
        "{events:?}"
    );
}

#[test]
fn answers_are_told_even_when_more_wait_behind_a_gap_than_are_kept() {
    let mut rig = Rig::up();
    rig.core.track(ROOM, 0);
    rig.say(message(2));
    for seq in 3..=400 {
        rig.send(1);
        rig.written();
        rig.say(sent(seq, 1, false));
    }
    let told = rig.events().iter().filter(|e| matches!(e, Event::Sent(s) if s.answer)).count();
    // One of the 256 kept places is the message's.
    assert_eq!(told, 398 - 255);
    assert_eq!(rig.core.pending_sends(), 0);
}

#[test]
fn a_refused_send_waits_and_holds_back_later_ones_of_its_conversation() {
    let mut rig = Rig::up();
    rig.send(1);
    let first = rig.sends();
    rig.say(ErrorCode::Busy.frame(first[0].2, "").into());
    rig.send(2);
    assert!(rig.sends().is_empty());
    // The server's 100 ms and at most 200 ms of jitter.
    rig.wait(301);
    let again = rig.sends();
    assert_eq!(again.iter().map(|s| (s.0, s.1)).collect::<Vec<_>>(), [(1, true), (2, false)]);
    rig.say(sent(1, 1, false));
    let refused = rig
        .events()
        .into_iter()
        .any(|e| matches!(e, Event::Sent(s) if s.course == Course::Refused));
    assert!(refused);
}

#[test]
fn while_a_conversation_moves_a_send_is_tried_again_within_the_second_however_often_refused() {
    let mut rig = Rig::up();
    rig.send(1);
    for attempt in 0..12 {
        let sends = rig.sends();
        assert_eq!(sends.len(), 1, "attempt {attempt}");
        rig.say(ErrorCode::Moved.frame(sends[0].2, "").into());
        // The server's 100 ms and at most a second of jitter.
        rig.wait(1_101);
    }
}

#[test]
fn a_send_refused_for_the_moment_is_told_with_the_time_that_took() {
    let mut rig = Rig::up();
    rig.send(1);
    let first = rig.sends();
    rig.wait(70);
    rig.say(ErrorCode::Busy.frame(first[0].2, "").into());
    let events = rig.events();
    assert!(
        matches!(events.as_slice(), [Event::SendDelayed { client_msg_id, waited_ms: 70, refusal, .. }]
            if *client_msg_id == id(1) && refusal.is(ErrorCode::Busy)),
        "{events:?}"
    );
    assert_eq!(rig.core.pending_sends(), 1);
}

#[test]
fn without_pipelining_nothing_overtakes_a_send_whatever_becomes_of_it() {
    let mut rig = Rig::with(false).synced();
    for n in 1..=3 {
        rig.send(n);
    }
    let order = |sends: &[(u8, bool, u32)]| sends.iter().map(|s| (s.0, s.1)).collect::<Vec<_>>();
    let first = rig.sends();
    assert_eq!(order(&first), [(1, false)]);
    rig.say(ErrorCode::Busy.frame(first[0].2, "").into());
    assert_eq!(rig.sends(), []);
    rig.wait(301);
    assert_eq!(order(&rig.sends()), [(1, true)]);
    // The session is rebuilt: the one in doubt goes again, still alone.
    rig.say(welcome(false));
    assert_eq!(order(&rig.sends()), [(1, true)]);
    rig.say(sent(1, 1, false));
    let second = rig.sends();
    assert_eq!(order(&second), [(2, false)]);
    rig.say(ErrorCode::BodyTooLarge.frame(second[0].2, "").into());
    assert_eq!(order(&rig.sends()), [(3, false)]);
}

#[test]
fn sends_that_wait_for_one_another_do_not_keep_the_heartbeat_from_beating() {
    let mut rig = Rig::with(false).synced();
    rig.send(1);
    rig.send(2);
    rig.written();
    rig.wait(6_000);
    let pinged = rig.written().iter().any(|frame| matches!(frame, ClientFrame::Ping(_)));
    assert!(pinged);
}

#[test]
fn a_late_answer_to_an_old_attempt_does_not_touch_the_new_one() {
    let mut rig = Rig::up();
    rig.send(1);
    let first = rig.sends();
    rig.lose();
    rig.connect(true);
    rig.events();
    rig.say(ErrorCode::IdReused.frame(first[0].2, "").into());
    assert_eq!(rig.core.pending_sends(), 1);
    assert_eq!(rig.events(), []);
}

#[test]
fn a_send_refused_for_good_is_told_with_its_code() {
    let mut rig = Rig::up();
    rig.send(1);
    let first = rig.sends();
    rig.say(ErrorCode::NotAMember.frame(first[0].2, "").into());
    let events = rig.events();
    assert!(
        matches!(events.as_slice(), [Event::SendFailed { refusal, .. }]
            if refusal.is(ErrorCode::NotAMember)),
        "{events:?}"
    );
    assert_eq!(rig.core.pending_sends(), 0);
}

#[test]
fn no_more_sends_are_on_the_wire_than_the_server_allows_and_no_more_wait_than_configured() {
    let mut rig = Rig::up();
    for n in 0..100 {
        rig.send(n);
    }
    let full = rig.core.send(Outgoing {
        conversation: ROOM,
        client_msg_id: id(200),
        kind: EntryKind::Text,
        body: vec![],
    });
    assert_eq!(full, Err(crate::error::QueueError::Full));
    let limit = rookery_protocol::limits::MAX_SENDS_IN_FLIGHT;
    assert_eq!(rig.sends().len(), limit);
    rig.say(sent(1, 0, false));
    assert_eq!(rig.sends().len(), 1);
}

#[test]
fn a_send_without_an_answer_goes_again_after_the_time_out() {
    let mut rig = Rig::up();
    rig.send(1);
    rig.written();
    for _ in 0..4 {
        // The server is alive: it answers pings.
        rig.wait(3_700);
        rig.say(server::Pong { nonce: 0 }.into());
        assert!(rig.sends().is_empty());
    }
    rig.wait(200);
    assert_eq!(rig.sends().iter().map(|s| (s.0, s.1)).collect::<Vec<_>>(), [(1, true)]);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_core_panic(bytes in proptest::collection::vec(0u8.., 0..300)) {
        let mut rig = Rig::up();
        rig.send(1);
        rig.written();
        rig.core.handle(rig.now, Input::Received(&bytes));
        rig.wait(1);
        rig.written();
    }

    #[test]
    fn any_stream_with_fills_comes_out_dense(order in proptest::collection::vec(1u64..12, 1..60)) {
        let mut rig = Rig::up();
        rig.core.track(ROOM, 0);
        let (mut newest, mut told) = (0, Vec::new());
        for seq in order {
            newest = newest.max(seq);
            rig.say(message(seq));
            // The fill's answer comes at some later point: here, when the seq is even.
            if seq % 2 == 0 {
                for frame in rig.written() {
                    if let ClientFrame::History(h) = frame {
                        rig.say(page(h.request, h.anchor + 1..=newest, newest, 1));
                    }
                }
            }
            told.extend(rig.seqs());
        }
        let dense: Vec<u64> = (1..=told.len() as u64).collect();
        proptest::prop_assert_eq!(told, dense);
    }
}
