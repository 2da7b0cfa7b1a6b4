//! `PROTOCOL.md` says what the source says: frames, fields, types, enums, codes, limits, and bytes.
//!
//! A stranger writes a client from that document alone, so a difference is a bug in one of the two.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use rookery_protocol::error::{CloseCode, ErrorCode, should_reconnect};
use rookery_protocol::{ErrorClass, limits};
use std::collections::BTreeMap;
use support::file::{Claim, blocks, parse_hex};
use support::{decode_message, hex, vectors};

const DOCUMENT: &str = include_str!("../PROTOCOL.md");
const SOURCES: &[&str] = &[
    include_str!("../src/client.rs"),
    include_str!("../src/server.rs"),
    include_str!("../src/types.rs"),
    include_str!("../src/people.rs"),
    include_str!("../src/limits.rs"),
    include_str!("../src/group.rs"),
];

/// A section's lines: from its heading of level 3 to the next heading.
fn section(heading: &str) -> Vec<&'static str> {
    let mut lines = DOCUMENT.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "PROTOCOL.md has no heading {heading:?}");
    lines.take_while(|line| !line.starts_with('#')).collect()
}

/// The cells of each row of the tables among the lines, heads and rules included.
fn rows<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect();
    lines.into_iter().filter(|line| line.starts_with('|')).map(cells).collect()
}

fn quoted(name: &str) -> String {
    format!("`{name}`")
}

/// How the document writes a Rust type.
fn wire_type(rust: &str) -> String {
    let inner = |name: &str| rust.strip_prefix(name).and_then(|r| r.strip_suffix('>'));
    if rust == "Vec<u8>" {
        return "bytes".into();
    }
    if let Some(inner) = inner("Vec<") {
        return format!("list<{}>", wire_type(inner));
    }
    if let Some(inner) = inner("Option<") {
        return format!("option<{}>", wire_type(inner));
    }
    if let Some(length) = rust.strip_prefix("[u8; ").and_then(|r| r.strip_suffix(']')) {
        return format!("array<{length}>");
    }
    match rust {
        "String" => "string".into(),
        "ClientMsgId" => "array<16>".into(),
        "UserId" | "DeviceId" | "ConversationId" | "SessionId" => "u64".into(),
        "EntryKind" | "ConversationKind" | "MarkKind" | "Status" | "Direction" | "Change"
        | "ErrorClass" | "GroupAction" | "Audience" | "ReportReason" | "OwnKind" => "u8".into(),
        other => other.into(),
    }
}

/// Every struct of the sources that goes over the wire: its fields with the document's types.
fn structs() -> BTreeMap<String, Vec<(String, String)>> {
    let mut found = BTreeMap::new();
    for source in SOURCES {
        let mut open: Option<(String, Vec<(String, String)>)> = None;
        for line in source.lines() {
            if let Some(name) = line.strip_prefix("pub struct ") {
                let name = name.split(' ').next().unwrap().to_owned();
                open = Some((name, Vec::new()));
            }
            if let (Some((_, fields)), Some(field)) = (&mut open, line.strip_prefix("    pub ")) {
                let (name, rust) = field.split_once(": ").unwrap();
                fields.push((quoted(name), quoted(&wire_type(rust.trim_end_matches(',')))));
            }
            if line == "}" || line.ends_with("{}") {
                found.extend(open.take());
            }
        }
    }
    found
}

/// Variants and values of an `open_enum!` in the sources.
fn variants(name: &str) -> Vec<(String, String)> {
    let sources = [
        include_str!("../src/types.rs"),
        include_str!("../src/people.rs"),
        include_str!("../src/error.rs"),
        include_str!("../src/group.rs"),
    ];
    let start = format!("    {name} {{");
    let mut lines = sources.iter().flat_map(|s| s.lines()).skip_while(|line| *line != start);
    assert!(lines.next().is_some(), "no open_enum {name} in the source");
    lines
        .take_while(|line| *line != "    }")
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(" = "))
        .map(|(variant, value)| (value.to_owned(), quoted(variant)))
        .collect()
}

