//! What disks and the store's process say: rows, backup files, the wire of the engine `shared`.

use crate::input::Input;
use rookery_store::Store;
use rookery_store::backup::{self, Reader};
use rookery_store::memory::MemoryEngine;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// A value of the store, read as every kind of row.
pub(crate) fn value(bytes: &[u8]) {
    rookery_store::fuzz::stored_value(bytes);
}

/// Bytes of the exact values that tests of the store hold.
pub(crate) fn values() -> Vec<Vec<u8>> {
    vec![
        // A head; a member; an account; a cursor; a row of a newer version; nothing.
        b"\x01\xfb\x2c\x01\x05".to_vec(),
        b"\x01\x01\x04".to_vec(),
        b"\x01\x03ann\x02$a\x09".to_vec(),
        b"\x01\0\0\0\x02\0\0\0\0\0\0\x01\x02\0\x03\0\x04\0\0\0\0\0\0\0\x05".to_vec(),
        b"\x01\0\0\0\0\0\0\x01\x02".to_vec(),
        // A message: sender, device, time, id, kind, body.
        [&b"\x01\x0a\x0d\xfd\0\0\0\0\x90\x01\0\0"[..], &[0xee; 16], b"\x01\x02hi"].concat(),
        [&b"\x01\x01"[..], &[0xcc; 32]].concat(),
        b"\x02\x01".to_vec(),
        Vec::new(),
    ]
}

/// A backup file: as it stands, or (by the first byte) with checksums that are right, so that what
/// lies behind them is reached.
pub(crate) fn backup(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.byte() % 2 == 0 {
        return read_backup(input.slice(usize::MAX));
    }
    let mut parts = Vec::new();
    while !input.is_empty() && parts.len() < 64 {
        parts.push((input.byte(), input.bytes().to_vec()));
    }
    read_backup(&rookery_store::fuzz::backup_file(&parts));
}

fn read_backup(file: &[u8]) {
    let Ok(mut reader) = Reader::new(file) else { return };
    let mut rows = 0;
    while let Ok(Some(read)) = reader.next_rows() {
        // What is read was in the file: a length that lies makes no rows.
        rows += read.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        assert!(rows <= file.len());
    }
    if let Ok(totals) = reader.into_totals() {
        assert!(backup::verify(file).is_ok_and(|(_, verified)| verified == totals));
    }
}

/// Backups of an empty store and of a few rows, and parts of every kind.
pub(crate) fn backups() -> Vec<Vec<u8>> {
    let store = Store::new(MemoryEngine::new());
    let mut file = vec![0];
    let written = backup::write(&store, &mut file, 1_700_000_000_000, |_| {});
    let mut seeds = vec![vec![1, 3, 2, 0, b'n', b'o'], vec![1, 2, 16, 0]];
    if ready(written).is_some_and(|written| written.is_ok()) {
        seeds.push(file);
    }
    // One part of two rows: lengths of key and value, key, value.
    let rows = b"\x02\0\x01\0\0\0mav\x02\0\0\0\0\0mb";
    seeds.push([&[1, 1, u8::try_from(rows.len()).unwrap_or_default(), 0][..], rows].concat());
    seeds
}

/// The result of a future that has nothing to wait for.
fn ready<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// What comes from a socket between a node and the store's process.
pub(crate) fn shared_wire(bytes: &[u8]) {
    rookery_store::fuzz::shared_wire(bytes);
}

/// A frame of each kind.
pub(crate) fn shared_frames() -> Vec<Vec<u8>> {
    let frame = |body: &[u8]| {
        [&u32::try_from(body.len()).unwrap_or_default().to_le_bytes()[..], body].concat()
    };
    let id = 7u64.to_le_bytes();
    let two = 2u32.to_le_bytes();
    let one = 1u32.to_le_bytes();
    let key = [&one[..], b"k"].concat();
    let greeting = [&b"rkstore\n"[..], &one].concat();
    vec![
        greeting.clone(),
        [&greeting[..], &frame(&[1])].concat(),
        // Submit: one plan, no guard, two operations.
        frame(&[&[2], &id[..], &one, &[0; 4], &two, &[0], &key, &key, &[5], &key, &id].concat()),
        // Submit: one plan, a guard.
        frame(&[&[2], &id[..], &one, &one, &key, &[1], &key, &id, &[0; 4]].concat()),
        frame(&[&[3], &id[..], &id, &id].concat()),
        frame(&[&[4], &id[..]].concat()),
        frame(&[&[5], &id[..], &id, &two, &key, &key].concat()),
        frame(&[&[6], &id[..], &id, &key, &key, &id, &[1]].concat()),
        frame(&[&[65, 1][..], &key].concat()),
        frame(&[&[66], &id[..], &two, &[1], &[3]].concat()),
        frame(&[&[66], &id[..], &one, &[0], &id, &[9; 12]].concat()),
        frame(&[&[67], &id[..], &id].concat()),
        frame(&[&[68], &id[..], &two, &[0], &[1], &key].concat()),
        frame(&[&[69], &id[..], &[1], &one, &key, &key].concat()),
        frame(&[&[70], &id[..], &[1], &key].concat()),
    ]
}
