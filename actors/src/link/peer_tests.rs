//! The link's state machine against a network that cuts, delays, doubles and loses.

use super::frame::Frame;
use super::peer::{
    BATCH_MIN_BYTES, BEAT_MS, EAGER_FRAMES, Effect, Input, Link, MESSAGE_COST, QUEUE_BYTES,
    QUIET_MS, SILENCE_MS, WINDOW_BYTES, Why,
};
use super::{LinkRefused, NodeKey};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::VecDeque;

/// One of two nodes, and what the test knows of it.
struct Node {
    link: Link,
    /// The connection it believes in.
    joined: Option<usize>,
    taken: Vec<Bytes>,
    delivered: Vec<Bytes>,
    lost: u64,
    up: bool,
    /// When it was told that its peer is quiet.
    quiet_ms: Vec<u64>,
    gave_up: Vec<Why>,
}

/// A connection: the frames under way from either node.
#[derive(Default)]
struct Pipe {
    lanes: [VecDeque<Vec<u8>>; 2],
}

struct World {
    now_ms: u64,
    nodes: [Node; 2],
    pipes: Vec<Pipe>,
}

fn key(side: usize) -> NodeKey {
    NodeKey { node: side as u64, incarnation: 7 }
}

impl World {
    fn new() -> Self {
        let node = |side: usize| Node {
            link: Link::new(key(side), key(1 - side), 1, 0),
            joined: None,
            taken: Vec::new(),
            delivered: Vec::new(),
            lost: 0,
            up: false,
            quiet_ms: Vec::new(),
            gave_up: Vec::new(),
        };
        Self { now_ms: 0, nodes: [node(0), node(1)], pipes: Vec::new() }
    }

    fn connected() -> Self {
        let mut world = Self::new();
        world.connect();
        world.settle();
        assert!(world.nodes.iter().all(|node| node.up));
        world
    }

    fn perform(&mut self, side: usize, effects: Vec<Effect>) {
        let node = &mut self.nodes[side];
        for effect in effects {
            match effect {
                Effect::Transmit(bytes) => {
                    let pipe = node.joined.expect("sends only while connected");
                    self.pipes[pipe].lanes[side].push_back(bytes);
                }
                Effect::Deliver(messages) => node.delivered.extend(messages),
                Effect::Up => {
                    assert!(!node.up);
                    node.up = true;
                }
                Effect::Down => {
                    assert!(node.up);
                    node.up = false;
                }
                Effect::Quiet => node.quiet_ms.push(self.now_ms),
                Effect::Disconnect(why) => {
                    node.joined = None;
                    node.gave_up.push(why);
                }
            }
        }
        assert_eq!(node.up, node.link.is_up());
    }

    fn input(&mut self, side: usize, input: Input) {
        let mut effects = Vec::new();
        self.nodes[side].link.handle(self.now_ms, input, &mut effects);
        self.perform(side, effects);
    }

    fn send(&mut self, side: usize, message: Bytes) -> Result<(), LinkRefused> {
        let mut effects = Vec::new();
        let taken = self.nodes[side].link.send(message.clone(), &mut effects);
        if taken.is_ok() {
            self.nodes[side].taken.push(message);
        }
        self.perform(side, effects);
        taken
    }

    /// A numbered message of a side, so that each is unlike all others.
    fn send_next(&mut self, side: usize, size: usize) {
        let mut message = self.nodes[side].taken.len().to_be_bytes().to_vec();
        message.resize(8 + size, 0);
        self.send(side, message.into()).unwrap();
    }

    fn connect(&mut self) {
        self.pipes.push(Pipe::default());
        let pipe = self.pipes.len() - 1;
        for side in 0..2 {
            self.nodes[side].joined = Some(pipe);
            self.input(side, Input::Connected { version: 1 });
        }
    }

    fn cut(&mut self, side: usize) {
        if self.nodes[side].joined.take().is_some() {
            self.input(side, Input::Disconnected);
        }
    }

    /// The oldest frame under way from a side, in a connection.
    fn carry(&mut self, pipe: usize, from: usize) -> bool {
        let Some(bytes) = self.pipes[pipe].lanes[from].pop_front() else { return false };
        let frame = Frame::decode(bytes.into()).unwrap();
        self.input(1 - from, Input::Frame(frame));
        true
    }

    /// Carries what is under way in the newest connection until nothing is.
    fn settle(&mut self) {
        let pipe = self.pipes.len() - 1;
        while self.carry(pipe, 0) | self.carry(pipe, 1) {}
    }

    fn under_way(&self, from: usize) -> usize {
        self.pipes.last().map_or(0, |pipe| pipe.lanes[from].len())
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for side in 0..2 {
            self.input(side, Input::Tick);
        }
    }

    /// In order, none twice, and nothing that was never sent.
    fn check(&self) {
        for side in 0..2 {
            let mut taken = self.nodes[1 - side].taken.iter();
            for message in &self.nodes[side].delivered {
                assert!(taken.any(|other| other == message), "out of order or twice");
            }
        }
    }
}

