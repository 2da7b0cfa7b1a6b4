//! Tests of the framing: against frames made here byte by byte, and against whatever bytes come.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use super::{Read, Reader, close_frame, message_header, pong};
use bytes::Bytes;
use proptest::prelude::*;
use rookery_protocol::limits::MAX_CLIENT_MESSAGE_BYTES;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const BINARY: u8 = 2;
const FIN: u8 = 0x80;

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&u64::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Everything read when the bytes come in parts of these lengths, over and over.
fn read(bytes: &[u8], parts: &[usize]) -> Vec<Read> {
    let (mut reader, mut rest, mut out) = (Reader::default(), bytes, Vec::new());
    for part in parts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at((*part).clamp(1, rest.len()));
        reader.feed(now);
        rest = later;
        out.extend(std::iter::from_fn(|| reader.next()));
    }
    out
}

fn whole(bytes: &[u8]) -> Vec<Read> {
    read(bytes, &[bytes.len()])
}

fn message(payload: &[u8]) -> Read {
    Read::Message(Bytes::copy_from_slice(payload))
}

#[test]
fn the_example_of_the_standard_is_read() {
    // RFC 6455, section 5.7: "Hello", masked; here as a binary message.
    let bytes = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(whole(&bytes), [message(b"Hello")]);
}

#[test]
fn a_control_frame_may_stand_between_fragments() {
    let bytes =
        [frame(BINARY, b"one"), frame(FIN | 9, b"p"), frame(0, b" two"), frame(FIN, b"")].concat();
    assert_eq!(whole(&bytes), [Read::Ping(Bytes::from_static(b"p")), message(b"one two")]);
}

#[test]
fn what_breaks_the_protocol_is_told_once_and_nothing_after_it() {
    let unmasked = vec![FIN | BINARY, 1, 7];
    let half_close = frame(FIN | 8, &[3]);
    let bad_reason = frame(FIN | 8, &[3, 232, 0xff]);
    for bytes in [
        unmasked,
        half_close,
        bad_reason,
        frame(FIN | 0x40 | BINARY, b"reserved bit"),
        frame(FIN | 3, b"reserved opcode"),
        frame(FIN | 11, b"reserved opcode"),
        frame(9, b"a ping in fragments"),
        frame(FIN | 9, &[0; 126]),
        frame(FIN, b"the rest of nothing"),
        [frame(BINARY, b"begun"), frame(FIN | BINARY, b"another")].concat(),
    ] {
        let after = [bytes.clone(), frame(FIN | BINARY, b"after")].concat();
        assert_eq!(whole(&after).last(), Some(&Read::Broken), "{bytes:?}");
        assert!(whole(&after).len() == 1, "{bytes:?}");
    }
}

#[test]
fn text_is_refused_by_its_header_and_length_by_what_is_announced() {
    assert_eq!(whole(&frame(FIN | 1, b"hello")), [Read::Text]);
    let long = vec![0; MAX_CLIENT_MESSAGE_BYTES];
    assert_eq!(whole(&frame(FIN | BINARY, &long)), [message(&long)]);
    let header = frame(FIN | BINARY, &[0; MAX_CLIENT_MESSAGE_BYTES + 1]);
    assert_eq!(whole(header.get(..14).unwrap()), [Read::TooLarge]);
    let parts = [frame(BINARY, &long), frame(FIN, b"1")].concat();
    assert_eq!(whole(&parts), [Read::TooLarge]);
    let endless = [&[FIN | BINARY, 0xff][..], &[0xff; 8], &MASK].concat();
    assert_eq!(whole(&endless), [Read::TooLarge]);
}

#[test]
fn a_close_gives_its_code_and_a_forbidden_one_counts_as_an_error() {
    let close = |payload: &[u8]| whole(&frame(FIN | 8, payload));
    assert_eq!(close(b""), [Read::Close(None)]);
    assert_eq!(close(&[0x03, 0xe8, b'b', b'y', b'e']), [Read::Close(Some(1000))]);
    assert_eq!(close(&4000u16.to_be_bytes()), [Read::Close(Some(4000))]);
    assert_eq!(close(&1005u16.to_be_bytes()), [Read::Close(Some(1002))]);
}

#[test]
fn an_idle_reader_holds_nothing() {
    let mut reader = Reader::default();
    let bytes = [frame(BINARY, &[1; 1000]), frame(FIN, &[2; 1000]), frame(FIN | 9, b"")].concat();
    reader.feed(&bytes);
    while reader.next().is_some() {}
    assert_eq!((reader.waiting.capacity(), reader.fragments.capacity()), (0, 0));
}

#[test]
fn what_leaves_is_as_the_standard_says() {
    assert_eq!(message_header(5), [0x82, 5]);
    assert_eq!(message_header(256), [0x82, 126, 1, 0]);
    assert_eq!(message_header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(pong(b"hi"), [0x8a, 2, b'h', b'i']);
    assert_eq!(close_frame(None, "unsaid"), [0x88, 0]);
    assert_eq!(close_frame(Some(1001), "bye"), [0x88, 5, 3, 233, b'b', b'y', b'e']);
}

proptest! {
    #[test]
    fn messages_come_whole_however_they_were_cut(
        messages in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4), 1..6),
        parts in prop::collection::vec(1usize..400, 1..8),
    ) {
        let mut bytes = Vec::new();
        for fragments in &messages {
            for (at, fragment) in fragments.iter().enumerate() {
                let opcode = if at == 0 { BINARY } else { 0 };
                let fin = if at + 1 == fragments.len() { FIN } else { 0 };
                bytes.extend(frame(fin | opcode, fragment));
            }
        }
        let expected: Vec<Read> = messages.iter().map(|m| message(&m.concat())).collect();
        prop_assert_eq!(read(&bytes, &parts), expected);
    }

    #[test]
    fn whatever_comes_is_bounded_and_read_alike_in_any_parts(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        parts in prop::collection::vec(1usize..100, 1..8),
    ) {
        let read = read(&bytes, &parts);
        prop_assert_eq!(&read, &whole(&bytes));
        let carried: usize = read.iter().map(|read| match read {
            Read::Message(bytes) | Read::Ping(bytes) => bytes.len(),
            _ => 0,
        }).sum();
        prop_assert!(carried <= bytes.len());
    }
}