fn check_fields(heading: &str, fields: &[(String, String)]) {
    let lines = section(heading);
    if fields.is_empty() {
        assert!(lines.contains(&"No fields: the length is 0."), "{heading}");
        return;
    }
    let told: Vec<(String, String)> = rows(lines)
        .into_iter()
        .filter(|cells| cells[0].starts_with('`'))
        .map(|cells| (cells[0].to_owned(), cells[1].to_owned()))
        .collect();
    assert_eq!(told, fields, "{heading}: fields in PROTOCOL.md, then in the source");
}

#[test]
fn every_frame_has_its_number_name_fields_and_types() {
    let structs = structs();
    let frames: BTreeMap<u8, &str> =
        vectors::all().iter().map(|(_, frame)| (frame.number(), frame.name())).collect();
    for (number, name) in &frames {
        let fields = structs.get(*name).unwrap_or_else(|| panic!("no struct {name}"));
        check_fields(&format!("### 0x{number:02x} {name}"), fields);
    }
    let headings: Vec<&str> = DOCUMENT.lines().filter(|l| l.starts_with("### 0x")).collect();
    let expected: Vec<String> =
        frames.iter().map(|(number, name)| format!("### 0x{number:02x} {name}")).collect();
    assert_eq!(headings, expected, "frames in PROTOCOL.md, then in the source");
}

#[test]
fn every_type_inside_of_frames_has_its_fields() {
    let structs = structs();
    for name in [
        "Entry",
        "Cursor",
        "Member",
        "ConversationInfo",
        "ListCursor",
        "FoundUser",
        "GroupChange",
        "Resume",
        "Limits",
        "Person",
        "OwnState",
        "DeviceInfo",
    ] {
        check_fields(&format!("### {name}"), &structs[name]);
    }
    let frames = vectors::all();
    for name in structs.keys() {
        let known = frames.iter().any(|(_, frame)| frame.name() == name)
            || DOCUMENT.lines().any(|line| line == format!("### {name}"));
        assert!(known, "PROTOCOL.md does not tell of the type {name}");
    }
}

#[test]
fn every_enum_has_its_values() {
    for name in [
        "EntryKind",
        "ConversationKind",
        "MarkKind",
        "Status",
        "Direction",
        "Change",
        "ErrorClass",
        "GroupAction",
        "Audience",
        "ReportReason",
        "OwnKind",
    ] {
        let told: Vec<(String, String)> = rows(section(&format!("### {name}")))
            .into_iter()
            .filter(|cells| cells[1].starts_with('`'))
            .map(|cells| (cells[0].to_owned(), cells[1].to_owned()))
            .collect();
        assert_eq!(told, variants(name), "{name}: values in PROTOCOL.md, then in the source");
    }
}

/// The rows under a heading of level 2 whose first cell is a number.
fn numbered(heading: &str) -> Vec<Vec<&'static str>> {
    let lines = DOCUMENT.lines().skip_while(|line| *line != heading).skip(1);
    let table = rows(lines.take_while(|line| !line.starts_with('#')));
    assert!(!table.is_empty(), "PROTOCOL.md has no table under {heading:?}");
    table.into_iter().filter(|cells| cells[0].parse::<u16>().is_ok()).collect()
}

#[test]
fn every_error_code_has_its_number_class_and_retry() {
    let told = numbered("## 17. Error codes");
    let expected: Vec<[String; 4]> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let class = match code.class() {
                ErrorClass::Other(class) => panic!("{} has the class {class}", code.name()),
                class => format!("{class:?}"),
            };
            let retry = if code.retryable() { "yes" } else { "no" };
            [code.code().to_string(), quoted(code.name()), class, retry.to_owned()]
        })
        .collect();
    let told: Vec<Vec<&str>> = told.iter().map(|cells| cells[..4].to_vec()).collect();
    assert_eq!(told, expected, "error codes in PROTOCOL.md, then in the source");
}

#[test]
fn every_close_code_has_its_number_and_whether_to_reconnect() {
    let told = numbered("## 18. Close codes");
    let expected: Vec<[String; 3]> = CloseCode::ALL
        .iter()
        .map(|code| {
            let reconnect = if should_reconnect(code.code()) { "yes" } else { "no" };
            [code.code().to_string(), quoted(&format!("{code:?}")), reconnect.to_owned()]
        })
        .collect();
    let told: Vec<Vec<&str>> = told.iter().map(|cells| cells[..3].to_vec()).collect();
    assert_eq!(told, expected, "close codes in PROTOCOL.md, then in the source");
}

