//! The wire does not change by accident: every frame has exact bytes in `golden.txt`.
//!
//! The same file is read by the clients in other languages, so what passes here and there speaks
//! one language.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use rookery_protocol::number;
use std::collections::{BTreeMap, BTreeSet};
use support::file::{Block, Claim, blocks};
use support::{Frame, decode_message, hex, vectors};

fn named(claim: Claim) -> BTreeMap<String, Block> {
    let mut found = BTreeMap::new();
    for block in blocks().into_iter().filter(|b| b.claim == claim) {
        let before = found.insert(block.name.clone(), block);
        assert!(before.is_none(), "golden.txt names {:?} twice", before.map(|b| b.name));
    }
    found
}

/// Every frame number of `number.rs`, by its constant's name.
fn numbers_in_the_source() -> BTreeMap<u8, String> {
    include_str!("../src/number.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": u8 = 0x"))
        .filter(|(name, _)| *name != "FIRST_STREAM")
        .map(|(name, value)| {
            let digits = value.trim_end_matches(';');
            (u8::from_str_radix(digits, 16).expect("a number"), name.to_owned())
        })
        .collect()
}

#[test]
fn every_frame_encodes_to_its_golden_bytes_and_back() {
    let file = named(Claim::Vector);
    let built = vectors::all();
    for (name, frame) in &built {
        let bytes = frame.to_bytes();
        let block = file.get(*name).unwrap_or_else(|| {
            panic!("golden.txt has no vector {name}; its bytes are\nhex {}", hex(&bytes))
        });
        assert_eq!(hex(&bytes), hex(&block.bytes), "{name}: encoded, then golden");
        assert_eq!(block.frames, [frame.name()], "{name}");
        assert_eq!(block.number, Some(frame.number()), "{name}");
        assert_eq!(decode_message(&block.bytes), Ok(vec![frame.clone()]), "{name}");
    }
    let built: BTreeSet<&str> = built.iter().map(|(name, _)| *name).collect();
    let filed: BTreeSet<&str> = file.keys().map(String::as_str).collect();
    assert_eq!(built, filed, "the test and golden.txt name the same vectors");
}

#[test]
fn every_frame_number_of_the_source_has_a_vector() {
    let source = numbers_in_the_source();
    assert!(source.len() >= 33, "number.rs was not understood: {source:?}");
    let covered: BTreeSet<u8> = named(Claim::Vector).values().filter_map(|b| b.number).collect();
    for (value, name) in &source {
        assert!(covered.contains(value), "number::{name} (0x{value:02x}) has no golden vector");
    }
    assert_eq!(covered, source.keys().copied().collect(), "golden.txt names an unknown number");
}

#[test]
fn numbers_keep_to_their_ranges() {
    for (_, frame) in vectors::all() {
        let number = frame.number();
        match frame {
            Frame::Client(_) => assert!((0x01..0x80).contains(&number), "0x{number:02x}"),
            Frame::Server(_) => assert!(number >= 0x80, "0x{number:02x}"),
        }
        assert_eq!(number::is_stream(number), number >= 0xc0, "0x{number:02x}");
    }
}

#[test]
fn bytes_of_newer_or_wasteful_writers_are_accepted() {
    let expected = vectors::accepted();
    let file = named(Claim::Accept);
    assert_eq!(file.len(), expected.len());
    for (name, frame) in expected {
        let block = file.get(name).unwrap_or_else(|| panic!("golden.txt has no accept {name}"));
        assert_eq!(decode_message(&block.bytes), Ok(vec![frame.clone()]), "{name}");
        assert_ne!(frame.to_bytes(), block.bytes, "{name} is an ordinary vector");
    }
}

#[test]
fn broken_bytes_are_refused() {
    let file = named(Claim::Refuse);
    assert!(file.len() >= 10, "golden.txt was not understood");
    for (name, block) in file {
        let outcome = decode_message(&block.bytes);
        assert!(outcome.is_err(), "{name} was read as {outcome:?}");
    }
}

#[test]
fn several_frames_of_a_message_come_out_in_order() {
    let file = named(Claim::Message);
    assert!(file.len() >= 3, "golden.txt was not understood");
    for (name, block) in file {
        let known = decode_message(&block.bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let names: Vec<&str> = known.iter().map(Frame::name).collect();
        assert_eq!(names, block.frames, "{name}");
    }
}
