//! Conversations: what one is, who its members are, and how it looks to them.
//!
//! Safety: everything told about a conversation comes from one snapshot. A conversation without its
//! head row, or with a member list over the fan-out limit, is damaged: nothing writes such rows.

use crate::engine::{Engine, ReadError, View};
use crate::error::StoreError;
use crate::group::{self, GroupFacts, first_visible};
use crate::plan::Version;
use crate::rows::{self, ActivityRow, ConversationRow, HeadRow, MemberRow, MessageRow};
use crate::shade::Shade;
use crate::store::{Store, get_many};
use crate::{keys, keys::own, own};
use bytes::Bytes;
use rookery_protocol::types::{ConversationInfo, Member};
use rookery_protocol::{ConversationId, ConversationKind, Entry, MarkKind, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// Most members of a conversation whose members get inbox pointers.
pub const FAN_OUT_LIMIT: usize = rookery_protocol::limits::MAX_GROUP_MEMBERS;

/// A member, with the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Who.
    pub user: UserId,
    /// 1 member, 2 admin, 3 owner.
    pub role: u8,
    /// The head when they joined.
    pub joined_seq: u64,
    /// Delivered up to and including.
    pub delivered: u64,
    /// Read up to and including.
    pub read: u64,
}

/// What an owner needs to serve a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Which.
    pub conversation: ConversationId,
    /// What it is.
    pub kind: ConversationKind,
    /// The newest seq; 0 while empty.
    pub head: u64,
    /// Time of the newest entry, or of the creation: Unix milliseconds.
    pub head_time_ms: u64,
    /// The smallest seq still held; 1 while nothing was trimmed.
    pub floor: u64,
    /// The time the members' activity rows hold; 0 when there is none.
    pub active_written_ms: u64,
    /// The members by rising id, at most [`FAN_OUT_LIMIT`].
    pub members: Vec<MemberState>,
    /// The inbox log that pointers of an append go to.
    pub inbox_epoch: u32,
    /// What blocks hide, of each member of a one-to-one conversation of whom there is something.
    pub shades: Vec<(UserId, Shade)>,
    /// Members whose read marks are their own, and who are told of nobody's.
    pub secretive: BTreeSet<UserId>,
    /// The snapshot all of this comes from.
    pub version: Version,
    /// What it is beside this, if it is a group.
    pub group: Option<GroupFacts>,
    /// Texts that are appended are found by their words.
    pub words: bool,
    /// Whether there is such a conversation; else all of this is what a new one starts from.
    pub exists: bool,
}

impl Loaded {
    /// A conversation that does not exist, as known at `version`.
    #[must_use]
    pub const fn nothing(conversation: ConversationId, inbox_epoch: u32, version: Version) -> Self {
        Self {
            conversation,
            kind: ConversationKind::Group,
            head: 0,
            head_time_ms: 0,
            floor: 1,
            active_written_ms: 0,
            members: Vec::new(),
            inbox_epoch,
            shades: Vec::new(),
            secretive: BTreeSet::new(),
            version,
            group: None,
            words: false,
            exists: false,
        }
    }
}

/// A conversation as its own rows tell it.
pub(crate) struct Facts {
    pub(crate) conversation: ConversationId,
    kind: ConversationKind,
    title: String,
    head: HeadRow,
    floor: u64,
    shows_all: bool,
    members: Vec<MemberState>,
}

/// From so many members on, their marks are read as a range.
const CROWD: usize = 8;

impl Facts {
    fn is_crowd(&self) -> bool {
        self.members.len() >= CROWD
    }

    /// The smallest seq that is held and that `user` may see.
    fn floor_of(&self, user: UserId) -> u64 {
        let joined_seq =
            self.members.iter().find(|member| member.user == user).map_or(0, |m| m.joined_seq);
        self.floor.max(first_visible(joined_seq, self.shows_all))
    }

    pub(crate) fn has_member(&self, user: UserId) -> bool {
        self.members.iter().any(|member| member.user == user)
    }
}

