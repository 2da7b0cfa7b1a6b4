//! A shard's turn, as the shell runs it: what waits is handled, and what the host wants done is done
//! at the end.

use super::coverage;
use super::node::{Desk, Item, SimKind};
use super::world::{Deliver, Then, World};
use rookery_actors::ConnId;
use rookery_actors::host::Line;
use rookery_actors::wire::News;
use rookery_protocol::{CloseCode, ConversationId, UserId};
use std::any::Any;

impl World {
    // ---- shards -----------------------------------------------------------------------------

    pub(super) fn push<K: SimKind>(&mut self, at: usize, shard: usize, item: Item<K>) {
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.up) else { return };
        let life = node.life;
        let Some(held) = K::shards(node).get_mut(shard) else { return };
        held.inbox.push(item);
        if !std::mem::replace(&mut held.scheduled, true) {
            let wait = self.rng.below(500) + 1;
            self.at(wait, K::TURN(at, life, shard));
        }
    }

    pub(super) fn turn<K: SimKind>(&mut self, at: usize, number: usize) {
        let well = self.healed_us.is_some();
        let Some(node) = self.nodes.get_mut(at) else { return };
        let (now, life, began) = (node.now(self.now_us), node.life, node.began_us);
        let (rate, me) = (node.rate, node.keeper.me());
        let mut desk = Desk::new(node, now);
        let Some(shard) = K::shards(node).get_mut(number) else { return };
        shard.scheduled = false;
        for item in std::mem::take(&mut shard.inbox) {
            let host = &mut shard.host;
            match item {
                Item::Tell(key, msg) => {
                    let panics = !well && self.rng.chance(self.config.panic);
                    if panics && host.actor(key).is_some() {
                        host.lose(now, key, &mut desk);
                    } else {
                        host.tell(now, key, msg, None, &mut desk);
                    }
                }
                // Admitted before the node began another life.
                Item::Attach(key, _, line)
                    if K::life(key).is_some_and(|life| life.0 != me.incarnation) =>
                {
                    coverage::reached(("attach.late", "n"));
                    line.close(CloseCode::GoingAway);
                }
                Item::Attach(key, msg, line) => {
                    host.tell(now, key, msg, Some(line), &mut desk);
                }
                Item::Answer(to, result) => {
                    host.answered(now, to, result, &mut desk);
                }
                Item::Outcomes(outcomes) => {
                    for (to, outcome) in outcomes {
                        host.committed(now, to, outcome, &mut desk);
                    }
                }
                Item::Taken(slot, result) => host.taken(now, slot, result, &mut desk),
                Item::Each(choose) => host.each(now, |key, _| choose(key), &mut desk),
                Item::Placed(view) => host.placed(now, &view, &mut desk),
            }
        }
        if shard.host.next_tick().is_some_and(|at| at <= now.mono_ms) {
            shard.host.tick(now, &mut desk);
        }
        let next = shard.host.next_tick().map(|at_ms| began + (at_ms + 1) * 1_000_000 / rate + 1);
        if let Some(next) = next
            && shard.armed.is_none_or(|armed| next < armed || armed <= self.now_us)
        {
            shard.armed = Some(next);
            self.at(next.saturating_sub(self.now_us), K::TURN(at, life, number));
        }
        if let Some(slot) = desk.owned.get() {
            self.truth.judge_owner(at, me, slot);
        }
        self.end_turn(at, life, number, desk);
    }

    fn end_turn<K: SimKind>(&mut self, at: usize, life: u64, shard: usize, desk: Desk<K>) {
        for (key, msg) in desk.later {
            self.push::<K>(at, shard, Item::Tell(key, msg));
        }
        if !desk.plans.is_empty() {
            let (owners, plans): (Vec<_>, Vec<_>) = desk.plans.into_iter().unzip();
            let then: Then = Box::new(move |world, outcomes| {
                let outcomes = owners.into_iter().zip(outcomes).collect();
                world.push::<K>(at, shard, Item::Outcomes(outcomes));
            });
            self.submit(at, life, plans, then);
        }
        for (to, query) in desk.asked {
            let candidate = ConversationId(self.rng.next());
            let Some(store) = self.nodes.get(at).map(|node| node.store.clone()) else { return };
            self.spawn(at, async move {
                let result = rookery_actors::query::run(&store, query, candidate).await;
                Box::new(move |world: &mut Self| {
                    world.push::<K>(at, shard, Item::Answer(to, result));
                }) as Deliver
            });
        }
        for slot in desk.slots {
            let Some(store) = self.nodes.get(at).map(|node| node.store.clone()) else { return };
            let Some(owner) = self.nodes.get(at).map(|node| node.keeper.me().into()) else {
                return;
            };
            self.spawn(at, async move {
                let taken = store.take_over(slot, owner).await;
                Box::new(move |world: &mut Self| {
                    world.push::<K>(at, shard, Item::Taken(slot, taken));
                }) as Deliver
            });
        }
        for key in desk.lost {
            self.note(|| format!("node {at}: {} {key:?} panicked", K::NAME));
            self.lost(at, &key);
        }
        for envelope in &desk.told {
            self.note(|| format!("node {at}: {envelope:.240?}"));
        }
        self.post(at, desk.told);
        self.speak();
    }

    /// What sessions wrote goes on its way.
    pub(super) fn speak(&mut self) {
        let said = std::mem::take(&mut *self.mouth.borrow_mut());
        for (ConnId(conn), said) in said {
            self.said(conn, said);
        }
    }

    /// An actor was lost in a panic: of a hub, only a broadcast can tell who relied on it.
    fn lost(&mut self, at: usize, key: &dyn Any) {
        if let Some(user) = key.downcast_ref::<UserId>() {
            self.hub_lost(at, *user);
            self.tell_nodes(at, &News::HubLost(*user));
        }
    }
}
