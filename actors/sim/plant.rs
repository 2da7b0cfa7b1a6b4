//! Bugs planted at the border of the store: what a wrong key schema or a wrong engine would do.

use rookery_actors::plant::{Bug, is};
use rookery_store::{Op, Plan};

/// The plan as a buggy layer would have made it.
pub fn at_the_store(mut plan: Plan) -> Plan {
    let tag = |key: &[u8]| key.first().copied();
    if is(Bug::StaleOwner)
        && plan.ops.iter().any(|op| matches!(op, Op::Set { key, .. } if tag(key) == Some(b'm')))
    {
        plan.guards.clear();
    }
    if is(Bug::LostInboxRow) {
        let mut seen = 0;
        plan.ops.retain(|op| {
            let pointer =
                matches!(op, Op::SetStampedKey { prefix, .. } if tag(prefix) == Some(b'i'));
            seen += usize::from(pointer);
            !(pointer && seen == 2)
        });
    }
    if is(Bug::AddedUntold) {
        let seated = |op: &Op| match op {
            Op::Set { key, .. } if tag(key) == Some(b'p') => key.get(9..17).map(<[u8]>::to_vec),
            _ => None,
        };
        let seated: Vec<Vec<u8>> = plan.ops.iter().filter_map(seated).collect();
        plan.ops.retain(|op| {
            let user = match op {
                Op::SetStampedKey { prefix, .. } if tag(prefix) == Some(b'i') => prefix.get(1..9),
                _ => None,
            };
            !user.is_some_and(|user| seated.iter().any(|seated| seated == user))
        });
    }
    if is(Bug::MarkGoesBack) {
        for op in &mut plan.ops {
            if let Op::ByteMax { key, value } = op
                && tag(key) == Some(b'w')
            {
                *op = Op::Set { key: key.clone(), value: value.clone() };
            }
        }
    }
    if is(Bug::NoDedupeRow) {
        plan.ops.retain(|op| !matches!(op, Op::Set { key, .. } if tag(key) == Some(b'd')));
    }
    plan
}