macro_rules! values {
    ($($name:ident),+ $(,)?) => { [$((stringify!($name), limits::$name as u64)),+] };
}

#[test]
fn every_limit_has_its_value() {
    let values = values![
        MAX_CLIENT_MESSAGE_BYTES,
        MAX_CLIENT_FRAME_BYTES,
        MAX_FRAMES_PER_MESSAGE,
        MAX_SERVER_MESSAGE_BYTES,
        MAX_SERVER_FRAME_BYTES,
        MAX_BODY_BYTES,
        MAX_TOKEN_BYTES,
        MAX_AGENT_BYTES,
        MAX_NAME_BYTES,
        MIN_NAME_BYTES,
        MAX_HISTORY_ENTRIES,
        MAX_PAGE_BYTES,
        MAX_LIST_ITEMS,
        MAX_GROUP_MEMBERS,
        MAX_TITLE_BYTES,
        MAX_REFERENCE_BYTES,
        MAX_FIND_NAMES,
        MAX_WATCH_BATCH,
        MAX_WATCHED,
        MAX_PEOPLE,
        MAX_COMMENT_BYTES,
        MAX_DEVICE_NAME_BYTES,
        MAX_SENDS_IN_FLIGHT,
        MAX_REQUESTS_IN_FLIGHT,
        MIN_WINDOW_BYTES,
        MAX_WINDOW_BYTES,
        DEFAULT_WINDOW_BYTES,
    ];
    let named: Vec<&str> = include_str!("../src/limits.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    let listed: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, named, "the limits in this test, then in limits.rs");
    for (name, value) in values {
        let row = format!("| `{name}` | {value} |");
        assert!(DOCUMENT.lines().any(|l| l.starts_with(&row)), "PROTOCOL.md lacks {row:?}");
    }
}

#[test]
fn every_example_in_hex_is_the_golden_vector_it_names_and_decodes() {
    let golden: BTreeMap<String, Vec<u8>> = blocks()
        .into_iter()
        .filter(|b| b.claim == Claim::Vector)
        .map(|b| (b.name, b.bytes))
        .collect();
    let mut lines = DOCUMENT.lines();
    let mut examples = 0;
    while let Some(line) = lines.next() {
        let Some(names) = line.strip_prefix("```hex") else { continue };
        let mut bytes = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            bytes.extend(parse_hex(line.split('#').next().unwrap()));
        }
        let names: Vec<&str> = names.split_whitespace().collect();
        assert!(!names.is_empty(), "an example names its golden vectors: {}", hex(&bytes));
        let expected: Vec<u8> = names
            .iter()
            .flat_map(|name| golden.get(*name).unwrap_or_else(|| panic!("no vector {name}")))
            .copied()
            .collect();
        assert_eq!(hex(&bytes), hex(&expected), "{names:?}");
        assert_eq!(decode_message(&bytes).map(|frames| frames.len()), Ok(names.len()));
        examples += 1;
    }
    assert!(examples >= 10, "only {examples} examples were found");
}

#[test]
fn the_integer_examples_are_what_the_codec_writes() {
    let config = bincode::config::standard();
    let told: Vec<(u64, Vec<u8>)> = rows(DOCUMENT.lines())
        .into_iter()
        .filter_map(|cells| {
            let value = cells[0].parse().ok()?;
            let digits = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
            let bytes =
                digits.split(' ').all(|d| d.len() == 2 && d.chars().all(|c| c.is_ascii_hexdigit()));
            bytes.then(|| (value, parse_hex(digits)))
        })
        .collect();
    assert_eq!(told.len(), 6, "{told:?}");
    for (value, bytes) in told {
        assert_eq!(bincode::encode_to_vec(value, config).unwrap(), bytes, "{value}");
    }
}

#[test]
fn the_subprotocol_and_the_versions_are_named() {
    assert!(DOCUMENT.contains(&quoted(rookery_protocol::SUBPROTOCOL)));
    for version in rookery_protocol::VERSIONS {
        assert!(DOCUMENT.starts_with(&format!("# The Rookery protocol, version {version}\n")));
    }
}
