//! Search in a long conversation: each request reads a bounded amount, and says where it goes on.

use crate::search::{Entry, conversation, index, page, say, text};
use crate::support::*;
use bytes::Bytes;
use rookery_store::engine::Done;
use rookery_store::memory::MemoryEngine;
use rookery_store::{Engine, Found, Plan, ReadError, Store, Version, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An engine that counts what is read.
#[derive(Clone, Default)]
struct Counted {
    engine: MemoryEngine,
    reads: Arc<AtomicUsize>,
    rows: Arc<AtomicUsize>,
}

struct CountedView(<MemoryEngine as Engine>::View, Counted);

impl Counted {
    fn count(&self, rows: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Reads and rows since the last time.
    fn take(&self) -> (usize, usize) {
        (self.reads.swap(0, Ordering::Relaxed), self.rows.swap(0, Ordering::Relaxed))
    }
}

impl Engine for Counted {
    type View = CountedView;

    fn submit(&self, plans: Vec<Plan>, done: Done) {
        self.engine.submit(plans, done);
    }

    async fn view(&self, at_least: Version) -> Result<CountedView, ReadError> {
        Ok(CountedView(self.engine.view(at_least).await?, self.clone()))
    }

    fn reads_block(&self) -> bool {
        false
    }
}

impl View for CountedView {
    fn version(&self) -> Version {
        self.0.version()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.1.count(1);
        self.0.get(key).await
    }

    async fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.1.count(keys.len());
        self.0.get_many(keys).await
    }

    async fn range(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let rows = self.0.range(from, to, limit, reverse).await?;
        self.1.count(rows.len());
        Ok(rows)
    }
}

#[test]
fn ten_thousand_messages_are_searched_in_bounded_requests() {
    let engine = Counted::default();
    let store = Store::new(engine.clone());
    let fence = conversation(&store, &[]);
    let body = |seq: u64| {
        let rare = if seq % 2_500 == 7 { " rare" } else { "" };
        let kind = if seq.is_multiple_of(2) { "even" } else { "odd" };
        format!("message {kind} m{seq}{rare}")
    };
    let entries: Vec<Entry> = (1..=10_000).map(|seq| text(seq, &body(seq))).collect();
    say(&store, &fence, &entries);
    index(&store);
    let rare = [7_507, 5_007, 2_507, 7];
    let odd = (1..=10_000).rev().filter(|seq| seq % 2 == 1).collect::<Vec<_>>();
    let all = (1..=10_000).rev().collect::<Vec<_>>();
    let in_range = (7_770..=7_779).rev().chain([777]).collect::<Vec<_>>();
    for (text, wanted) in [
        ("rare", rare.as_slice()),
        ("message odd rare ", &rare),
        ("m777", &in_range),
        // Many messages have each of them and none has both: pages without hits, that go on.
        ("even odd ", &[]),
        // More words begin so than are merged.
        ("m", &all),
        ("odd m", &odd),
        // One word, of many messages.
        ("mess", &all),
    ] {
        let (mut seqs, mut before, mut pages) = (Vec::new(), 0, 0);
        loop {
            engine.take();
            let Found { hits, next, .. } = page(&store, ANN, text, before, 50);
            let (reads, rows) = engine.take();
            assert!(reads <= 280 && rows <= 256 * 32 + 2_048 + 40, "{text}: {reads}, {rows}");
            seqs.extend(hits.iter().map(|hit| hit.entry.seq));
            pages += 1;
            let Some(next) = next else { break };
            assert!(before == 0 || next.before < before, "a page that goes nowhere");
            before = next.before;
        }
        assert_eq!(seqs, wanted, "{text}");
        assert!(pages <= 2 + wanted.len() / 50, "{text}: {pages} pages");
    }
}
