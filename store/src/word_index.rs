//! The index of words: its rows beside those of the messages, and what brings them there later.
//!
//! ```text
//! W conversation word 0 not-seq     written with the message, in one plan; gone with it, in one plan
//! F                                 never there: words were never indexed, and no rows need to go
//!                                   on: nodes write rows; `whole` once older messages have theirs too
//!                                   off: nobody writes rows; those there were go step by step
//! ```
//!
//! Safety
//! - A row exists only beside a message that has the word. Whoever removes or empties a message
//!   removes its rows in that plan, by what is read of the message.
//! - What a step indexes may be removed or emptied at the same time. So a step guards on the floors of
//!   its conversations, which rise with what is removed, and on the state, which counts what is
//!   emptied while steps go on.
//! - Messages that come in while steps go on have their rows already.
//!
//! What the caller owes: all nodes are on, or none. A node that is started as one that is off turns
//! the index off. One that is on and was not when the steps began may have written messages without
//! rows: by its name the steps know it, and begin anew.

use crate::engine::{Engine, ReadError, View};
use crate::error::{Attempts, StoreError};
use crate::keys::{self, own};
use crate::plan::{Guard, Op, Plan};
use crate::rows::{self, MessageRow, WordIndexRow};
use crate::store::Store;
use crate::words::{MAX_WORDS, words_of};
use bytes::Bytes;
use rookery_protocol::{ConversationId, EntryKind};

/// Bytes of rows of words in one plan, beside those of a last message.
const PLAN_BYTES: usize = 300_000;
/// Messages read at once.
const CHUNK: usize = 256;
/// Conversations of one step.
const STEP_CONVERSATIONS: usize = 32;
/// Rows removed by one step.
const CLEAR_ROWS: usize = 2_000;
/// Names of nodes that are kept; a node that is forgotten only makes steps begin anew.
const MAX_NODES: usize = 256;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexStep {
    /// Something; there is more to do.
    More,
    /// Nothing, because something else changed the same rows: wait before the next step.
    Overtaken,
    /// There is nothing to do.
    Done,
}

impl<E: Engine> Store<E> {
    /// Turns the index of words on or off, for the node of a name; before it appends anything.
    ///
    /// # Errors
    /// [`ReadError`], and those of any commit.
    pub async fn index_words(&self, node: &str, on: bool) -> Result<(), StoreError> {
        self.note_words(on);
        let mut attempts = Attempts::new();
        loop {
            attempts.begin()?;
            let [row] = attempts.read(self.known([own(keys::WORD_INDEX)]).await)?;
            let held = attempts.read(decode(row.known.as_ref()))?;
            let Some(wanted) = turned(held, node, on) else { return Ok(()) };
            let ops = vec![Op::Set { key: row.key.clone(), value: rows::encode(&wanted) }];
            if attempts.settle(self.commit(Plan { guards: vec![row], ops }).await)?.is_some() {
                return Ok(());
            }
        }
    }

    /// One step of what makes the index as it should be: older messages are indexed, or, if it is
    /// off, rows are removed. One commit at most, of bounded size.
    ///
    /// # Errors
    /// [`ReadError`], and those of any commit: then try it again.
    pub async fn index_step(&self) -> Result<IndexStep, StoreError> {
        let [row] = self.known([own(keys::WORD_INDEX)]).await?;
        let plan = match decode(row.known.as_ref())? {
            None => return Ok(IndexStep::Done),
            Some(state) if state.on && state.whole => return Ok(IndexStep::Done),
            Some(state) if state.on => self.index_older(row, state).await?,
            Some(_) => match self.clear_words(row).await? {
                Some(plan) => plan,
                None => return Ok(IndexStep::Done),
            },
        };
        let mut attempts = Attempts::new();
        attempts.begin()?;
        let committed = attempts.settle(self.commit(plan).await)?.is_some();
        Ok(if committed { IndexStep::More } else { IndexStep::Overtaken })
    }