impl<E: Engine> Store<E> {
    /// A conversation, read no older than `at_least`. `None`: it does not exist.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn load_conversation(
        &self,
        conversation: ConversationId,
        at_least: Version,
    ) -> Result<Option<Loaded>, ReadError> {
        let view = self.view(at_least).await?;
        let Some(facts) = one(&view, conversation).await? else { return Ok(None) };
        let group = match facts.kind {
            ConversationKind::Group => group::facts(&view, conversation).await?,
            _ => None,
        };
        let mut active_written_ms = 0;
        if let Some(first) = facts.members.first()
            && let Some(value) = view.get(&keys::activity(first.user, conversation)).await?
        {
            active_written_ms = rows::decode::<ActivityRow>(&value)?.time_ms;
        }
        let (shades, secretive) = hidden(&view, &facts).await?;
        Ok(Some(Loaded {
            conversation,
            kind: facts.kind,
            head: facts.head.seq,
            head_time_ms: facts.head.time_ms,
            floor: facts.floor,
            active_written_ms,
            members: facts.members,
            inbox_epoch: self.inbox_epoch().await?,
            shades,
            secretive,
            version: view.version(),
            group,
            words: self.indexes_words(),
            exists: true,
        }))
    }

    /// A conversation as `me` sees it.
    ///
    /// # Errors
    /// [`StoreError::NotAMember`], also when it does not exist; [`StoreError::Read`].
    pub async fn describe(
        &self,
        me: UserId,
        conversation: ConversationId,
    ) -> Result<ConversationInfo, StoreError> {
        let view = self.latest().await?;
        // Who is no member costs one read and learns nothing, not even through damage.
        if view.get(&keys::member(conversation, me)).await?.is_none() {
            return Err(StoreError::NotAMember);
        }
        let facts = one(&view, conversation).await?;
        let described = infos(&view, me, facts.into_iter().collect()).await?;
        described.into_iter().next().ok_or_else(|| without_description(conversation).into())
    }

    /// The members whose read marks are their own, and who are told of nobody's, as
    /// [`Loaded::secretive`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn secretive(
        &self,
        members: &[UserId],
        direct: bool,
    ) -> Result<BTreeSet<UserId>, ReadError> {
        own::secretive(&self.latest().await?, members, direct).await
    }

    /// The members of a conversation of `me`, with their marks.
    ///
    /// # Errors
    /// As [`Store::describe`]; [`StoreError::BadArgument`] when `seq` is not one that `me` may see.
    pub async fn marks_at(
        &self,
        me: UserId,
        conversation: ConversationId,
        seq: u64,
    ) -> Result<Vec<MemberState>, StoreError> {
        let view = self.latest().await?;
        if view.get(&keys::member(conversation, me)).await?.is_none() {
            return Err(StoreError::NotAMember);
        }
        let facts = one(&view, conversation).await?;
        let mut facts = facts.ok_or_else(|| without_description(conversation))?;
        hide(&view, me, &mut facts).await?;
        if !(facts.floor_of(me)..=facts.head.seq).contains(&seq) {
            return Err(StoreError::BadArgument("a seq outside of the log"));
        }
        Ok(facts.members)
    }

    /// For each of `others`, whether `me` has a one-to-one conversation with them. Oneself counts.
    /// The caller bounds `others`.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub async fn shares_conversation(
        &self,
        me: UserId,
        others: &[UserId],
    ) -> Result<Vec<bool>, StoreError> {
        let view = self.latest().await?;
        let wanted: Vec<Bytes> = others.iter().map(|other| own(keys::direct(me, *other))).collect();
        let found = get_many(&view, &wanted).await?;
        Ok(others.iter().zip(found).map(|(other, row)| *other == me || row.is_some()).collect())
    }
}

async fn one(view: &impl View, conversation: ConversationId) -> Result<Option<Facts>, ReadError> {
    Ok(facts(view, &[conversation]).await?.into_iter().next().flatten())
}

