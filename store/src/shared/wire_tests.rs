//! Properties of the wire: what is said arrives as it was, and damaged bytes are refused, never a
//! panic and never much memory.

use super::message::{Answer, Request, Submission};
use super::wire::{self, Frames, MAX_ELEMENTS, MAX_FRAME_BYTES, Malformed, Verdict};
use crate::engine::ReadError;
use crate::plan::{Guard, Op, Outcome, Plan, Stamp, Version};
use bytes::Bytes;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| Op::Set { key, value }),
        bytes().prop_map(|key| Op::Clear { key }),
        (bytes(), bytes()).prop_map(|(from, to)| Op::ClearRange { from, to }),
        (bytes(), bytes()).prop_map(|(prefix, value)| Op::SetStampedKey { prefix, value }),
        (bytes(), bytes()).prop_map(|(key, suffix)| Op::SetStampedValue { key, suffix }),
        (bytes(), any::<u64>()).prop_map(|(key, delta)| Op::Add { key, delta }),
        (bytes(), bytes()).prop_map(|(key, value)| Op::ByteMax { key, value }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let guard = (bytes(), proptest::option::of(bytes()), any::<u64>())
        .prop_map(|(key, known, version)| Guard { key, known, version: Version(version) });
    (proptest::collection::vec(guard, 0..4), proptest::collection::vec(op(), 0..6))
        .prop_map(|(guards, ops)| Plan { guards, ops })
}