    /// The plan that indexes the next messages that may not be.
    async fn index_older(&self, row: Guard, mut state: WordIndexRow) -> Result<Plan, ReadError> {
        let view = self.latest().await?;
        let version = view.version();
        let from = keys::head(ConversationId(state.conversation));
        let heads = view.range(&from, &keys::prefix_end(b"h"), STEP_CONVERSATIONS, false).await?;
        state.whole = heads.len() < STEP_CONVERSATIONS;
        let mut plan = Plan { guards: vec![row], ops: Vec::new() };
        let mut bytes = 0;
        'conversations: for (key, _) in heads {
            let id = key.last_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id));
            let conversation = ConversationId(id);
            if id != state.conversation {
                (state.conversation, state.seq) = (id, 0);
            }
            let floor = own(keys::floor(conversation));
            let known = view.get(&floor).await?;
            plan.guards.push(Guard { key: floor, known, version });
            let end = keys::successor(&keys::message(conversation, u64::MAX));
            loop {
                let from = keys::message(conversation, state.seq);
                let messages = view.range(&from, &end, CHUNK, false).await?;
                for (key, value) in &messages {
                    if bytes >= PLAN_BYTES {
                        state.whole = false;
                        break 'conversations;
                    }
                    let seq = keys::last_id(key, "message")?;
                    let message = rows::decode::<MessageRow<'_>>(value)?;
                    if message.sent_kind() == EntryKind::Text {
                        let rows = rows(conversation, seq, message.body);
                        plan.ops.extend(rows.inspect(|op| bytes += op.bytes()));
                    }
                    // Reading counts too: a step over bodies without words is no longer one.
                    bytes += message.body.len() / 8 + 64;
                    state.seq = seq.saturating_add(1);
                }
                if messages.len() < CHUNK {
                    break;
                }
            }
            (state.conversation, state.seq) = (id.saturating_add(1), 0);
        }
        plan.ops.push(set(&state));
        Ok(plan)
    }

    /// The plan that removes some rows of words; `None`: there are none.
    async fn clear_words(&self, row: Guard) -> Result<Option<Plan>, ReadError> {
        let view = self.latest().await?;
        let end = keys::prefix_end(keys::WORDS);
        let rows = view.range(keys::WORDS, &end, CLEAR_ROWS, false).await?;
        let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else {
            return Ok(None);
        };
        let range = Op::ClearRange { from: first.clone(), to: keys::successor(last) };
        Ok(Some(Plan { guards: vec![row], ops: vec![range] }))
    }
}

/// The state after a node of this name was started; `None`: as before.
fn turned(held: Option<WordIndexRow>, node: &str, on: bool) -> Option<WordIndexRow> {
    let anew = |on, erased, nodes| {
        Some(WordIndexRow { on, whole: false, conversation: 0, seq: 0, erased, nodes })
    };
    match held {
        None if on => anew(true, 0, vec![node.to_owned()]),
        None => None,
        Some(held) if !on => {
            if held.on {
                anew(false, held.erased, Vec::new())
            } else {
                None
            }
        }
        Some(held) if held.on && held.nodes.iter().any(|known| known == node) => None,
        Some(mut held) => {
            if held.nodes.len() >= MAX_NODES {
                held.nodes.remove(0);
            }
            held.nodes.push(node.to_owned());
            anew(true, held.erased, held.nodes)
        }
    }
}

/// The rows of a message's words.
pub(crate) fn rows(
    conversation: ConversationId,
    seq: u64,
    body: &[u8],
) -> impl Iterator<Item = Op> + use<> {
    let words = words_of(body).into_iter();
    words
        .map(move |word| Op::Set { key: keys::word(conversation, &word, seq), value: Bytes::new() })
}

/// No more bytes than these are in the rows of a body's words. Lower case makes few letters longer,
/// by half at most.
pub(crate) fn word_bytes_bound(body: &[u8]) -> usize {
    let words = MAX_WORDS.min(body.len().div_ceil(2));
    let texts = (2 * body.len()).min(words * crate::words::MAX_WORD_BYTES);
    words * (keys::MAX_WORD_KEY_BYTES - crate::words::MAX_WORD_BYTES) + texts
}

