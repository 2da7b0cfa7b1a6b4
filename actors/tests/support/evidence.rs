//! What the process logs and counts, for tests that ask for it.

use super::PATIENCE;
use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock};
use tokio::sync::watch;

#[derive(Default)]
struct Evidence {
    log: Mutex<Vec<u8>>,
    counts: Mutex<BTreeMap<String, Arc<Count>>>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
        evidence().changed.send_replace(());
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

struct Counts;

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<&str> = key.labels().map(|label| label.value()).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let mut counts = evidence().counts.lock().unwrap();
        Counter::from_arc(Arc::clone(counts.entry(name.trim().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        evidence().log.lock().unwrap().extend_from_slice(bytes);
        evidence().changed.send_replace(());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn evidence() -> &'static Evidence {
    static EVIDENCE: OnceLock<Evidence> = OnceLock::new();
    EVIDENCE.get_or_init(Evidence::default)
}

/// From now on the process's log and counters are gathered.
pub fn gather() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
        metrics::set_global_recorder(Counts).unwrap();
    });
}

/// Waits until something that was logged or counted makes this true.
pub async fn until(condition: impl Fn() -> bool) {
    let mut changes = evidence().changed.subscribe();
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition() {
            changes.changed().await.unwrap();
        }
    });
    assert!(waited.await.is_ok(), "it never came true");
}

/// Lines of the log that hold all of these words.
pub fn logged(words: &[&str]) -> Vec<String> {
    let log = String::from_utf8_lossy(&evidence().log.lock().unwrap()).into_owned();
    let fits = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(fits).map(str::to_owned).collect()
}

/// A counter, by its name and the values of its labels.
pub fn counted(name: &str) -> u64 {
    evidence().counts.lock().unwrap().get(name).map_or(0, |count| count.0.load(Ordering::Relaxed))
}
