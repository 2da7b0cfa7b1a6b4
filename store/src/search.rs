//! Search: the messages of a member's conversations that have all words of a query, newest first.
//!
//! ```text
//! query ── each whole word: the seqs of its rows         sources: descending seqs
//!      '── the prefix: the rows of few messages at once,
//!            or the seqs of each of few words
//! sources ──all name one seq──> the message is read, and held to the query again ──> a hit
//! ```
//!
//! A prefix of many words is no source: messages that the whole words name are held to it; without
//! any, the log is read from its end, where hits of such a prefix are not far apart.
//!
//! Safety: what is found is what `history` shows the same member, in one snapshot.
//!
//! Bounded: a request makes about [`MAX_READS`] reads at most and then says where it goes on: each of
//! [`CHUNK`] rows of words or of one message. A read of [`LISTED`] rows counts as so many of [`CHUNK`];
//! of the log at most [`MAX_SCANNED_BYTES`] are read, and what is read at once.

use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::history::{Sight, entry_bytes, sight};
use crate::keys;
use crate::rows::{self, MessageRow};
use crate::store::Store;
use crate::word_index;
use crate::words::Query;
use bytes::Bytes;
use rookery_protocol::limits::MAX_PAGE_BYTES;
use rookery_protocol::{ConversationId, Entry, EntryKind, UserId};
use std::collections::{BTreeSet, VecDeque};

/// Most hits of a page.
pub const MAX_HITS: usize = 50;
/// Reads of one request.
const MAX_READS: usize = 256;
/// Rows of a word read at once.
const CHUNK: usize = 32;
/// Rows of all words of a prefix that are read at once, if there are no more.
const LISTED: usize = 2_048;
/// Words of a prefix whose rows are merged.
const MERGED: usize = 16;
/// Messages of the log read at once.
const SCANNED: usize = 64;
/// Bytes of messages of the log that one request reads.
const MAX_SCANNED_BYTES: usize = 1 << 20;
/// Conversations of a user read at once.
const CONVERSATIONS: usize = 64;

/// Where a search goes on: in this conversation, below this seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchPlace {
    /// Which conversation; in a search of all, those with smaller ids are done.
    pub conversation: ConversationId,
    /// Seqs from here on are done; 0: none is.
    pub before: u64,
}

/// A message that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where.
    pub conversation: ConversationId,
    /// As its reader sees it.
    pub entry: Entry,
}

/// A page of what was found; it may be empty and not the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Newest first in each conversation.
    pub hits: Vec<Hit>,
    /// Where the search goes on; `None`: that is all.
    pub next: Option<SearchPlace>,
    /// Whether older messages are indexed too; else more may be found later.
    pub whole: bool,
}

impl<E: Engine> Store<E> {
    /// Messages of a conversation that `me` may see and that fit a query, newest first: at most
    /// `limit` and [`MAX_HITS`], with seqs below `before` (0: from the newest).
    ///
    /// # Errors
    /// [`StoreError::NotAMember`], also when it does not exist; [`StoreError::Read`].
    pub async fn search_conversation(
        &self,
        me: UserId,
        conversation: ConversationId,
        query: &Query,
        (before, limit): (u64, usize),
    ) -> Result<Found, StoreError> {
        let view = self.latest().await?;
        let mut search = Search::new(&view, me, query, limit);
        let next = search.conversation(SearchPlace { conversation, before }).await?;
        search.found(next).await
    }

    /// Messages of all conversations of `me` that fit a query, from a place on: by rising id of the
    /// conversation, and newest first in each. At most `limit` and [`MAX_HITS`].
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn search_all(
        &self,
        me: UserId,
        query: &Query,
        from: Option<SearchPlace>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let view = self.latest().await?;
        let mut search = Search::new(&view, me, query, limit);
        let next = search.conversations(from).await?;
        search.found(next).await
    }
}

/// A search under way.
struct Search<'a, V> {
    view: &'a V,
    me: UserId,
    query: &'a Query,
    limit: usize,
    reads: usize,
    scanned_bytes: usize,
    bytes: usize,
    hits: Vec<Hit>,
}

/// What a source names at or below a seq.
enum Named {
    Seq(u64),
    Nothing,
    /// No read is left: nothing above this seq was passed by.
    Spent(u64),
}

impl<'a, V: View> Search<'a, V> {
    fn new(view: &'a V, me: UserId, query: &'a Query, limit: usize) -> Self {
        let limit = limit.clamp(1, MAX_HITS);
        let (reads, scanned_bytes, bytes, hits) = (MAX_READS, MAX_SCANNED_BYTES, 0, Vec::new());
        Self { view, me, query, limit, reads, scanned_bytes, bytes, hits }
    }

    async fn found(self, next: Option<SearchPlace>) -> Result<Found, StoreError> {
        let state = self.view.get(keys::WORD_INDEX).await?;
        let whole =
            word_index::decode(state.as_ref())?.is_some_and(|state| state.on && state.whole);
        Ok(Found { hits: self.hits, next, whole })
    }