fn request() -> impl Strategy<Value = Request> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>());
    prop_oneof![
        Just(Request::Ping),
        (any::<u64>(), proptest::collection::vec(plan(), 0..4))
            .prop_map(|(id, plans)| Request::Submit { id, plans }),
        numbers.prop_map(|(id, view, at)| Request::View { id, view, at_least: Version(at) }),
        any::<u64>().prop_map(|view| Request::Release { view }),
        (any::<u64>(), any::<u64>(), proptest::collection::vec(bytes(), 0..5))
            .prop_map(|(id, view, keys)| Request::Get { id, view, keys }),
        (numbers, bytes(), bytes(), any::<bool>()).prop_map(
            |((id, view, limit), from, to, reverse)| Request::Range {
                id,
                view,
                from,
                to,
                limit,
                reverse
            }
        ),
        (any::<u64>(), bytes()).prop_map(|(watch, key)| Request::Watch { watch, key }),
        any::<u64>().prop_map(|watch| Request::Unwatch { watch }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (any::<u64>(), any::<[u8; 12]>()).prop_map(|(version, stamp)| Outcome::Committed {
            version: Version(version),
            stamp: Stamp(stamp)
        }),
        Just(Outcome::Conflict),
        Just(Outcome::Busy),
        Just(Outcome::Unresolved),
        Just(Outcome::TooLarge),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let values = proptest::collection::vec(proptest::option::of(bytes()), 0..5);
    let rows = proptest::collection::vec((bytes(), bytes()), 0..5);
    prop_oneof![
        proptest::option::of("[a-zé]{0,9}").prop_map(|trouble| Answer::Pong { trouble }),
        (any::<u64>(), proptest::collection::vec(outcome(), 0..5))
            .prop_map(|(id, outcomes)| Answer::Outcomes { id, outcomes }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(id, version)| Answer::View { id, version: Version(version) }),
        (any::<u64>(), values).prop_map(|(id, values)| Answer::Values { id, values }),
        (any::<u64>(), rows, any::<bool>()).prop_map(|(id, rows, more)| Answer::Rows {
            id,
            rows,
            more
        }),
        (any::<u64>(), "[a-zé]{0,9}", any::<bool>()).prop_map(|(id, why, damaged)| {
            let error = if damaged { ReadError::Damaged(why) } else { ReadError::Unavailable(why) };
            Answer::Failed { id, error }
        }),
        (any::<u64>(), any::<bool>()).prop_map(|(watch, ended)| Answer::Rung { watch, ended }),
    ]
}

/// The frames of a stream that comes in pieces, and what ends it if not its end.
fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Malformed>) {
    let (mut frames, mut found) = (Frames::default(), Vec::new());
    for mut piece in stream.chunks(piece.max(1)) {
        frames.fill(&mut piece).unwrap();
        loop {
            match frames.next() {
                Ok(Some(frame)) => found.push(frame.to_vec()),
                Ok(None) => break,
                Err(problem) => return (found, Some(problem)),
            }
        }
    }
    (found, None)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_arrive_as_they_were_sent(
        requests in proptest::collection::vec(request(), 1..6),
        piece in 1..40_usize,
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(Request::encode).collect();
        let (frames, problem) = split(&stream, piece);
        let arrived: Vec<Request> = frames.iter().map(|f| Request::decode(f).unwrap()).collect();
        prop_assert_eq!((arrived, problem), (requests, None));
    }

    #[test]
    fn answers_arrive_as_they_were_given(answers in proptest::collection::vec(answer(), 1..6)) {
        let stream: Vec<u8> = answers.iter().flat_map(Answer::encode).collect();
        let (frames, problem) = split(&stream, 1000);
        let arrived: Vec<Answer> = frames.iter().map(|f| Answer::decode(f).unwrap()).collect();
        prop_assert_eq!((arrived, problem), (answers, None));
    }

    #[test]
    fn damaged_messages_are_refused_or_another_message(
        request in request(), answer in answer(), at in any::<usize>(), with in any::<u8>(),
    ) {
        for whole in [request.encode(), answer.encode()] {
            let mut frame = whole[4..].to_vec();
            let at = at % frame.len();
            frame[at] = with;
            // What decodes says something; it encodes to just these bytes again.
            if let Ok(request) = Request::decode(&frame) {
                prop_assert_eq!(&request.encode()[4..], &frame);
            }
            // Texts are the one thing that is read leniently.
            if let Ok(answer) = Answer::decode(&frame)
                && !matches!(answer, Answer::Failed { .. } | Answer::Pong { .. }) {
                prop_assert_eq!(&answer.encode()[4..], &frame);
            }
            prop_assert!(Request::decode(&frame[..at]).is_err() || at == 1);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(stream in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for kind in 0..=80 {
            let frame = [&[kind], &stream[..]].concat();
            let (_, _) = (Request::decode(&frame), Answer::decode(&frame));
        }
        let (frames, _) = split(&stream, 64);
        for frame in frames {
            let (_, _) = (Request::decode(&frame), Answer::decode(&frame));
        }
    }
}

#[test]
fn a_greeting_tells_its_version_and_nothing_else_does() {
    assert_eq!(wire::greeted(&wire::greeting(7)), Some(7));
    assert_eq!(wire::greeted(b"GET / HTTP/1"), None);
    assert_eq!(wire::greeted(&wire::greeting(7)[..11]), None);
    for verdict in [Verdict::Welcome, Verdict::OtherVersion, Verdict::Full] {
        let greeting = verdict.greeting();
        assert_eq!(wire::greeted(&greeting), Some(wire::VERSION));
        assert_eq!(Verdict::of_code(greeting[12]), Some(verdict));
    }
    assert_eq!(Verdict::of_code(3), None);
}

#[test]
fn a_frame_that_claims_too_much_is_refused_before_it_costs_memory() {
    let long = u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_le_bytes();
    assert!(matches!(split(&long, 4), (_, Some(Malformed(_)))));
    // A submission, a reading of keys and rows, each of 2^32 - 1 elements that are not there.
    for (kind, numbers) in [(2, 1), (5, 2), (66, 1), (68, 1)] {
        let mut frame = vec![kind];
        frame.extend_from_slice(&vec![0; 8 * numbers]);
        frame.extend_from_slice(&[0xff; 4]);
        assert!(Request::decode(&frame).is_err(), "kind {kind}");
        assert!(Answer::decode(&frame).is_err(), "kind {kind}");
    }
}

#[test]
fn a_plan_goes_into_a_frame_up_to_a_number_of_elements_and_bytes() {
    let clear = Op::Clear { key: Bytes::from_static(b"k") };
    let of = |ops: usize| Plan { guards: Vec::new(), ops: vec![clear.clone(); ops] };
    let mut submission = Submission::new(1);
    assert!(submission.add(&of(MAX_ELEMENTS - 1)));
    assert!(!submission.add(&of(0)), "no element is left");
    let frame = submission.finish();
    let Ok(Request::Submit { plans, .. }) = Request::decode(&frame[4..]) else { panic!() };
    assert_eq!(plans, [of(MAX_ELEMENTS - 1)]);

    let value = Bytes::from(vec![0; 1 << 20]);
    let known = |_| Guard { key: "k".into(), known: Some(value.clone()), version: Version(0) };
    let large = Plan { guards: (0..16).map(known).collect(), ops: Vec::new() };
    let mut submission = Submission::new(1);
    assert!(!submission.add(&large), "16 MiB and more");
    assert!(submission.is_empty() && submission.add(&of(1)));
    let frame = submission.finish();
    let Ok(Request::Submit { plans, .. }) = Request::decode(&frame[4..]) else { panic!() };
    assert_eq!(plans, [of(1)], "what did not fit left nothing behind");
}