/// Removes the rows of the words of messages below a seq, which are all in `messages`. `index` is
/// what is known of the state. Returns the seq up to which the plan holds them: it may be smaller.
pub(crate) fn clear_below(
    conversation: ConversationId,
    messages: &[(Bytes, Bytes)],
    below: u64,
    index: Guard,
    plan: &mut Plan,
) -> Result<u64, ReadError> {
    if index.known.is_none() {
        plan.guards.push(index);
        return Ok(below);
    }
    let mut bytes = 0;
    for (key, value) in messages {
        let seq = keys::last_id(key, "message")?;
        if seq >= below {
            break;
        }
        if bytes >= PLAN_BYTES {
            return Ok(seq);
        }
        let message = rows::decode::<MessageRow<'_>>(value)?;
        plan.ops.extend(gone(conversation, seq, &message).inspect(|op| bytes += op.bytes()));
    }
    Ok(below)
}

fn gone(
    conversation: ConversationId,
    seq: u64,
    message: &MessageRow<'_>,
) -> impl Iterator<Item = Op> + use<> {
    let text = message.sent_kind() == EntryKind::Text;
    let words = if text { words_of(message.body) } else { Vec::new() };
    words.into_iter().map(move |word| Op::Clear { key: keys::word(conversation, &word, seq) })
}

/// What empties messages, as far as it fits into one plan.
pub(crate) struct Erased {
    ops: Vec<Op>,
    bytes: usize,
    state: Option<WordIndexRow>,
}

impl Erased {
    /// By what is known of the state of the index.
    pub(crate) fn new(state: Option<&Bytes>) -> Result<Self, ReadError> {
        Ok(Self { ops: Vec::new(), bytes: 0, state: decode(state)? })
    }

    pub(crate) fn push(&mut self, op: Op) {
        self.bytes += op.bytes();
        self.ops.push(op);
    }

    /// The words of a message go, if there may be rows of them.
    pub(crate) fn words(&mut self, conversation: ConversationId, seq: u64, row: &MessageRow<'_>) {
        if self.state.is_some() {
            gone(conversation, seq, row).for_each(|op| self.push(op));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= PLAN_BYTES
    }

    pub(crate) fn into_ops(mut self) -> Vec<Op> {
        if let Some(state) = self.state.as_mut().filter(|state| state.on && !state.whole)
            && !self.ops.is_empty()
        {
            state.erased = state.erased.wrapping_add(1);
            self.ops.push(set(state));
        }
        self.ops
    }
}

fn set(state: &WordIndexRow) -> Op {
    Op::Set { key: own(keys::WORD_INDEX), value: rows::encode(state) }
}

/// The state; `None`: words were never indexed.
pub(crate) fn decode(row: Option<&Bytes>) -> Result<Option<WordIndexRow>, ReadError> {
    row.map(|value| rows::decode(value)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_body_has_more_bytes_of_rows_than_the_bound() {
        let many: String = (0..200).map(|n| format!("{n} ")).collect();
        let wide = "ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃ ".repeat(80);
        let grows = "Ⱥ".repeat(30);
        for body in ["", "a", "a b c", "東京に行く", &many, &wide, &grows, &"Ⱥ b ".repeat(50)]
        {
            let bytes: usize =
                rows(ConversationId(1), 1, body.as_bytes()).map(|op| op.bytes()).sum();
            assert!(bytes <= word_bytes_bound(body.as_bytes()), "{body}: {bytes}");
        }
        // With the greatest batch of a conversation's actor and the rows of its members, a plan.
        let most = 128 * MAX_WORDS * keys::MAX_WORD_KEY_BYTES + 430_000 + 20_000;
        assert!(most <= crate::plan::MAX_PLAN_BYTES, "{most}");
    }

    #[test]
    fn a_node_that_was_not_there_when_the_steps_began_makes_them_begin_anew() {
        let first = turned(None, "a", true).unwrap();
        assert_eq!((first.on, first.whole, first.nodes.len()), (true, false, 1));
        let whole = WordIndexRow { whole: true, conversation: 9, erased: 3, ..first };
        assert_eq!(turned(Some(whole.clone()), "a", true), None);
        let second = turned(Some(whole.clone()), "b", true).unwrap();
        assert_eq!((second.whole, second.conversation, second.erased), (false, 0, 3));
        let off = turned(Some(whole), "b", false).unwrap();
        assert!(!off.on && off.nodes.is_empty());
        assert_eq!(turned(Some(off.clone()), "b", false), None);
        assert!(turned(Some(off), "a", true).unwrap().on);
        assert_eq!(turned(None, "a", false), None, "when off nothing is written");
    }
}
