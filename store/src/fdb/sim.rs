//! A simulated cluster: rows in many versions, conflicts found as FoundationDB finds them, and
//! failures on demand.

use super::client::{Answer, Client, Commit};
use super::codes::Code;
use super::translate::{Atomic, Scratch, Write, stamped_value, translate};
use bytes::Bytes;
use futures_channel::oneshot;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// Versions that pass between two commits: a millisecond.
const STEP: u64 = 1_000;
/// The cluster forgets what is older.
const WINDOW: u64 = 5_000_000;

/// What goes wrong with the next commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    None,
    /// It is not applied, and fails.
    Lost(i32),
    /// It is applied (unless it conflicts), and fails.
    Applied(i32),
    /// It fails, and arrives when the next operation but `n` was answered.
    Late(i32, usize),
}

/// A commit that waits, and who waits for it.
type Held = (Owned, oneshot::Sender<Result<[u8; 10], Code>>);
/// Key ranges written at a version.
type WrittenRange = (u64, Vec<u8>, Vec<u8>);

#[derive(Default)]
struct State {
    version: u64,
    rows: BTreeMap<Vec<u8>, Vec<(u64, Option<Bytes>)>>,
    written: Vec<WrittenRange>,
    faults: VecDeque<Fault>,
    version_faults: VecDeque<i32>,
    read_faults: VecDeque<i32>,
    late: Vec<(usize, Owned)>,
    held: Option<VecDeque<Held>>,
    silent: Vec<oneshot::Sender<()>>,
    is_silent: bool,
    watched: Vec<(Vec<u8>, oneshot::Sender<()>)>,
    fails_every: u64,
    operations: u64,
}

/// Codes of which each says that a commit was not applied, or that it may have been.
const CODES: [i32; 9] = [1021, 1020, 1007, 1039, 1037, 1031, 1009, 1042, 1021];

/// A commit that outlives its caller.
struct Owned {
    base: u64,
    reads: Vec<Vec<u8>>,
    writes: Vec<(OwnedWrite, bool)>,
}

enum OwnedWrite {
    Set(Vec<u8>, Bytes),
    ClearRange(Vec<u8>, Vec<u8>),
    Atomic(Atomic, Vec<u8>, Vec<u8>),
}

/// The cluster. Clones are other connections to it.
#[derive(Clone, Default)]
pub(super) struct Sim {
    state: Arc<Mutex<State>>,
}

impl Sim {
    pub(super) fn new() -> Self {
        let sim = Self::default();
        sim.lock().version = 10 * WINDOW;
        sim
    }

    /// The next commits meet these.
    pub(super) fn commits(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// The next requests for a version fail with these.
    pub(super) fn versions_fail(&self, codes: impl IntoIterator<Item = i32>) {
        self.lock().version_faults.extend(codes);
    }

    /// The next reads fail with these.
    pub(super) fn reads_fail(&self, codes: impl IntoIterator<Item = i32>) {
        self.lock().read_faults.extend(codes);
    }

    /// Commits wait until they are released.
    pub(super) fn hold(&self) {
        self.lock().held = Some(VecDeque::new());
    }

    pub(super) fn held(&self) -> usize {
        self.lock().held.as_ref().map_or(0, VecDeque::len)
    }

    /// Lets the held commits go on, and holds no more.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        for (commit, answer) in state.held.take().unwrap_or_default() {
            let result = state.commit(&commit);
            answer.send(result).ok();
        }
    }

    /// Nothing is answered until it speaks again.
    pub(super) fn set_silent(&self, silent: bool) {
        let mut state = self.lock();
        state.is_silent = silent;
        if !silent {
            state.silent.clear();
        }
    }

    /// Time passes.
    pub(super) fn pass(&self, versions: u64) {
        self.lock().version += versions;
    }

    /// All rows now.
    pub(super) fn rows(&self) -> Vec<(Vec<u8>, Bytes)> {
        let state = self.lock();
        let newest = |(key, _): (&Vec<u8>, _)| Some((key.clone(), state.get(key, u64::MAX)?));
        state.rows.iter().filter_map(newest).collect()
    }

    /// From now on every so-manieth operation fails, each in another way.
    pub(super) fn fail_every(&self, operations: u64) {
        self.lock().fails_every = operations;
    }

    /// Rows at a version, for a test that looks.
    pub(super) fn peek(&self, at: u64, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Bytes>>, Code> {
        let state = self.lock();
        if at + WINDOW < state.version {
            return Err(Code::TRANSACTION_TOO_OLD);
        }
        Ok(keys.iter().map(|key| state.get(key, at)).collect())
    }

    /// The rows of a range at a version.
    pub(super) fn range(&self, from: &[u8], to: &[u8], at: u64) -> Vec<(Vec<u8>, Bytes)> {
        let state = self.lock();
        let shown = |(key, _): (&Vec<u8>, _)| Some((key.clone(), state.get(key, at)?));
        state.rows.range(from.to_vec()..to.to_vec()).filter_map(shown).collect()
    }

    /// Another client sets a row.
    pub(super) fn set(&self, key: &[u8], value: &str) {
        let value = Bytes::copy_from_slice(value.as_bytes());
        let writes = vec![(OwnedWrite::Set(key.to_vec(), value), true)];
        let mut state = self.lock();
        let base = state.version;
        assert!(state.commit(&Owned { base, reads: Vec::new(), writes }).is_ok());
    }

    /// Another client sets a row, later in the batch of the last commit: at the same version.
    pub(super) fn set_in_the_same_batch(&self, key: &[u8], value: &str) {
        self.lock().version -= STEP;
        self.set(key, value);
    }

    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer<T: Send + 'static>(&self, result: Result<T, Code>) -> Answer<T> {
        let mut state = self.lock();
        if state.is_silent {
            let (speak, spoken) = oneshot::channel();
            state.silent.push(speak);
            return Box::pin(async {
                spoken.await.ok();
                Err(Code::TIMED_OUT)
            });
        }
        Box::pin(std::future::ready(result))
    }
}

