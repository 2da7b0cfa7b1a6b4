//! What can be asked, and the request that each question is.

use super::super::Failure;
use super::{Asking, answers};
use crate::admin::views::UserPage;
use crate::identity::hex;
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write;

/// A question to a node.
#[derive(Debug, Subcommand)]
pub(super) enum Question {
    /// How the node is, and its cluster.
    Status,
    /// All users, page by page, or the one who has a name.
    Users(Users),
    /// One user and their devices.
    User(Who),
    /// Lets nobody use an account: it is logged out everywhere and can't log in.
    Disable(Who),
    /// Lets an account be used again.
    Enable(Who),
    /// Logs an account out everywhere; its user may log in again.
    Revoke(Who),
    /// Deletes an account and what its user wrote. There is no way back.
    Delete(Delete),
    /// Makes the code of an invitation to sign up.
    Invite(Invite),
    /// The ids of all conversations, page by page.
    Conversations(Page),
    /// One conversation: who takes part, how much was said. Never what.
    Conversation(Conversation),
    /// What users reported, page by page, without their words.
    Reports(Page),
    /// One report, with what its reporter wrote to the operators.
    Report(Report),
    /// Tells everybody who is connected to any node.
    Notice(Notice),
    /// The notices that hold.
    Notices(Notices),
    /// The limits that can be changed while nodes run.
    Limits,
    /// Changes a limit on every node.
    Limit(Limit),
    /// What operators did, newest first.
    Audit(Audit),
}

/// A page of a list.
#[derive(Debug, Args)]
pub(super) struct Page {
    /// Begin after this id.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Most lines, up to 100.
    #[arg(long, value_name = "N")]
    limit: Option<u16>,
}

/// What `users` takes.
#[derive(Debug, Args)]
pub(super) struct Users {
    #[command(flatten)]
    page: Page,
    /// Only who has this name.
    #[arg(long, conflicts_with_all = ["after", "limit"])]
    name: Option<String>,
}

/// A user.
#[derive(Debug, Args)]
pub(super) struct Who {
    /// The user's name, or id (16 digits of hex).
    who: String,
}

/// What `delete` takes.
#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    who: Who,
    /// Really.
    #[arg(long)]
    yes: bool,
}

/// What `invite` takes.
#[derive(Debug, Args)]
pub(super) struct Invite {
    /// How many may sign up with it.
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// Days it is good for.
    #[arg(long, default_value_t = 7)]
    days: u32,
}

/// What `conversation` takes.
#[derive(Debug, Args)]
pub(super) struct Conversation {
    /// Its id: 16 digits of hex.
    id: String,
}

/// What `report` takes.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// Its id: 48 digits of hex.
    id: String,
}

/// What `notice` takes.
#[derive(Debug, Args)]
pub(super) struct Notice {
    /// What to tell: plain text.
    text: String,
    /// For how many minutes it is told to who connects.
    #[arg(long, default_value_t = 60)]
    minutes: u32,
}

/// What `notices` takes.
#[derive(Debug, Args)]
pub(super) struct Notices {
    /// Withdraw all of them.
    #[arg(long)]
    withdraw: bool,
}

/// What `limit` takes.
#[derive(Debug, Args)]
pub(super) struct Limit {
    /// Its name, as `admin limits` shows it.
    name: String,
    /// Its new value.
    #[arg(required_unless_present = "reset", conflicts_with = "reset")]
    value: Option<String>,
    /// Back to what each node's configuration says.
    #[arg(long)]
    reset: bool,
}

/// What `audit` takes.
#[derive(Debug, Args)]
pub(super) struct Audit {
    /// Go on before this place, as the page before says.
    #[arg(long, value_name = "PLACE")]
    before: Option<String>,
    /// Most lines, up to 200.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u16,
}

/// The answer as it came, and as a table.
type Told = (String, String);