    /// Takes one read; false: there is none left.
    fn take_read(&mut self) -> bool {
        let left = self.reads > 0;
        self.reads = self.reads.saturating_sub(1);
        left
    }

    async fn conversations(
        &mut self,
        from: Option<SearchPlace>,
    ) -> Result<Option<SearchPlace>, StoreError> {
        let end = keys::prefix_end(&keys::activities(self.me));
        let mut place = from.unwrap_or(SearchPlace { conversation: ConversationId(0), before: 0 });
        loop {
            if !self.take_read() {
                return Ok(Some(place));
            }
            let from = keys::activity(self.me, place.conversation);
            let rows = self.view.range(&from, &end, CONVERSATIONS, false).await?;
            for (key, _) in &rows {
                let conversation = ConversationId(keys::last_id(key, "activity")?);
                if conversation != place.conversation {
                    place = SearchPlace { conversation, before: 0 };
                }
                if self.hits.len() >= self.limit || self.reads == 0 {
                    return Ok(Some(place));
                }
                match self.conversation(place).await {
                    // A row that outlived the membership shows nothing.
                    Ok(None) | Err(StoreError::NotAMember) => {}
                    Ok(next @ Some(_)) => return Ok(next),
                    Err(error) => return Err(error),
                }
                let Some(next) = conversation.0.checked_add(1) else { return Ok(None) };
                place = SearchPlace { conversation: ConversationId(next), before: 0 };
            }
            if rows.len() < CONVERSATIONS {
                return Ok(None);
            }
        }
    }

    /// Searches one conversation from a place on; where it goes on.
    async fn conversation(
        &mut self,
        place: SearchPlace,
    ) -> Result<Option<SearchPlace>, StoreError> {
        let SearchPlace { conversation, before } = place;
        self.take_read();
        let Sight { head, floor } = sight(self.view, self.me, conversation).await?;
        let at = if before == 0 { head } else { head.min(before - 1) };
        let next = match self.sources(conversation, floor).await? {
            Some(sources) if sources.is_empty() => self.scan(conversation, (floor, at)).await?,
            Some(sources) => self.merge(conversation, sources, (floor, at)).await?,
            None => None,
        };
        Ok(next.map(|at| SearchPlace { conversation, before: at.saturating_add(1) }))
    }

    /// What names the seqs of messages; `None`: there are none. Empty: only the log does.
    async fn sources(
        &mut self,
        conversation: ConversationId,
        floor: u64,
    ) -> Result<Option<Vec<Source>>, ReadError> {
        let mut sources = Vec::with_capacity(self.query.whole.len() + 1);
        for word in &self.query.whole {
            sources.push(Source::Words(vec![Seqs::new(conversation, word, floor)]));
        }
        let Some(prefix) = &self.query.prefix else { return Ok(Some(sources)) };
        let from = keys::words_from(conversation, prefix);
        let end = keys::prefix_end(&from);
        self.take_read();
        let rows = self.view.range(&from, &end, LISTED, false).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        self.reads = self.reads.saturating_sub(rows.len() / CHUNK);
        let mut words = BTreeSet::new();
        let mut seqs = Vec::with_capacity(rows.len());
        for (key, _) in &rows {
            let (_, word, seq) = keys::word_parts(key)?;
            words.insert(word.to_owned());
            seqs.push(seq);
        }
        if rows.len() < LISTED {
            seqs.sort_unstable();
            seqs.dedup();
            sources.push(Source::Listed(seqs));
        } else if self.more_words(conversation, &end, &mut words).await? {
            let seqs = words.iter().map(|word| Seqs::new(conversation, word, floor));
            sources.push(Source::Words(seqs.collect()));
        }
        Ok(Some(sources))
    }

    /// Adds the words after those known; false: there are more than are merged.
    async fn more_words(
        &mut self,
        conversation: ConversationId,
        end: &[u8],
        words: &mut BTreeSet<String>,
    ) -> Result<bool, ReadError> {
        while words.len() <= MERGED {
            let Some(last) = words.last() else { return Ok(true) };
            let after = keys::prefix_end(&keys::word_seqs(conversation, last));
            self.take_read();
            let rows = self.view.range(&after, end, 1, false).await?;
            let Some((key, _)) = rows.first() else { return Ok(true) };
            words.insert(keys::word_parts(key)?.1.to_owned());
        }
        Ok(false)
    }

    /// Hits at seqs that all sources name, from `at` down; where it goes on.
    async fn merge(
        &mut self,
        conversation: ConversationId,
        mut sources: Vec<Source>,
        (floor, mut at): (u64, u64),
    ) -> Result<Option<u64>, ReadError> {
        while at >= floor {
            at = match self.agreed(&mut sources, at).await? {
                Named::Nothing => return Ok(None),
                Named::Spent(at) => return Ok(Some(at)),
                Named::Seq(seq) if seq < floor => return Ok(None),
                Named::Seq(seq) => seq,
            };
            if !self.take_read() {
                return Ok(Some(at));
            }
            // A row without its message is damage, which `store check` tells of.
            if let Some(value) = self.view.get(&keys::message(conversation, at)).await?
                && !self.add(conversation, at, &value)?
            {
                return Ok(Some(at));
            }
            at -= 1;
        }
        Ok(None)
    }

