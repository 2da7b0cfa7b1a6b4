//! Walks every row of a store and holds it to the schema: what decodes, what must lie beside it,
//! what may not.
//!
//! Memory is bounded: a chunk of rows, the rows they point at, and the first [`MAX_FINDINGS`]
//! findings. Each chunk is read with what it points at in one snapshot, so the check may run beside
//! nodes that write: what it compares was there at one moment. Nothing is changed.
//!
//! ```text
//! chunk of rows ──judge──> findings                 pure: `conversations`, `users`
//!                  |  ^
//!            unread|  |known                        a judge that meets a row it hasn't got
//!                  v  |                              stops; it is asked again once it is read
//!                 one snapshot
//! ```

mod conversations;
mod groups;
mod known;
mod operators;
mod users;
mod words;

use crate::engine::{Engine, ReadError, Row, View};
use crate::plan::Version;
use crate::schema::{self, hex};
use crate::store::Store;
use crate::{keys, store};
use bytes::Bytes;
use known::{Known, Stop};
use std::collections::BTreeMap;

/// Most findings that a report lists; those beyond are counted.
pub const MAX_FINDINGS: usize = 1000;
/// Rows judged at once.
const CHUNK: usize = 256;
/// How often a judge may ask for further rows: no check follows more pointers than this.
const MAX_ROUNDS: usize = 8;
/// The byte after every tag: tags are letters.
const TAGS_END: &[u8] = &[u8::MAX];

/// A row that isn't as the schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its key, in hexadecimal.
    pub key: String,
    /// What kind of row it is.
    pub row: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many rows there are of each tag.
    pub rows: BTreeMap<u8, u64>,
    /// What is wrong, the first [`MAX_FINDINGS`] of it.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub faults: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.faults == 0
    }

    /// All rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.values().sum()
    }

    fn found(&mut self, key: &[u8], what: String) {
        self.faults += 1;
        if self.findings.len() < MAX_FINDINGS {
            let row = key.first().map_or_else(String::new, |byte| schema::name_of(*byte));
            self.findings.push(Finding { key: hex(key), row, what });
        }
    }
}

/// What all judges know.
#[derive(Clone, Copy, Debug)]
struct Context<'a> {
    /// The newest inbox epoch.
    epoch: u32,
    /// The snapshot the rows come from.
    version: Version,
    /// The key before this row's in the walk.
    previous: Option<&'a [u8]>,
}

