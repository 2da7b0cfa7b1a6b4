//! Tables of the connection's life: hello, resume, beats, endpoints, closes, requests.

use super::*;

#[test]
fn the_first_hello_has_no_session_and_is_followed_by_a_sync_without_cursor() {
    let mut rig = Rig::new();
    let ClientFrame::Hello(hello) = rig.dial() else { panic!() };
    assert_eq!((hello.token.as_str(), hello.resume), ("token", None));
    rig.say(welcome(false));
    let written = rig.written();
    assert!(matches!(written.as_slice(), [ClientFrame::Sync(s)] if s.cursor.is_none()));
}

#[test]
fn a_lost_connection_resumes_with_the_count_and_repeats_what_has_no_answer() {
    let mut rig = Rig::up();
    rig.send(1);
    rig.send(2);
    assert_eq!(
        rig.sends().iter().map(|s| (s.0, s.1)).collect::<Vec<_>>(),
        [(1, false), (2, false)]
    );
    rig.say(sent(1, 1, false));
    rig.lose();
    let ClientFrame::Hello(hello) = rig.dial() else { panic!() };
    // CaughtUp and Sent.
    assert_eq!(hello.resume.unwrap().received, 2);
    rig.say(welcome(true));
    let written = rig.written();
    assert!(
        matches!(written.as_slice(), [ClientFrame::Send(s)] if s.retry && s.client_msg_id == id(2)),
        "{written:?}"
    );
    assert_eq!(rig.core.stats().resumes, 1);
}

#[test]
fn a_fresh_session_counts_from_zero_and_syncs_from_the_cursor() {
    let mut rig = Rig::up();
    rig.say(message(1));
    rig.send(1);
    rig.written();
    rig.lose();
    let written = rig.connect(false);
    let [ClientFrame::Sync(sync), ClientFrame::Send(send)] = written.as_slice() else {
        panic!("{written:?}")
    };
    assert_eq!(sync.cursor, Some(cursor(1)));
    assert!(send.retry);
    assert_eq!(rig.core.stream.received(), 0);
}

#[test]
fn a_welcome_on_an_open_connection_starts_the_session_anew() {
    let mut rig = Rig::up();
    rig.send(1);
    rig.written();
    rig.say(welcome(false));
    let written = rig.written();
    assert!(matches!(written.as_slice(), [ClientFrame::Sync(_), ClientFrame::Send(s)] if s.retry));
}

#[test]
fn the_first_beat_is_jittered_and_beats_go_on() {
    let mut first = Vec::new();
    for seed in 0..50 {
        let config = Arc::new(Config::with_endpoint("ws://a"));
        let mut rig = Rig { core: Core::new(config, "t".into(), None, seed, 0), now: 0 };
        rig.connect(false);
        rig.say(server::CaughtUp { request: 1, cursor: cursor(1) }.into());
        let mut pinged = None;
        for ms in 1..=5_000 {
            rig.now = ms;
            if rig.written().iter().any(|f| matches!(f, ClientFrame::Ping(_))) {
                pinged = Some(ms);
                break;
            }
        }
        first.push(pinged.expect("a ping within the first interval"));
    }
    first.sort_unstable();
    first.dedup();
    assert!(first.len() > 20, "{first:?}");
}

#[test]
fn a_silent_server_is_left_after_three_beats() {
    let mut rig = Rig::up();
    rig.wait(14_000);
    assert!(rig.core.is_up());
    rig.wait(1_001);
    assert!(!rig.core.is_up());
    assert!(matches!(rig.events().as_slice(), [Event::Disconnected { .. }]));
}

#[test]
fn endpoints_are_tried_in_turn_and_include_what_the_server_named() {
    let mut rig = Rig::up();
    rig.lose();
    let mut tried = Vec::new();
    for _ in 0..4 {
        rig.now += 20_000;
        rig.core.handle(rig.now, Input::Tick);
        let Some(Order::Open(address)) = rig.core.poll_order() else { panic!() };
        tried.push(address.to_string());
        rig.core.handle(rig.now, Input::Lost(Lost::default()));
    }
    assert_eq!(tried, ["ws://a", "ws://b", "ws://a", "ws://b"]);
}

#[test]
fn what_a_close_code_means() {
    use rookery_protocol::CloseCode as C;
    for (code, closed, need_token) in [
        (Some(1006), false, false),
        (None, false, false),
        (Some(C::GoingAway.code()), false, false),
        (Some(C::SlowConsumer.code()), false, false),
        (Some(C::TokenExpired.code()), false, true),
        (Some(C::Replaced.code()), true, false),
        (Some(C::Revoked.code()), true, false),
    ] {
        let mut rig = Rig::up();
        rig.send(1);
        rig.core.handle(rig.now, Input::Lost(Lost { code, reason: String::new() }));
        let events = rig.events();
        assert_eq!(rig.core.is_closed(), closed, "{code:?}");
        assert_eq!(events.contains(&Event::NeedToken), need_token, "{code:?}");
        // A send fails only when nobody will repeat it any more.
        let failed = events.iter().any(|e| matches!(e, Event::SendFailed { .. }));
        assert_eq!(failed, closed, "{code:?}");
    }
}