impl State {
    /// The code an operation fails with, if it is its turn.
    fn fails(&mut self) -> Option<i32> {
        self.operations += 1;
        if self.fails_every == 0 || !self.operations.is_multiple_of(self.fails_every) {
            return None;
        }
        let turn = usize::try_from(self.operations / self.fails_every).unwrap();
        Some(CODES[turn % CODES.len()])
    }

    /// The fault of the next commit.
    fn fault(&mut self) -> Fault {
        if let Some(fault) = self.faults.pop_front() {
            return fault;
        }
        match self.fails() {
            None => Fault::None,
            Some(code @ (1021 | 1031 | 1039)) => match self.operations % 3 {
                0 => Fault::Lost(code),
                1 => Fault::Applied(code),
                _ => Fault::Late(code, 1 + usize::try_from(self.operations % 5).unwrap()),
            },
            Some(code) => Fault::Lost(code),
        }
    }

    fn get(&self, key: &[u8], at: u64) -> Option<Bytes> {
        let versions = self.rows.get(key)?;
        versions.iter().rev().find(|(version, _)| *version <= at)?.1.clone()
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let version = self.version;
        self.rows.entry(key).or_default().push((version, value));
    }

    fn commit(&mut self, commit: &Owned) -> Result<[u8; 10], Code> {
        if commit.base + WINDOW < self.version {
            return Err(Code::TRANSACTION_TOO_OLD);
        }
        if commit.base > self.version {
            return Err(Code::FUTURE_VERSION);
        }
        let conflicts = self.written.iter().any(|(version, from, to)| {
            *version > commit.base && commit.reads.iter().any(|key| from <= key && key < to)
        });
        if conflicts {
            return Err(Code::NOT_COMMITTED);
        }
        self.version += STEP;
        let stamp = [self.version.to_be_bytes().as_slice(), &[0, 7]].concat();
        let stamp: [u8; 10] = stamp.try_into().unwrap();
        for (write, tracked) in &commit.writes {
            let (from, to) = self.apply(write, &stamp);
            if *tracked {
                self.written.push((self.version, from, to));
            }
        }
        Ok(stamp)
    }

    /// Applies a write; says the keys it touched.
    fn apply(&mut self, write: &OwnedWrite, stamp: &[u8; 10]) -> (Vec<u8>, Vec<u8>) {
        let point = |key: &[u8]| (key.to_vec(), [key, &[0]].concat());
        match write {
            OwnedWrite::Set(key, value) => {
                self.put(key.clone(), Some(value.clone()));
                self.ring(key);
                point(key)
            }
            OwnedWrite::ClearRange(from, to) => {
                let inside: Vec<_> = self.rows.range(from.clone()..to.clone()).collect();
                let keys: Vec<_> = inside.into_iter().map(|(key, _)| key.clone()).collect();
                keys.into_iter().for_each(|key| self.put(key, None));
                (from.clone(), to.clone())
            }
            OwnedWrite::Atomic(Atomic::StampedKey, key, value) => {
                let key = filled_in(key, stamp);
                self.put(key.clone(), Some(Bytes::copy_from_slice(value)));
                point(&key)
            }
            OwnedWrite::Atomic(Atomic::StampedValue, key, value) => {
                self.put(key.clone(), Some(filled_in(value, stamp).into()));
                point(key)
            }
            OwnedWrite::Atomic(kind, key, operand) => {
                let held = self.get(key, u64::MAX);
                let value = match (kind, held) {
                    (Atomic::Add, held) => {
                        let mut bytes = held.map_or(Vec::new(), |held| held.to_vec());
                        bytes.resize(8, 0);
                        let number = u64::from_le_bytes(bytes.try_into().unwrap());
                        let delta = u64::from_le_bytes(operand.as_slice().try_into().unwrap());
                        number.wrapping_add(delta).to_le_bytes().to_vec()
                    }
                    (_, Some(held)) => held.to_vec().max(operand.clone()),
                    (_, None) => operand.clone(),
                };
                self.put(key.clone(), Some(value.into()));
                point(key)
            }
        }
    }