    /// The greatest seq up to `at` that all sources name.
    async fn agreed(&mut self, sources: &mut [Source], mut at: u64) -> Result<Named, ReadError> {
        let mut agreed = 0;
        for turn in 0.. {
            let count = sources.len();
            let Some(source) = sources.get_mut(turn % count.max(1)) else { break };
            match source.at_most(self, at).await? {
                Named::Seq(seq) if seq == at => agreed += 1,
                Named::Seq(seq) => (at, agreed) = (seq, 1),
                other => return Ok(other),
            }
            if agreed == count {
                return Ok(Named::Seq(at));
            }
        }
        Ok(Named::Nothing)
    }

    /// Hits in the log itself, from `at` down; where it goes on.
    async fn scan(
        &mut self,
        conversation: ConversationId,
        (floor, mut at): (u64, u64),
    ) -> Result<Option<u64>, ReadError> {
        while at >= floor {
            if self.scanned_bytes == 0 || !self.take_read() {
                return Ok(Some(at));
            }
            let from = keys::message(conversation, floor);
            let end = keys::successor(&keys::message(conversation, at));
            let rows = self.view.range(&from, &end, SCANNED, true).await?;
            for (key, value) in &rows {
                at = keys::last_id(key, "message")?;
                self.scanned_bytes = self.scanned_bytes.saturating_sub(value.len());
                if !self.add(conversation, at, value)? {
                    return Ok(Some(at));
                }
                at = at.saturating_sub(1);
            }
            if rows.len() < SCANNED {
                break;
            }
        }
        Ok(None)
    }

    /// Adds a message if it is a hit; false: there is no room for it.
    fn add(
        &mut self,
        conversation: ConversationId,
        seq: u64,
        value: &[u8],
    ) -> Result<bool, ReadError> {
        let entry = rows::decode::<MessageRow<'_>>(value)?.entry_for(seq, self.me);
        if entry.kind != EntryKind::Text || !self.query.fits(&entry.body) {
            return Ok(true);
        }
        let bytes = self.bytes.saturating_add(entry_bytes(&entry));
        let full = self.hits.len() >= self.limit || bytes > MAX_PAGE_BYTES;
        if full && !self.hits.is_empty() {
            return Ok(false);
        }
        self.bytes = bytes;
        self.hits.push(Hit { conversation, entry });
        Ok(true)
    }
}

/// What names the seqs of messages.
enum Source {
    /// By rows of some words.
    Words(Vec<Seqs>),
    /// These, rising.
    Listed(Vec<u64>),
}

impl Source {
    /// The greatest seq up to `at` that it names; `at` never rises from call to call.
    async fn at_most<V: View>(
        &mut self,
        search: &mut Search<'_, V>,
        at: u64,
    ) -> Result<Named, ReadError> {
        match self {
            Self::Listed(seqs) => {
                seqs.truncate(seqs.partition_point(|seq| *seq <= at));
                Ok(seqs.last().map_or(Named::Nothing, |seq| Named::Seq(*seq)))
            }
            Self::Words(words) => {
                let mut greatest = None;
                for seqs in words {
                    match seqs.at_most(search, at).await? {
                        Named::Seq(seq) => greatest = greatest.max(Some(seq)),
                        Named::Nothing => {}
                        spent @ Named::Spent(_) => return Ok(spent),
                    }
                }
                Ok(greatest.map_or(Named::Nothing, Named::Seq))
            }
        }
    }
}

/// The seqs of one word, read in pieces.
struct Seqs {
    word: Bytes,
    end: Bytes,
    known: VecDeque<u64>,
    ended: bool,
}

impl Seqs {
    fn new(conversation: ConversationId, word: &str, floor: u64) -> Self {
        let word = keys::word_seqs(conversation, word);
        let end = keys::successor(&keys::word_at(&word, floor));
        Self { word, end, known: VecDeque::new(), ended: false }
    }

    async fn at_most<V: View>(
        &mut self,
        search: &mut Search<'_, V>,
        at: u64,
    ) -> Result<Named, ReadError> {
        while self.known.front().is_some_and(|seq| *seq > at) {
            self.known.pop_front();
        }
        if self.known.is_empty() && !self.ended {
            if !search.take_read() {
                return Ok(Named::Spent(at));
            }
            let from = keys::word_at(&self.word, at);
            let rows = search.view.range(&from, &self.end, CHUNK, false).await?;
            self.ended = rows.len() < CHUNK;
            for (key, _) in &rows {
                self.known.push_back(keys::word_parts(key)?.2);
            }
        }
        Ok(self.known.front().map_or(Named::Nothing, |seq| Named::Seq(*seq)))
    }
}
