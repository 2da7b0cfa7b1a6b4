//! Every target on the stable tool chain: the kept corpus, the seeds, and thousands of mutations of
//! both, without a panic and within the memory that was promised.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use rookery_fuzz::{TARGETS, Target, peak_memory};
use std::path::Path;
use std::time::{Duration, Instant};

/// What one input may take at the most, and everything together.
const MOST_MEMORY: u64 = 256 << 20;
/// Mutations of a target; `ROOKERY_FUZZ_CASES` says otherwise.
const CASES: u32 = 2_000;
/// Time after which a target has been mutated enough: some inputs go through a whole node.
const ENOUGH: Duration = Duration::from_secs(10);
/// Larger inputs are the fuzzer's.
const MOST_BYTES: usize = 64 * 1024;

/// What was kept and what is made today.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let files = std::fs::read_dir(&corpus).unwrap_or_else(|e| panic!("{}: {e}", corpus.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut inputs = (target.seeds)();
    assert!(!inputs.is_empty(), "{} has no seeds", target.name);
    inputs.extend(files.iter().map(|file| std::fs::read(file).unwrap()));
    inputs
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    /// Greatest numbers, where lengths and counts may be.
    Fill(Index, u8),
    /// A piece of another input.
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, b)| Change::Insert(at, b)),
        (at(), at()).prop_map(|(from, to)| Change::Cut(from, to)),
        (at(), 1..9u8).prop_map(|(at, length)| Change::Fill(at, length)),
        (at(), at(), at()).prop_map(|(at, other, from)| Change::Splice(at, other, from)),
    ]
}

fn changed(bytes: &mut Vec<u8>, change: &Change, inputs: &[Vec<u8>]) {
    let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
    match change {
        Change::Set(at, byte) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Change::Flip(at, bit) if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Change::Set(..) | Change::Flip(..) => {}
        Change::Insert(at, more) => {
            let at = place(at, bytes);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Cut(one, other) => {
            let (one, other) = (place(one, bytes), place(other, bytes));
            bytes.drain(one.min(other)..one.max(other));
        }
        Change::Fill(at, length) => {
            let at = place(at, bytes);
            let to = (at + usize::from(*length)).min(bytes.len());
            bytes[at..to].fill(0xff);
        }
        Change::Splice(at, other, from) => {
            let other = &inputs[other.index(inputs.len())];
            let (at, from) = (place(at, bytes), place(from, other));
            bytes.splice(at..at, other[from..].iter().copied());
        }
    }
    bytes.truncate(MOST_BYTES);
}

fn mutate(target: &Target, inputs: &[Vec<u8>]) -> u32 {
    let cases = std::env::var("ROOKERY_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = cases.unwrap_or(CASES);
    let config = Config { cases: u32::MAX, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let input = (any::<Index>(), prop::collection::vec(change(), 0..6));
    let started = Instant::now();
    let mut done = 0;
    while done < cases && (cases != CASES || started.elapsed() < ENOUGH) {
        let (from, changes) = input.new_tree(&mut runner).unwrap().current();
        let mut bytes = inputs[from.index(inputs.len())].clone();
        changes.iter().for_each(|change| changed(&mut bytes, change, inputs));
        run(target, &bytes);
        done += 1;
    }
    done
}

/// Runs an input; a panic tells which it was.
fn run(target: &Target, bytes: &[u8]) {
    let caught = std::panic::catch_unwind(|| (target.run)(bytes));
    if caught.is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{}: it panicked at this input: {hex}", target.name);
    }
}

#[test]
fn no_input_makes_a_target_panic_or_take_more_memory_than_promised() {
    for target in TARGETS {
        let inputs = inputs(target);
        inputs.iter().for_each(|input| run(target, input));
        let mutated = mutate(target, &inputs);
        let peak = peak_memory();
        let told = peak.map_or("memory unknown".to_owned(), |peak| format!("{} MiB", peak >> 20));
        println!("{}: {} inputs, {mutated} mutations, peak {told}", target.name, inputs.len());
        assert!(peak.is_none_or(|peak| peak < MOST_MEMORY), "{}: {told}", target.name);
    }
    if peak_memory().is_none() {
        println!("SKIPPED: this system does not tell the peak of memory");
    }
}

#[test]
fn random_bytes_panic_no_target() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    for target in TARGETS {
        let bytes = prop::collection::vec(any::<u8>(), 0..600);
        for _ in 0..200 {
            run(target, &bytes.new_tree(&mut runner).unwrap().current());
        }
    }
}

#[test]
fn seeds_are_inputs_that_are_understood() {
    // What is written today must be read today: a seed that is refused tests the refusal alone.
    use rookery_actors::link::frame::Frame;
    let seeds = |name: &str| (rookery_fuzz::target(name).unwrap().seeds)();
    assert!(seeds("link_frame").into_iter().all(|seed| Frame::decode(seed.into()).is_ok()));
    let me = rookery_actors::NodeId(77);
    for seed in seeds("actor_message") {
        rookery_actors::wire::decode(me, &seed.into()).unwrap();
    }
}