#[test]
fn a_lone_message_leaves_at_once_and_many_gather_into_batches() {
    let mut world = World::connected();
    for sent in 1..=EAGER_FRAMES {
        world.send_next(0, 10);
        assert_eq!(world.under_way(0), sent);
    }
    for _ in 0..90 {
        world.send_next(0, 10);
    }
    assert_eq!(world.under_way(0), EAGER_FRAMES, "they wait");
    let pipe = world.pipes.len() - 1;
    world.carry(pipe, 0);
    world.carry(pipe, 1);
    assert_eq!(world.under_way(0), EAGER_FRAMES, "one acknowledgement, one batch");
    world.settle();
    assert_eq!(world.nodes[1].delivered, world.nodes[0].taken);
    let before = world.under_way(0);
    for _ in 0..2 * BATCH_MIN_BYTES / MESSAGE_COST {
        world.send_next(0, 0);
    }
    assert!(world.under_way(0) > before + EAGER_FRAMES, "a full batch waits for nothing");
}

#[test]
fn bytes_in_flight_stay_in_the_window_and_the_queue_refuses_what_is_too_much() {
    let mut world = World::connected();
    let message = Bytes::from(vec![0; 10_000]);
    let refused = loop {
        match world.send(0, message.clone()) {
            Ok(()) => {}
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, LinkRefused::Full);
    let frames = world.pipes[0].lanes[0].iter().cloned();
    let frames = frames.map(|bytes| Frame::decode(bytes.into()).unwrap());
    let in_flight: usize = frames.flat_map(|frame| frame.messages).map(|it| it.len()).sum();
    assert!(in_flight <= WINDOW_BYTES && in_flight > WINDOW_BYTES / 2, "{in_flight}");
    assert!(world.nodes[0].link.waiting_bytes() <= QUEUE_BYTES);
    world.settle();
    assert_eq!(world.nodes[1].delivered.len(), world.nodes[0].taken.len());
    assert_eq!(world.nodes[0].link.waiting_bytes(), 0);
    assert_eq!(world.send(0, message), Ok(()));
    let too_large = Bytes::from(vec![0; super::MAX_MESSAGE_BYTES + 1]);
    assert_eq!(world.send(0, too_large), Err(LinkRefused::TooLarge));
}

/// Lets time pass until the side gives up; frames of the other are carried or not.
fn until_silent(carried: Option<usize>) -> (World, u64) {
    let mut world = World::connected();
    let cut_at = world.now_ms;
    while world.nodes[0].gave_up.is_empty() {
        world.pass(100);
        if let Some(from) = carried {
            while world.carry(0, from) {}
        }
        assert!(world.now_ms < 60_000, "never noticed");
    }
    let after = world.now_ms - cut_at;
    (world, after)
}

#[test]
fn a_frame_that_vanished_with_none_behind_it_is_missed_by_its_sender() {
    let mut world = World::connected();
    world.send_next(0, 10);
    world.pipes[0].lanes[0].clear();
    world.pass(BEAT_MS);
    world.settle();
    assert_eq!(world.nodes[0].gave_up, [Why::Gap]);
    world.connect();
    world.settle();
    assert_eq!(world.nodes[1].delivered, world.nodes[0].taken);
}

#[test]
fn a_black_hole_and_a_cut_in_either_direction_are_noticed_in_six_seconds() {
    for carried in [None, Some(0), Some(1)] {
        let (world, after) = until_silent(carried);
        assert!(after <= 6_000, "{carried:?}: {after} ms");
        assert_eq!(world.nodes[0].gave_up, [Why::Silent]);
        assert!(!world.nodes[0].up);
    }
}

#[test]
fn a_peer_that_is_not_heard_is_quiet_before_it_is_silent_and_prompt_again_when_it_is_heard() {
    for carried in [None, Some(0), Some(1)] {
        let (mut world, _) = until_silent(carried);
        let quiet_ms = world.nodes[0].quiet_ms.clone();
        assert!(matches!(quiet_ms[..], [at] if at <= QUIET_MS), "{carried:?}: {quiet_ms:?}");
        assert!(world.nodes[0].link.is_quiet());
        world.connect();
        world.settle();
        assert!(!world.nodes[0].link.is_quiet());
    }
    // One that never was connected: somebody may wait for it too.
    let mut world = World::new();
    world.pass(0);
    assert_eq!(world.nodes[0].link.deadline_ms(), Some(QUIET_MS));
    world.pass(QUIET_MS);
    assert_eq!(world.nodes[0].quiet_ms, [QUIET_MS]);
    assert_eq!(world.nodes[0].link.deadline_ms(), None);
}

#[test]
fn an_idle_link_stays_up_and_says_little() {
    let mut world = World::connected();
    let mut frames = 0;
    for _ in 0..60 {
        world.pass(BEAT_MS);
        frames += world.under_way(0) + world.under_way(1);
        world.settle();
    }
    assert!(world.nodes.iter().all(|node| node.up && node.gave_up.is_empty()));
    assert!(world.nodes.iter().all(|node| node.quiet_ms.is_empty()));
    assert_eq!(frames, 120, "one beat a second from each side; echoes ride on what follows");
    let due = world.nodes[0].link.deadline_ms().unwrap();
    assert!(due > world.now_ms && due <= world.now_ms + BEAT_MS.min(SILENCE_MS));
}

#[test]
fn frames_for_another_life_are_ignored_and_impossible_numbers_end_the_connection() {
    let mut world = World::connected();
    world.send_next(0, 1);
    let bytes = world.pipes[0].lanes[0].pop_front().unwrap();
    let frame = Frame::decode(bytes.into()).unwrap();
    let mut other = frame.clone();
    other.header.to.incarnation += 1;
    world.input(1, Input::Frame(other));
    assert!(world.nodes[1].delivered.is_empty());
    let mut future = frame.clone();
    future.header.ack += 1_000;
    world.input(1, Input::Frame(future));
    assert!(matches!(world.nodes[1].gave_up[..], [Why::Damaged(_)]));
    let mut gap = frame;
    gap.first += 1;
    let mut world = World::connected();
    world.input(1, Input::Frame(gap));
    assert_eq!(world.nodes[1].gave_up, [Why::Gap]);
    assert!(world.nodes[1].delivered.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Send(usize, usize),
    Carry(usize, usize),
    Late(prop::sample::Index, usize),
    Twice(usize),
    Lose(usize),
    Cut(usize),
    Connect,
    Reopen(usize),
    Pass(u64),
}

fn op(with_faults: bool) -> impl Strategy<Value = Op> {
    let side = 0..2_usize;
    let faults = if with_faults { 1 } else { 0 };
    prop_oneof![
        8 => (side.clone(), 0..20_000_usize).prop_map(|(side, size)| Op::Send(side, size)),
        8 => (side.clone(), 1..8_usize).prop_map(|(side, count)| Op::Carry(side, count)),
        2 => (any::<prop::sample::Index>(), side.clone()).prop_map(|(pipe, side)| Op::Late(pipe, side)),
        2 => side.clone().prop_map(Op::Cut),
        2 => Just(Op::Connect),
        1 => (0..2_000_u64).prop_map(Op::Pass),
        faults => side.clone().prop_map(Op::Twice),
        faults => side.clone().prop_map(Op::Lose),
        faults => side.prop_map(Op::Reopen),
    ]
}

fn step(world: &mut World, op: &Op) {
    match *op {
        Op::Send(side, size) => world.send_next(side, size),
        Op::Carry(side, count) => {
            for _ in 0..count {
                if !world.pipes.is_empty() {
                    world.carry(world.pipes.len() - 1, side);
                }
            }
        }
        // Any connection, dead ones too: their frames arrive late, among those of newer ones.
        Op::Late(pipe, side) => {
            if !world.pipes.is_empty() {
                world.carry(pipe.index(world.pipes.len()), side);
            }
        }
        Op::Twice(side) => {
            if let Some(lane) = world.pipes.last_mut().map(|pipe| &mut pipe.lanes[side])
                && let Some(frame) = lane.front().cloned()
            {
                lane.push_front(frame);
            }
        }
        Op::Lose(side) => {
            if let Some(pipe) = world.pipes.last_mut() {
                pipe.lanes[side].pop_front();
            }
        }
        Op::Cut(side) => world.cut(side),
        Op::Connect => world.connect(),
        Op::Reopen(side) => {
            world.cut(side);
            let node = &mut world.nodes[side];
            let fresh = Link::new(key(side), key(1 - side), 0, 0);
            let (expected, lost) = std::mem::replace(&mut node.link, fresh).close();
            node.lost += lost;
            // Above what it used: as many messages as were taken, a beat each second and one for
            // each connection, however many fall into one moment of the test's clock.
            let used = node.taken.len() + world.pipes.len();
            let start = (world.now_ms + 1) * 1_000_000 + used as u64 * 1_000;
            node.link = Link::new(key(side), key(1 - side), start, expected);
        }
        Op::Pass(ms) => world.pass(ms),
    }
    world.check();
}

/// The network behaves: all that was not reported lost must have arrived.
fn heal_and_check(world: &mut World) {
    world.pipes.iter_mut().for_each(|pipe| *pipe = Pipe::default());
    for _ in 0..3 {
        world.connect();
        world.settle();
    }
    world.check();
    for side in 0..2 {
        let (sent, got) = (&world.nodes[1 - side], &world.nodes[side]);
        let missing = sent.taken.len() - got.delivered.len();
        assert!(missing as u64 <= sent.lost, "{missing} missing, {} told lost", sent.lost);
        assert_eq!(sent.link.waiting_bytes(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn connections_come_and_go_and_all_arrives_once_in_order(
        ops in prop::collection::vec(op(false), 1..150),
    ) {
        let mut world = World::new();
        for op in &ops {
            step(&mut world, op);
        }
        heal_and_check(&mut world);
    }

    #[test]
    fn lost_and_doubled_frames_and_dropped_views_lose_nothing_untold(
        ops in prop::collection::vec(op(true), 1..150),
    ) {
        let mut world = World::new();
        for op in &ops {
            step(&mut world, op);
        }
        heal_and_check(&mut world);
    }
}