    fn ring(&mut self, key: &[u8]) {
        for (_, ring) in self.watched.extract_if(.., |(watched, _)| watched == key) {
            ring.send(()).ok();
        }
    }

    /// Lets late commits arrive.
    fn tick(&mut self) {
        let mut arrived = Vec::new();
        for (left, _) in &mut self.late {
            *left = left.saturating_sub(1);
        }
        while let Some(at) = self.late.iter().position(|(left, _)| *left == 0) {
            arrived.push(self.late.remove(at).1);
        }
        for commit in arrived {
            self.commit(&commit).ok();
        }
    }
}

/// Puts the stamp where the last four bytes say.
fn filled_in(template: &[u8], stamp: &[u8; 10]) -> Vec<u8> {
    let (bytes, offset) = template.split_last_chunk::<4>().unwrap();
    let at = u32::from_le_bytes(*offset) as usize;
    let mut bytes = bytes.to_vec();
    bytes[at..at + 10].copy_from_slice(stamp);
    bytes
}

impl Client for Sim {
    fn read_version(&self) -> Answer<u64> {
        let mut state = self.lock();
        let result = match state.version_faults.pop_front().or_else(|| state.fails()) {
            Some(code) => Err(Code(code)),
            None => Ok(state.version),
        };
        drop(state);
        self.answer(result)
    }

    fn read(&self, at: u64, keys: Vec<Vec<u8>>) -> Answer<Vec<Option<Bytes>>> {
        let mut state = self.lock();
        let result = match state.read_faults.pop_front().or_else(|| state.fails()) {
            Some(code) => Err(Code(code)),
            None if at + WINDOW < state.version => Err(Code::TRANSACTION_TOO_OLD),
            None => Ok(keys.iter().map(|key| state.get(key, at)).collect()),
        };
        state.tick();
        drop(state);
        self.answer(result)
    }

    fn commit(&self, commit: &Commit<'_>) -> Answer<[u8; 10]> {
        let mut writes = Vec::new();
        let mut stamped = 0;
        for member in commit.members {
            let ops = &member.plan.ops;
            translate(
                commit.space,
                ops,
                &mut stamped,
                &mut Scratch::default(),
                |write, tracked| {
                    let owned = match write {
                        Write::Set { key, value } => {
                            OwnedWrite::Set(key.to_vec(), Bytes::copy_from_slice(value))
                        }
                        Write::Clear { key } => {
                            OwnedWrite::ClearRange(key.to_vec(), [key, &[0]].concat())
                        }
                        Write::ClearRange { from, to } => {
                            OwnedWrite::ClearRange(from.to_vec(), to.to_vec())
                        }
                        Write::Atomic { kind, key, operand } => {
                            OwnedWrite::Atomic(kind, key.to_vec(), operand.to_vec())
                        }
                    };
                    writes.push((owned, tracked));
                },
            );
        }
        let operand = stamped_value(&commit.tail);
        let mark = commit.mark.to_vec();
        writes.push((OwnedWrite::Atomic(Atomic::StampedValue, mark.clone(), operand), true));
        let mut reads: Vec<Vec<u8>> = commit.guarded.iter().map(|key| key.to_vec()).collect();
        reads.push(mark);
        let owned = Owned { base: commit.base, reads, writes };

        let mut state = self.lock();
        if let Some(held) = &mut state.held {
            let (answer, answered) = oneshot::channel();
            held.push_back((owned, answer));
            return Box::pin(async { answered.await.unwrap_or(Err(Code::TRANSACTION_CANCELLED)) });
        }
        if state.is_silent {
            drop(state);
            return self.answer(Ok([0; 10]));
        }
        let result = match state.fault() {
            Fault::None => state.commit(&owned),
            Fault::Lost(code) => Err(Code(code)),
            Fault::Applied(code) => {
                state.commit(&owned).ok();
                Err(Code(code))
            }
            Fault::Late(code, operations) => {
                state.late.push((operations, owned));
                Err(Code(code))
            }
        };
        state.tick();
        drop(state);
        self.answer(result)
    }

    fn watch(&self, key: Vec<u8>) -> Answer<()> {
        let (ring, rung) = oneshot::channel();
        self.lock().watched.push((key, ring));
        Box::pin(async { rung.await.map_err(|_| Code::TRANSACTION_CANCELLED) })
    }

    fn clear(&self, prefix: Vec<u8>) -> Answer<()> {
        let mut state = self.lock();
        state.version += STEP;
        let keys: Vec<_> =
            state.rows.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        keys.into_iter().for_each(|key| state.put(key, None));
        drop(state);
        self.answer(Ok(()))
    }
}
