//! Carries out the questions of virtual actors on the store layer, whatever engine is under it.

use crate::effect::{Query, QueryResult, Span};
use crate::people;
use rookery_protocol::group::{ROLE_ADMIN, secret_text};
use rookery_protocol::server::{ConversationPage, Group, HistoryPage, ReadBy, Users};
use rookery_protocol::types::FoundUser;
use rookery_protocol::{ConversationId, ConversationInfo, Entry, UserId};
use rookery_store::{Engine, Loaded, ReadError, Store, StoreError, Version};

/// The answer to a question. `candidate` is a fresh random id, for a conversation that may have to
/// be created.
pub async fn run<E: Engine>(
    store: &Store<E>,
    query: Query,
    candidate: ConversationId,
) -> QueryResult {
    match query {
        Query::LoadConversation { conversation, at_least } => {
            let loaded = load(store, conversation, at_least).await;
            QueryResult::LoadConversation(loaded.map(Some).map_err(Into::into))
        }
        Query::FindSent { conversation, sender, id, at_least } => {
            let found = store.find_sent(conversation, sender, id, at_least).await;
            QueryResult::FindSent(found.map_err(Into::into))
        }
        Query::ChangeFacts { conversation, sender, id, users, at_least } => {
            let facts = store.change_facts(conversation, (sender, id), &users, at_least).await;
            QueryResult::ChangeFacts(facts.map_err(Into::into))
        }
        Query::Inbox { user, after, limit, at_least } => {
            let page = store.inbox(user, after, limit, at_least).await;
            QueryResult::Inbox(page.map_err(Into::into))
        }
        Query::News { user, after } => {
            let news = store.inbox_news(&[(user, after)]).await;
            let news = news.map(|news| news.contains(&true));
            QueryResult::News(news.map_err(Into::into))
        }
        Query::Entries { me, spans, max_bytes } => {
            QueryResult::Entries(entries(store, me, spans, max_bytes).await)
        }
        Query::History { request, me, conversation, anchor, direction, limit } => {
            let page = store.history(me, conversation, anchor, direction, limit).await;
            QueryResult::History(page.map(|page| HistoryPage {
                request,
                conversation,
                entries: page.entries,
                head: page.head,
                floor: page.floor,
                more: page.more,
            }))
        }
        Query::Conversations { request, me, limit, after } => {
            let list = store.list_conversations(me, limit, after).await;
            QueryResult::Conversations(list.map(|(conversations, next)| ConversationPage {
                request,
                conversations,
                next,
            }))
        }
        Query::OpenDirect { me, name, now_ms } => {
            QueryResult::OpenDirect(open_direct(store, (me, candidate), &name, now_ms).await)
        }
        Query::Describe { me, conversation } => {
            QueryResult::Describe(store.describe(me, conversation).await)
        }
        Query::FindUsers { .. } | Query::Group { .. } | Query::Readers { .. } => {
            about_groups(store, query).await
        }
        Query::MayWatch { me, others } => {
            QueryResult::MayWatch(people::watchable(store, me, others).await)
        }
        Query::LastSeen(user) => {
            QueryResult::LastSeen(store.last_seen(user).await.map_err(Into::into))
        }
        Query::People { me, query } => QueryResult::People(people::run(store, me, query).await),
    }
}

async fn about_groups<E: Engine>(store: &Store<E>, query: Query) -> QueryResult {
    match query {
        Query::FindUsers { request, names } => {
            QueryResult::FindUsers(find_users(store, request, names).await.map_err(Into::into))
        }
        Query::Group { request, me, conversation } => {
            QueryResult::Group(group(store, request, me, conversation).await)
        }
        Query::Readers { request, me, conversation, seq } => {
            QueryResult::Readers(readers(store, request, me, (conversation, seq)).await)
        }
        other => failed(&other),
    }
}