/// Checks a store; `progress` is told after each chunk.
///
/// On an engine whose reads block, run it on a thread that may.
///
/// # Errors
/// [`ReadError::Unavailable`]: the check could not be done. Damage is a finding, not an error.
pub async fn check<E: Engine>(
    store: &Store<E>,
    mut progress: impl FnMut(&Report),
) -> Result<Report, ReadError> {
    let mut report = Report::default();
    let mut from = Bytes::new();
    let mut previous: Option<Bytes> = None;
    loop {
        let view = store.latest().await?;
        let rows = match view.range(&from, TAGS_END, CHUNK, false).await {
            Ok(rows) => rows,
            Err(ReadError::Damaged(why)) => {
                let at = (from.clone(), previous.clone());
                match unreadable(at, &why, &view, &mut report).await? {
                    Some(next) => from = next,
                    None => return Ok(report),
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some((last, _)) = rows.last() else { return Ok(report) };
        let next = (last.clone(), keys::successor(last));
        judge_chunk(&view, &rows, previous.as_deref(), &mut report).await?;
        (previous, from) = (Some(next.0), next.1);
        progress(&report);
    }
}

/// A range that holds a damaged row can't be read as one. Its rows are read one by one up to the
/// damage; the rest of the tag has to be left out, because a row that can't be read has no known
/// end. Returns where to go on.
async fn unreadable<V: View>(
    (mut at, mut previous): (Bytes, Option<Bytes>),
    why: &str,
    view: &V,
    report: &mut Report,
) -> Result<Option<Bytes>, ReadError> {
    loop {
        match view.range(&at, TAGS_END, 1, false).await {
            Ok(rows) => {
                let Some((key, _)) = rows.first() else { return Ok(None) };
                let next = keys::successor(key);
                judge_chunk(view, &rows, previous.as_deref(), report).await?;
                (previous, at) = (Some(key.clone()), next);
            }
            Err(ReadError::Damaged(_)) => break,
            Err(error) => return Err(error),
        }
    }
    let mut tag = at.first().copied().unwrap_or(0);
    // The damaged row may belong to a later tag than the last one read: skip tags without rows.
    let skipped = loop {
        match schema::after_tag(tag) {
            None => break None,
            Some(end) => match view.range(&at, &end, 1, false).await {
                Ok(rows) if rows.is_empty() => tag = end.first().copied().unwrap_or(u8::MAX),
                _ => break Some(end),
            },
        }
    };
    report.found(
        &at,
        format!(
            "a row at or after this key can't be read ({why}); the rest of the {} rows was not \
             checked",
            schema::name_of(tag)
        ),
    );
    Ok(skipped)
}

/// Judges rows that were read from `view`.
async fn judge_chunk<V: View>(
    view: &V,
    rows: &[Row],
    mut previous: Option<&[u8]>,
    report: &mut Report,
) -> Result<(), ReadError> {
    // A damaged installation row is found when the walk comes to it.
    let installation = match view.get(keys::INSTALLATION).await {
        Err(ReadError::Damaged(_)) => None,
        other => other?,
    };
    let epoch = store::inbox_epoch(installation.as_deref()).unwrap_or(u32::MAX);
    let mut known = Known::default();
    let mut open: Vec<(&Row, Option<&[u8]>)> = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(byte) = row.0.first() {
            let count = report.rows.entry(*byte).or_default();
            *count += 1;
            if *count == 1 && schema::tag_of(&row.0).is_none() {
                let what = "no row of this version has such a tag; only its rows are counted";
                report.found(&row.0, what.to_owned());
            }
        }
        open.push((row, previous));
        previous = Some(&row.0);
    }
    for _ in 0..MAX_ROUNDS {
        let mut unread = Vec::new();
        for (row, previous) in open {
            let context = Context { epoch, version: view.version(), previous };
            match judge(row, &context, &mut known) {
                Ok(()) | Err(Stop::Elsewhere) => {}
                Err(Stop::Fault(what)) => report.found(&row.0, what),
                Err(Stop::Unread) => unread.push((row, previous)),
            }
        }
        if unread.is_empty() {
            return Ok(());
        }
        known.read(view).await?;
        open = unread;
    }
    Err(ReadError::Unavailable("a check asked for more and more rows".to_owned()))
}

/// Holds one row to the schema.
fn judge((key, value): &Row, context: &Context<'_>, known: &mut Known) -> Result<(), Stop> {
    let Some(tag) = schema::tag_of(key) else { return Ok(()) };
    let (least, most) = tag.key_bytes;
    if !(least..=most).contains(&key.len()) {
        let len = key.len();
        return Err(Stop::Fault(format!("its key has {len} bytes instead of {least} to {most}")));
    }
    let mut row = known::Parts::new(key, value, context, known);
    match tag.byte {
        b'm' => conversations::message(&mut row),
        b'h' => conversations::head(&mut row),
        b'b' => conversations::floor(&mut row),
        b'c' => conversations::conversation(&mut row),
        b'd' => conversations::dedupe(&mut row),
        b'p' => conversations::member(&mut row),
        b'w' => conversations::mark(&mut row),
        b'x' => conversations::direct(&mut row),
        b'a' => conversations::activity(&mut row),
        b'r' => conversations::retention(&mut row),
        b'P' => conversations::shade(&mut row),
        b'Q' => conversations::report(&mut row),
        b'D' => conversations::own_state(&mut row),
        b'B' => users::block(&mut row),
        b'C' => users::contact(&mut row),
        b'V' => users::privacy(&mut row),
        b'e' => groups::group(&mut row),
        b'l' => groups::link(&mut row),
        b'z' => groups::former(&mut row),
        b'i' => users::pointer(&mut row),
        b'j' => users::inbox_floor(&mut row),
        b'u' => users::account(&mut row),
        b'n' => users::name(&mut row),
        b'v' => users::device(&mut row),
        b't' => users::refresh(&mut row),
        b'y' => users::family(&mut row),
        b's' => users::last_seen(&mut row),
        b'q' => users::device_cursor(&mut row),
        b'f' => users::fence(&mut row),
        b'L' => users::lease(&mut row),
        b'E' => users::epoch(&mut row),
        b'I' => users::installation(&mut row),
        b'K' => users::signing_key(&mut row),
        b'J' => users::key_ring(&mut row),
        b'R' => users::revocation(&mut row),
        b'N' => users::skeleton(&mut row),
        b'U' => users::profile(&mut row),
        b'T' => users::settings(&mut row),
        b'X' => users::shut_out(&mut row),
        b'G' => users::invitation(&mut row),
        b'O' => users::external(&mut row),
        b'Y' => operators::audit(&mut row),
        b'A' => operators::notices(&mut row),
        b'S' => operators::overrides(&mut row),
        b'Z' => users::transfer(&mut row),
        b'W' => words::word(&mut row),
        b'F' => words::index(&mut row),
        _ => Err(Stop::Fault("this version knows the tag but no rule for it".to_owned())),
    }
}
