//! The rules of the index of words.

use super::known::{Judged, Parts, Stop, must, other};
use crate::keys;
use crate::rows::{MessageRow, WordIndexRow};
use crate::words::{has_word, words_of};
use rookery_protocol::{ConversationId, EntryKind};

/// A row of a word lies beside a message that has the word.
pub(super) fn word(row: &mut Parts<'_>) -> Judged {
    let (conversation, word, seq) = row.word()?;
    must(row.value().is_empty(), || "its value is not empty".to_owned())?;
    let Some(message) = row.get(keys::message(conversation, seq))? else {
        return Err(Stop::Fault(format!("the message it points at is missing: seq {seq}")));
    };
    let message: MessageRow<'_> = other(&message)?;
    let has = message.sent_kind() == EntryKind::Text && has_word(message.body, word);
    must(has, || format!("the message at seq {seq} does not have the word"))?;
    let state = row.has(keys::WORD_INDEX)?;
    must(state, || "words are indexed, and no row says so".to_owned())
}

/// A message has a row for each of its words, once all are indexed.
pub(super) fn of_message(
    row: &mut Parts<'_>,
    (conversation, seq): (ConversationId, u64),
    message: &MessageRow<'_>,
) -> Judged {
    let Some(state) = row.get(keys::WORD_INDEX)? else { return Ok(()) };
    let WordIndexRow { on, whole, .. } = other(&state)?;
    if !on || !whole || message.sent_kind() != EntryKind::Text {
        return Ok(());
    }
    let words = words_of(message.body);
    let missing = row.missing(words.iter().map(|word| keys::word(conversation, word, seq)))?;
    must(missing == 0, || format!("{missing} of its {} words are not indexed", words.len()))
}

pub(super) fn index(row: &mut Parts<'_>) -> Judged {
    let WordIndexRow { on, whole, nodes, .. } = row.decode()?;
    must(on || !whole, || "it says that words are not indexed, and that all are".to_owned())?;
    must(on != nodes.is_empty(), || "the nodes it names don't go with whether it is on".to_owned())
}