/// The answer when the question could not be carried out at all.
#[must_use]
pub fn failed(query: &Query) -> QueryResult {
    let error = || StoreError::Read(ReadError::Unavailable("the read was given up".into()));
    match query {
        Query::LoadConversation { .. } => QueryResult::LoadConversation(Err(error())),
        Query::FindSent { .. } => QueryResult::FindSent(Err(error())),
        Query::ChangeFacts { .. } => QueryResult::ChangeFacts(Err(error())),
        Query::Inbox { .. } => QueryResult::Inbox(Err(error())),
        Query::News { .. } => QueryResult::News(Err(error())),
        Query::Entries { .. } => QueryResult::Entries(Err(error())),
        Query::History { .. } => QueryResult::History(Err(error())),
        Query::Conversations { .. } => QueryResult::Conversations(Err(error())),
        Query::OpenDirect { .. } => QueryResult::OpenDirect(Err(error())),
        Query::Describe { .. } => QueryResult::Describe(Err(error())),
        Query::FindUsers { .. } => QueryResult::FindUsers(Err(error())),
        Query::Group { .. } => QueryResult::Group(Err(error())),
        Query::Readers { .. } => QueryResult::Readers(Err(error())),
        Query::MayWatch { .. } => QueryResult::MayWatch(Err(error())),
        Query::LastSeen(_) => QueryResult::LastSeen(Err(error())),
        Query::People { .. } => QueryResult::People(Err(error())),
    }
}

/// A conversation that isn't there may be a group that is about to be made.
async fn load<E: Engine>(
    store: &Store<E>,
    conversation: ConversationId,
    at_least: Version,
) -> Result<Loaded, ReadError> {
    match store.load_conversation(conversation, at_least).await? {
        Some(loaded) => Ok(loaded),
        // Conversations never go away: what is not there now was not there then.
        None => Ok(Loaded {
            words: store.indexes_words(),
            ..Loaded::nothing(conversation, store.inbox_epoch().await?, at_least)
        }),
    }
}

async fn find_users<E: Engine>(
    store: &Store<E>,
    request: u32,
    names: Vec<String>,
) -> Result<Users, ReadError> {
    let holders = store.holders(&names).await?;
    let found = |(holder, name): (Option<UserId>, String)| Some(FoundUser { user: holder?, name });
    Ok(Users { request, users: holders.into_iter().zip(names).filter_map(found).collect() })
}

async fn group<E: Engine>(
    store: &Store<E>,
    request: u32,
    me: UserId,
    conversation: ConversationId,
) -> Result<Group, StoreError> {
    let (facts, role) = store.group(me, conversation).await?;
    let link = facts.link.filter(|_| role >= ROLE_ADMIN);
    Ok(Group {
        request,
        conversation,
        avatar: facts.avatar,
        open_history: facts.open_history,
        link: link.as_ref().map(secret_text).unwrap_or_default(),
        created_ms: facts.created_ms,
    })
}

async fn readers<E: Engine>(
    store: &Store<E>,
    request: u32,
    me: UserId,
    (conversation, seq): (ConversationId, u64),
) -> Result<ReadBy, StoreError> {
    let (mut delivered, mut read) = (Vec::new(), Vec::new());
    for member in store.marks_at(me, conversation, seq).await? {
        match () {
            () if member.read >= seq => read.push(member.user),
            () if member.delivered >= seq => delivered.push(member.user),
            () => {}
        }
    }
    Ok(ReadBy { request, conversation, seq, delivered, read })
}

async fn entries<E: Engine>(
    store: &Store<E>,
    me: UserId,
    spans: Vec<Span>,
    max_bytes: usize,
) -> Result<Vec<(ConversationId, Vec<Entry>)>, StoreError> {
    let mut read = Vec::with_capacity(spans.len());
    let mut left = max_bytes;
    for Span { conversation, from, to } in spans {
        let entries = store.entries_for(me, conversation, (from, to), left).await?;
        let whole = entries.last().is_some_and(|last| last.seq >= to);
        // The frame and its header count too, roughly.
        let bytes: usize = entries.iter().map(|entry| entry.body.len() + 64).sum();
        left = left.saturating_sub(bytes);
        read.push((conversation, entries));
        if !whole || left == 0 {
            break;
        }
    }
    Ok(read)
}

async fn open_direct<E: Engine>(
    store: &Store<E>,
    (me, candidate): (UserId, ConversationId),
    name: &str,
    now_ms: u64,
) -> Result<(ConversationInfo, UserId, bool), StoreError> {
    let other = store.account_by_name(name).await?.ok_or(StoreError::UnknownUser)?.user;
    let (conversation, created) = store.open_direct(me, other, candidate, now_ms).await?;
    let info = store.describe(me, conversation).await?;
    Ok((info, other, created))
}
