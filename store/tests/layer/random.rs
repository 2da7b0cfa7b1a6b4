//! Two owners append to one conversation under random take-overs and faults: whatever happens, the
//! log is dense, every acknowledged message is in it once, at the seq that was acknowledged, and
//! the inbox pointers cover exactly the log.
//!
//! The owner here is the smallest correct one: it caches fence and head, and at any doubt drops
//! both, takes the slot over and asks the dedupe rows.

use crate::support::{
    ANN, ANY, BOB, CONV, NOW, OTHER_OWNER, OWNER, append_of, create_conversation, id, run,
};
use proptest::prelude::*;
use rookery_protocol::{ClientMsgId, Cursor, DeviceId, Entry, EntryKind};
use rookery_store::memory::{Fault, MemoryEngine};
use rookery_store::{
    Fence, InboxPage, Outcome, Owner, Plan, PointerKind, Store, TakeOver, append, slot_of,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    /// An owner (of two) is handed new messages and appends what it has.
    Append { owner: usize, messages: u8, fault: Fault },
    /// An owner takes the slot over.
    TakeOver { owner: usize, fault: Fault },
    /// A late plan arrives.
    Late,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::Conflict),
        1 => Just(Fault::Busy),
        1 => Just(Fault::UnresolvedApplied),
        1 => Just(Fault::UnresolvedLost),
        1 => Just(Fault::UnresolvedLate),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize, 0..4_u8, fault())
            .prop_map(|(owner, messages, fault)| Step::Append { owner, messages, fault }),
        2 => (0..2_usize, fault()).prop_map(|(owner, fault)| Step::TakeOver { owner, fault }),
        1 => Just(Step::Late),
    ]
}

struct Machine {
    me: Owner,
    /// The fence, and the head known under it.
    held: Option<(Fence, u64)>,
    /// Sent to this owner and not acknowledged.
    pending: Vec<ClientMsgId>,
    /// Whether some of them may have been committed already.
    doubt: bool,
}

struct World {
    store: Store<MemoryEngine>,
    engine: MemoryEngine,
    owners: [Machine; 2],
    next_id: u64,
    acknowledged: BTreeMap<ClientMsgId, u64>,
}

impl World {
    fn new() -> Self {
        let engine = MemoryEngine::new();
        let store = Store::new(engine.clone());
        create_conversation(&store);
        let machine = |me| Machine { me, held: None, pending: Vec::new(), doubt: false };
        let owners = [machine(OWNER), machine(OTHER_OWNER)];
        Self { store, engine, owners, next_id: 0, acknowledged: BTreeMap::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Append { owner, messages, fault } => {
                for _ in 0..*messages {
                    self.next_id += 1;
                    self.owners[*owner].pending.push(id(self.next_id));
                }
                self.append(*owner, *fault);
            }
            Step::TakeOver { owner, fault } => self.take_over(*owner, *fault),
            Step::Late => {
                self.engine.release_next();
            }
        }
    }

    fn take_over(&mut self, owner: usize, fault: Fault) {
        self.next_plan_meets(fault);
        let machine = &mut self.owners[owner];
        machine.held = None;
        let outcome = run(self.store.take_over(slot_of(CONV), machine.me));
        self.engine.clear_faults();
        let TakeOver::Held(fence) = outcome else { return };
        let loaded = run(self.store.load_conversation(CONV, fence.version)).unwrap().unwrap();
        machine.held = Some((fence, loaded.head));
        self.resolve(owner);
    }

    /// Under a new fence nothing in doubt can still be applied: the dedupe rows decide.
    fn resolve(&mut self, owner: usize) {
        let Self { store, owners, acknowledged, .. } = self;
        let machine = &mut owners[owner];
        let Some((fence, _)) = &machine.held else { return };
        if !std::mem::take(&mut machine.doubt) {
            return;
        }
        machine.pending.retain(|id| {
            let known = run(store.find_sent(CONV, ANN, *id, fence.version)).unwrap();
            if let Some(known) = known {
                assert_eq!(known.hash, append::content_hash(EntryKind::Opaque, &id.0));
                acknowledged.insert(*id, known.seq);
            }
            known.is_none()
        });
    }

    fn append(&mut self, owner: usize, fault: Fault) {
        let machine = &self.owners[owner];
        let Some((fence, head)) = machine.held.clone() else { return };
        let entry = |(seq, id): (u64, &ClientMsgId)| Entry {
            seq,
            sender: ANN,
            device: DeviceId(1),
            time_ms: NOW,
            client_msg_id: *id,
            kind: EntryKind::Opaque,
            body: id.0.to_vec(),
        };
        let entries: Vec<Entry> = (head + 1..).zip(&machine.pending).map(entry).collect();
        self.next_plan_meets(fault);
        let outcome = run(self.store.commit(append::plan(&append_of(&fence, &entries))));
        self.engine.clear_faults();
        let machine = &mut self.owners[owner];
        match outcome {
            Outcome::Committed { version, .. } => {
                self.acknowledged.extend(entries.iter().map(|e| (e.client_msg_id, e.seq)));
                machine.pending.clear();
                if let Some((fence, known)) = &mut machine.held {
                    fence.confirmed(version);
                    *known = head + entries.len() as u64;
                }
            }
            Outcome::Busy => {}
            Outcome::Conflict => machine.held = None,
            Outcome::Unresolved => (machine.held, machine.doubt) = (None, true),
            Outcome::TooLarge => panic!("a few short messages"),
        }
    }

    fn next_plan_meets(&self, fault: Fault) {
        let mut fault = Some(fault);
        self.engine.set_faults(move |_: &Plan| fault.take().unwrap_or_default());
    }

    /// Everything calms down: late plans arrive, each owner takes over and sends what it has left.
    fn settle(&mut self) {
        self.engine.release_all();
        for owner in 0..2 {
            self.take_over(owner, Fault::None);
            self.append(owner, Fault::None);
            assert!(self.owners[owner].pending.is_empty());
        }
    }

    fn check(&self) {
        let head = run(self.store.load_conversation(CONV, ANY)).unwrap().unwrap().head;
        let log = run(self.store.entries(CONV, 1, u64::MAX, usize::MAX)).unwrap();
        assert_eq!(log.len() as u64, head);
        assert_eq!(head, self.next_id, "each message once");
        let places: BTreeMap<ClientMsgId, u64> =
            log.iter().map(|entry| (entry.client_msg_id, entry.seq)).collect();
        assert_eq!(places, self.acknowledged);
        for user in [ANN, BOB] {
            let start = Cursor { epoch: 1, stamp: [0; 12] };
            let page = run(self.store.inbox(user, Some(start), 1000, ANY)).unwrap();
            let InboxPage::Page { pointers, more: false, .. } = page else { panic!("{page:?}") };
            let batches = pointers.iter().filter(|pointer| pointer.kind == PointerKind::Messages);
            let covered: Vec<u64> = batches.flat_map(|p| p.first..=p.last).collect();
            assert_eq!(covered, (1..=head).collect::<Vec<_>>());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn two_owners_make_one_dense_log(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.check();
    }
}
