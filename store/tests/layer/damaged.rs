//! An engine on which one row can't be read, as a damaged block of a disk would have it.

use crate::support::*;
use bytes::Bytes;
use rookery_store::check::check;
use rookery_store::engine::{Done, Row};
use rookery_store::memory::MemoryEngine;
use rookery_store::{Engine, Plan, ReadError, Store, Version, View, keys};

/// Reads that touch the key fail.
struct Damaged {
    engine: MemoryEngine,
    key: Bytes,
}

struct DamagedView {
    view: <MemoryEngine as Engine>::View,
    key: Bytes,
}

fn broken() -> ReadError {
    ReadError::Damaged("checksum mismatch".into())
}

impl Engine for Damaged {
    type View = DamagedView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.engine.submit(plans, done);
    }

    async fn view(&self, at_least: Version) -> Result<DamagedView, ReadError> {
        let view = self.engine.view(at_least).await?;
        Ok(DamagedView { view, key: self.key.clone() })
    }

    fn reads_block(&self) -> bool {
        false
    }
}

impl View for DamagedView {
    fn version(&self) -> Version {
        self.view.version()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        if key == self.key { Err(broken()) } else { self.view.get(key).await }
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        if keys.contains(&self.key) { Err(broken()) } else { self.view.get_many(keys).await }
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<Row>, ReadError> {
        let rows = self.view.range(from, to, limit, reverse).await?;
        if rows.iter().any(|(key, _)| *key == self.key) { Err(broken()) } else { Ok(rows) }
    }
}

#[test]
fn a_row_that_cannot_be_read_is_found_and_the_check_goes_on_behind_its_kind() {
    let engine = MemoryEngine::new();
    let whole = Store::new(engine.clone());
    populate(&whole);
    clear(&whole, keys::name("cat"));
    let rows = run(check(&whole, |_| {})).unwrap().rows;
    for key in [
        keys::message(CONV, 40).to_vec(),
        keys::head(CONV).to_vec(),
        keys::activity(ANN, CONV).to_vec(),
        keys::account(BOB).to_vec(),
        keys::family(BOB, rookery_protocol::DeviceId(8)).to_vec(),
    ] {
        let tag = key[0];
        let store = Store::new(Damaged { engine: engine.clone(), key: key.into() });
        let report = run(check(&store, |_| {})).unwrap();
        let found = |what: &str| report.findings.iter().any(|found| found.what.contains(what));
        assert!(found("can't be read"), "{report:#?}");
        assert!(tag == b'u' || found("nobody holds the account's name"), "{report:#?}");
        assert_eq!(report.faults, if tag == b'u' { 1 } else { 2 }, "{report:#?}");
        let others = |rows: &std::collections::BTreeMap<u8, u64>| {
            rows.iter().filter(|(other, _)| **other != tag).map(|(_, n)| *n).sum::<u64>()
        };
        assert_eq!(others(&report.rows), others(&rows), "all other kinds were checked");
    }
}