#[test]
fn an_expired_token_stops_the_dialling_until_a_fresh_one_is_given() {
    let mut rig = Rig::new();
    rig.dial();
    rig.say(ErrorCode::TokenExpired.frame(0, "").into());
    assert!(rig.events().contains(&Event::NeedToken));
    assert_eq!(rig.core.poll_order(), Some(Order::Close));
    rig.wait(60_000);
    assert_eq!(rig.core.poll_order(), None);
    rig.core.set_token(rig.now, "fresh".into()).unwrap();
    let ClientFrame::Hello(hello) = rig.dial() else { panic!() };
    assert_eq!(hello.token, "fresh");
}

#[test]
fn a_forged_token_ends_the_client() {
    let mut rig = Rig::new();
    rig.dial();
    rig.say(ErrorCode::BadToken.frame(0, "").into());
    assert!(rig.core.is_closed());
    assert!(matches!(rig.events().last(), Some(Event::Closed(CloseReason::Refused(_)))));
}

#[test]
fn requests_are_repeated_over_reconnects_and_fail_in_the_end() {
    let mut rig = Rig::up();
    let request = rig.core.describe(rig.now, ROOM).unwrap();
    assert_eq!(rig.written().len(), 1);
    rig.lose();
    let again = rig.connect(true);
    assert!(matches!(again.as_slice(), [ClientFrame::Describe(d)] if d.request == request));
    rig.events();
    rig.say(server::Done { request }.into());
    let events = rig.events();
    assert_eq!(events, [Event::Reply { request, result: Ok(Reply::Done) }]);
    let late = rig.core.describe(rig.now, ROOM).unwrap();
    rig.lose();
    rig.wait(60_000);
    let timed_out = Event::Reply { request: late, result: Err(RequestError::TimedOut) };
    assert!(rig.events().contains(&timed_out));
}

#[test]
fn a_drain_moves_to_another_node_after_the_time_given() {
    let mut rig = Rig::up();
    let alternates = vec!["ws://c".to_owned()];
    rig.say(server::Drain { reconnect_after_ms: 500, alternates }.into());
    rig.wait(499);
    assert!(rig.core.is_up());
    rig.wait(1);
    assert!(!rig.core.is_up());
    assert_eq!(rig.core.poll_order(), Some(Order::Close));
    rig.wait(200);
    let Some(Order::Open(address)) = rig.core.poll_order() else { panic!() };
    assert_ne!(&*address, "ws://a");
}

#[test]
fn damaged_bytes_drop_the_connection_and_the_session_and_never_panic() {
    let mut rig = Rig::up();
    rig.core.handle(rig.now, Input::Received(&[number::MESSAGE, 3, 1, 2, 3]));
    assert_eq!(rig.core.poll_order(), Some(Order::Close));
    let ClientFrame::Hello(hello) = rig.dial() else { panic!() };
    assert_eq!(hello.resume, None);
}

/// The `Refresh` that waits to be written.
fn written_refresh(rig: &mut Rig) -> rookery_protocol::client::Refresh {
    let found = rig.written().into_iter().find_map(|frame| match frame {
        ClientFrame::Refresh(refresh) => Some(refresh),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn a_refresh_token_is_traded_on_the_line_and_the_next_hello_shows_the_new_token() {
    let mut rig = Rig::up();
    assert_eq!(rig.core.refresh("r1".into()), Ok(true));
    assert_eq!(rig.core.refresh("r1".into()), Ok(false), "one at a time");
    let refresh = written_refresh(&mut rig);
    assert_eq!(refresh.refresh_token, "r1");
    let fresh = server::Refreshed {
        request: refresh.request,
        access_token: "a2".into(),
        access_expires_ms: 3_600_000,
        refresh_token: "r2".into(),
    };
    rig.say(fresh.clone().into());
    assert_eq!(rig.events(), [Event::Refreshed(Box::new(fresh))]);
    rig.lose();
    let ClientFrame::Hello(hello) = rig.dial() else { panic!() };
    assert_eq!(hello.token, "a2");
    assert!(!rig.events().iter().any(|e| matches!(e, Event::NotRefreshed(_))));
}

#[test]
fn a_trade_that_is_refused_or_lost_is_told_and_never_repeated() {
    let mut rig = Rig::up();
    assert_eq!(rig.core.refresh("r1".into()), Ok(true));
    let request = written_refresh(&mut rig).request;
    rig.say(ErrorCode::Busy.frame(request, "").into());
    assert!(matches!(rig.events()[..], [Event::NotRefreshed(Some(_))]));
    assert_eq!(rig.core.refresh("r1".into()), Ok(true));
    written_refresh(&mut rig);
    rig.lose();
    assert!(rig.events().contains(&Event::NotRefreshed(None)));
    assert_eq!(rig.core.refresh("r1".into()), Ok(false), "there is no connection");
    rig.dial();
    rig.say(welcome(true));
    assert!(!rig.written().iter().any(|frame| matches!(frame, ClientFrame::Refresh(_))));
}