/// The facts of conversations, in their order; `None` for one that doesn't exist.
pub(crate) async fn facts(
    view: &impl View,
    conversations: &[ConversationId],
) -> Result<Vec<Option<Facts>>, ReadError> {
    let mut wanted = Vec::with_capacity(conversations.len() * 4);
    for conversation in conversations {
        wanted.push(own(keys::conversation(*conversation)));
        wanted.push(own(keys::head(*conversation)));
        wanted.push(own(keys::floor(*conversation)));
        wanted.push(own(keys::group(*conversation)));
    }
    let values = get_many(view, &wanted).await?;
    let mut all = Vec::with_capacity(conversations.len());
    for (conversation, values) in conversations.iter().zip(values.chunks_exact(4)) {
        let [described, head, floor, group] = values else { continue };
        let Some(described) = described else {
            all.push(None);
            continue;
        };
        let ConversationRow { kind, title, .. } = rows::decode(described)?;
        let head = head.as_ref().ok_or_else(|| without_head(*conversation))?;
        all.push(Some(Facts {
            conversation: *conversation,
            kind,
            title: title.to_owned(),
            head: rows::decode(head)?,
            floor: decode_floor(floor.as_deref())?,
            shows_all: group::shows_all(group.as_deref())?,
            members: members(view, *conversation).await?,
        }));
    }
    fill_marks(view, &mut all).await?;
    Ok(all)
}

/// The smallest seq still held.
pub(crate) fn decode_floor(row: Option<&[u8]>) -> Result<u64, ReadError> {
    row.map_or(Ok(1), |value| Ok(rows::decode_rising(value, "conversation floor")?.max(1)))
}

/// The members, with their marks still at 0.
async fn members(
    view: &impl View,
    conversation: ConversationId,
) -> Result<Vec<MemberState>, ReadError> {
    let from = keys::members(conversation);
    let rows = view.range(&from, &keys::prefix_end(&from), FAN_OUT_LIMIT + 1, false).await?;
    if rows.len() > FAN_OUT_LIMIT {
        let why = format!("conversation {conversation} has more than {FAN_OUT_LIMIT} members");
        return Err(rows::damaged("member", &why));
    }
    let member = |(key, value): &(Bytes, Bytes)| {
        let MemberRow { role, joined_seq } = rows::decode(value)?;
        let user = UserId(keys::last_id(key, "member")?);
        Ok(MemberState { user, role, joined_seq, delivered: 0, read: 0 })
    };
    rows.iter().map(member).collect()
}

async fn fill_marks(view: &impl View, all: &mut [Option<Facts>]) -> Result<(), ReadError> {
    for facts in all.iter_mut().flatten().filter(|facts| facts.is_crowd()) {
        fill_crowd(view, facts).await?;
    }
    let mut wanted = Vec::new();
    for facts in all.iter().flatten().filter(|facts| !facts.is_crowd()) {
        for member in &facts.members {
            for kind in [MarkKind::Delivered, MarkKind::Read] {
                wanted.push(own(keys::mark(facts.conversation, member.user, kind)));
            }
        }
    }
    let values = get_many(view, &wanted).await?;
    let few = all.iter_mut().flatten().filter(|facts| !facts.is_crowd());
    let members = few.flat_map(|facts| facts.members.iter_mut());
    for (member, values) in members.zip(values.chunks_exact(2)) {
        let [delivered, read] = values else { continue };
        member.delivered = decode_mark(delivered.as_deref())?;
        member.read = decode_mark(read.as_deref())?;
    }
    Ok(())
}

/// The marks of many members lie together: one range instead of two reads for each.
async fn fill_crowd(view: &impl View, facts: &mut Facts) -> Result<(), ReadError> {
    let from = keys::marks(facts.conversation);
    // Who is no member has no marks.
    let most = 2 * FAN_OUT_LIMIT + 1;
    for (key, value) in view.range(&from, &keys::prefix_end(&from), most, false).await? {
        let (user, kind) = keys::mark_of(&key)?;
        let Some(member) = facts.members.iter_mut().find(|m| m.user == user) else { continue };
        match kind {
            MarkKind::Delivered => member.delivered = decode_mark(Some(&value))?,
            MarkKind::Read => member.read = decode_mark(Some(&value))?,
            MarkKind::Other(_) => {}
        }
    }
    Ok(())
}

fn decode_mark(row: Option<&[u8]>) -> Result<u64, ReadError> {
    row.map_or(Ok(0), |value| rows::decode_rising(value, "mark"))
}