impl Question {
    /// Asks.
    pub(super) fn put(self, node: &Asking) -> Result<Told, Failure> {
        let get = |path: &str| node.ask("GET", &format!("/admin/v1/{path}"), None);
        match self {
            Self::Status => shown(get("status")?, answers::status),
            Self::Users(Users { page, name }) => {
                let query = match name {
                    Some(name) => format!("?name={}", escaped(&name)),
                    None => page.query(),
                };
                shown(get(&format!("users{query}"))?, answers::users)
            }
            Self::User(who) => shown(get(&who.path(node)?)?, answers::user),
            Self::Disable(who) => who.done(node, "disable"),
            Self::Enable(who) => who.done(node, "enable"),
            Self::Revoke(who) => who.done(node, "revoke"),
            Self::Delete(Delete { who, yes }) => {
                if !yes {
                    let text = "this deletes the account and what its user wrote; say --yes";
                    return Err(Failure::new(text));
                }
                let path = format!("/admin/v1/{}", who.path(node)?);
                shown(node.ask("DELETE", &path, None)?, answers::revoked)
            }
            Self::Invite(Invite { uses, days }) => {
                let body = json!({ "uses": uses, "days": days }).to_string();
                shown(node.ask("POST", "/admin/v1/invitations", Some(&body))?, answers::invited)
            }
            Self::Conversations(page) => {
                shown(get(&format!("conversations{}", page.query()))?, answers::conversations)
            }
            Self::Conversation(Conversation { id }) => {
                shown(get(&format!("conversations/{}", escaped(&id)))?, answers::conversation)
            }
            Self::Reports(page) => {
                shown(get(&format!("reports{}", page.query()))?, answers::reports)
            }
            Self::Report(Report { id }) => {
                shown(get(&format!("reports/{}", escaped(&id)))?, answers::report)
            }
            Self::Notice(Notice { text, minutes }) => {
                let body = json!({ "text": text, "minutes": minutes }).to_string();
                shown(node.ask("POST", "/admin/v1/notices", Some(&body))?, answers::notice)
            }
            Self::Notices(Notices { withdraw: false }) => shown(get("notices")?, answers::notices),
            Self::Notices(Notices { withdraw: true }) => {
                node.ask("DELETE", "/admin/v1/notices", None).map(done)
            }
            Self::Limits => shown(get("limits")?, answers::limits),
            Self::Limit(limit) => limit.put(node),
            Self::Audit(Audit { before, limit }) => {
                let before = before
                    .map_or_else(String::new, |before| format!("&before={}", escaped(&before)));
                shown(get(&format!("audit?limit={limit}{before}"))?, answers::audit)
            }
        }
    }
}

impl Page {
    fn query(&self) -> String {
        let mut query = String::new();
        if let Some(after) = &self.after {
            query = format!("?after={}", escaped(after));
        }
        if let Some(limit) = self.limit {
            let mark = if query.is_empty() { '?' } else { '&' };
            query = format!("{query}{mark}limit={limit}");
        }
        query
    }
}

impl Who {
    /// The user's path below the API: a name is looked up first.
    fn path(&self, node: &Asking) -> Result<String, Failure> {
        if hex::decode::<8>(&self.who).is_some() {
            return Ok(format!("users/{}", self.who));
        }
        let path = format!("/admin/v1/users?name={}", escaped(&self.who));
        let page: UserPage = parsed(&node.ask("GET", &path, None)?)?;
        let found = page.users.into_iter().next();
        let user = found.ok_or_else(|| Failure::new("nobody has this name"))?.user;
        Ok(format!("users/{user}"))
    }

    fn done(&self, node: &Asking, what: &str) -> Result<Told, Failure> {
        let path = format!("/admin/v1/{}/{what}", self.path(node)?);
        let answer = node.ask("POST", &path, None)?;
        if answer.is_empty() { Ok(done(answer)) } else { shown(answer, answers::revoked) }
    }
}

impl Limit {
    fn put(self, node: &Asking) -> Result<Told, Failure> {
        let path = format!("/admin/v1/limits/{}", escaped(&self.name));
        let answer = match &self.value {
            Some(value) => node.ask("PUT", &path, Some(&json!({ "value": value }).to_string()))?,
            None => node.ask("DELETE", &path, None)?,
        };
        shown(answer, answers::limits)
    }
}

/// An answer without content.
fn done(_empty: String) -> Told {
    (r#"{"done":true}"#.to_owned(), "done".to_owned())
}

fn shown<T: serde::de::DeserializeOwned>(
    answer: String,
    table: fn(T) -> String,
) -> Result<Told, Failure> {
    let table = table(parsed(&answer)?);
    Ok((answer, table))
}

fn parsed<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T, Failure> {
    let unlike =
        |error| Failure::new(format!("the answer is unlike what this version knows: {error}"));
    serde_json::from_str(answer).map_err(unlike)
}

/// A text as a part of a path or query: everything but letters, digits and `-._~` as `%XX`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing into a String can't fail.
            let _infallible = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_typed_leaves_its_place_in_the_request() {
        assert_eq!(escaped("Ada-1._~"), "Ada-1._~");
        assert_eq!(escaped("a b&c\r\nx: y"), "a%20b%26c%0D%0Ax%3A%20y");
        let page = Page { after: Some("0a".into()), limit: Some(7) };
        assert_eq!(page.query(), "?after=0a&limit=7");
        assert_eq!(Page { after: None, limit: Some(7) }.query(), "?limit=7");
        assert_eq!(Page { after: None, limit: None }.query(), "");
    }
}