/// What is hidden in a conversation: by blocks, and by settings.
async fn hidden(
    view: &impl View,
    facts: &Facts,
) -> Result<(Vec<(UserId, Shade)>, BTreeSet<UserId>), ReadError> {
    let members: Vec<UserId> = facts.members.iter().map(|member| member.user).collect();
    let direct = facts.kind == ConversationKind::Direct;
    let secretive = own::secretive(view, &members, direct).await?;
    if !direct {
        return Ok((Vec::new(), secretive));
    }
    let key = |user: &UserId| own(keys::shade(facts.conversation, *user));
    let wanted: Vec<Bytes> = members.iter().map(key).collect();
    let rows = get_many(view, &wanted).await?;
    let mut shades = Vec::new();
    for (user, row) in members.into_iter().zip(rows) {
        if row.is_some() {
            shades.push((user, Shade::decode(row.as_ref())?));
        }
    }
    Ok((shades, secretive))
}

/// Takes out what `me` may not see.
async fn hide(view: &impl View, me: UserId, facts: &mut Facts) -> Result<(), ReadError> {
    let (shades, secretive) = hidden(view, facts).await?;
    let shade = |user: UserId| {
        let found = shades.iter().find(|(whose, _)| *whose == user);
        found.map_or(Shade::NONE, |(_, shade)| *shade)
    };
    facts.head.seq = shade(me).shown_head(facts.head.seq);
    let (head, no_read) = (facts.head.seq, secretive.contains(&me));
    for member in facts.members.iter_mut().filter(|member| member.user != me) {
        let theirs = shade(member.user);
        member.delivered = theirs.shown_mark(MarkKind::Delivered, member.delivered).min(head);
        member.read = theirs.shown_mark(MarkKind::Read, member.read).min(head);
        if no_read || secretive.contains(&member.user) {
            member.read = 0;
        }
    }
    Ok(())
}

/// Conversations as `me`, a member, sees them, in the order given.
pub(crate) async fn infos(
    view: &impl View,
    me: UserId,
    mut all: Vec<Facts>,
) -> Result<Vec<ConversationInfo>, ReadError> {
    for facts in &mut all {
        hide(view, me, facts).await?;
    }
    let names = names_of(view, &all).await?;
    let last = last_entries(view, me, &all).await?;
    let info = |(facts, last): (Facts, Option<Entry>)| ConversationInfo {
        conversation: facts.conversation,
        kind: facts.kind,
        members: facts.members.iter().map(|member| seen(member, &names)).collect(),
        head: facts.head.seq,
        floor: facts.floor_of(me),
        title: facts.title,
        // Of the newest entry that is seen: what a block hides is no activity either.
        active_ms: last.as_ref().map_or(facts.head.time_ms, |last| last.time_ms),
        last,
    };
    Ok(all.into_iter().zip(last).map(info).collect())
}

fn seen(member: &MemberState, names: &BTreeMap<UserId, String>) -> Member {
    Member {
        user: member.user,
        name: names.get(&member.user).cloned().unwrap_or_default(),
        role: member.role,
        delivered: member.delivered,
        read: member.read,
    }
}

async fn names_of(view: &impl View, all: &[Facts]) -> Result<BTreeMap<UserId, String>, ReadError> {
    let mut users: Vec<UserId> =
        all.iter().flat_map(|facts| &facts.members).map(|member| member.user).collect();
    users.sort_unstable();
    users.dedup();
    let names = crate::accounts::names(view, &users).await?;
    Ok(users.into_iter().zip(names).filter_map(|(user, name)| Some((user, name?))).collect())
}

/// The newest entry of each; `None` while empty, or when everything was trimmed.
async fn last_entries(
    view: &impl View,
    me: UserId,
    all: &[Facts],
) -> Result<Vec<Option<Entry>>, ReadError> {
    let key = |facts: &Facts| own(keys::message(facts.conversation, facts.head.seq));
    let wanted: Vec<Bytes> = all.iter().map(key).collect();
    let values = get_many(view, &wanted).await?;
    let mut last = Vec::with_capacity(all.len());
    for (facts, value) in all.iter().zip(values) {
        let seq = facts.head.seq;
        last.push(match value {
            Some(value) => Some(rows::decode::<MessageRow<'_>>(&value)?.entry_for(seq, me)),
            None if seq < facts.floor => None,
            None => return Err(crate::history::missing(facts.conversation, seq)),
        });
    }
    Ok(last)
}

pub(crate) fn without_description(conversation: ConversationId) -> ReadError {
    rows::damaged("conversation", &format!("{conversation} has members and no description"))
}

pub(crate) fn without_head(conversation: ConversationId) -> ReadError {
    rows::damaged("head", &format!("conversation {conversation} has none"))
}
