//! Answers of the operators' API as people read them.

use crate::admin::views::{
    ConversationIds, Inspected, Invited, LimitList, LogPage, NodeStatus, NoticeList, NoticeView,
    ReportDetail, ReportPage, Revoked, UserDetail, UserPage, UserRow,
};
use crate::table::{plain, table, time};

pub(super) fn status(status: NodeStatus) -> String {
    let lines = [
        ("node", status.node),
        ("version", status.version),
        ("up", format!("{} s", status.up_s)),
        ("clients at", status.listen),
        ("connections", status.connections.to_string()),
        ("store", status.store),
        ("trouble", status.store_trouble.unwrap_or_else(|| "none".to_owned())),
        ("leaving", if status.draining { "yes" } else { "no" }.to_owned()),
        (
            "memory",
            status.resident_bytes.map_or_else(String::new, |bytes| format!("{} MiB", bytes >> 20)),
        ),
    ];
    let mut text: String =
        lines.into_iter().map(|(name, value)| format!("{name:<12}{}\n", plain(&value))).collect();
    if let Some(cluster) = status.cluster {
        text.push('\n');
        text.push_str(&cluster.table());
    }
    text
}

pub(super) fn users(page: UserPage) -> String {
    let heads = ["user", "name", "state", "created", "last seen", "called"];
    let rows = page.users.into_iter().map(|user| {
        let (created, seen) = (time(Some(user.created_ms)), time(user.last_seen_ms));
        [user.user, user.name, user.state, created, seen, user.display_name]
    });
    with_next(table(heads, rows.collect()), page.next, "--after")
}

pub(super) fn user(detail: UserDetail) -> String {
    let UserRow { user, name, display_name, created_ms, last_seen_ms, state, since_ms } =
        detail.user;
    let since = since_ms.map_or_else(String::new, |ms| format!(" since {}", time(Some(ms))));
    let lines = [
        ("user", user),
        ("name", name),
        ("called", display_name),
        ("state", format!("{state}{since}")),
        ("created", time(Some(created_ms))),
        ("last seen", time(last_seen_ms)),
    ];
    let mut text: String =
        lines.into_iter().map(|(name, value)| format!("{name:<12}{}\n", plain(&value))).collect();
    text.push('\n');
    let devices = detail.devices.into_iter();
    let rows = devices.map(|device| [device.device, time(Some(device.created_ms)), device.name]);
    text.push_str(&table(["device", "logged in", "name"], rows.collect()));
    text
}

pub(super) fn revoked(revoked: Revoked) -> String {
    format!("done; devices logged out: {}", revoked.devices)
}

pub(super) fn invited(invited: Invited) -> String {
    invited.code
}

pub(super) fn conversations(page: ConversationIds) -> String {
    let rows = page.conversations.into_iter().map(|id| [id]).collect();
    with_next(table(["conversation"], rows), page.next, "--after")
}

pub(super) fn conversation(inspected: Inspected) -> String {
    let kind = match inspected.kind {
        1 => "one-to-one".to_owned(),
        2 => "group".to_owned(),
        other => other.to_string(),
    };
    let lines = [
        ("conversation", inspected.conversation),
        ("kind", kind),
        ("entries", format!("{}, {} held", inspected.head, inspected.held)),
        ("active", time(Some(inspected.active_ms))),
        ("members", inspected.members.len().to_string()),
    ];
    let mut text: String =
        lines.into_iter().map(|(name, value)| format!("{name:<14}{value}\n")).collect();
    text.push('\n');
    let heads = ["user", "name", "role", "joined", "delivered", "read"];
    let rows = inspected.members.into_iter().map(|member| {
        let role = match member.role {
            1 => "member".to_owned(),
            2 => "admin".to_owned(),
            3 => "owner".to_owned(),
            other => other.to_string(),
        };
        let marks = [member.joined_seq, member.delivered, member.read].map(|seq| seq.to_string());
        let [joined, delivered, read] = marks;
        [member.user, member.name, role, joined, delivered, read]
    });
    text.push_str(&table(heads, rows.collect()));
    text
}

pub(super) fn reports(page: ReportPage) -> String {
    let heads = ["time (UTC)", "reason", "conversation", "seq", "sender", "reporter", "report"];
    let rows = page.reports.into_iter().map(|row| {
        let (at, reason) = (time(Some(row.time_ms)), reason(row.reason));
        [at, reason, row.conversation, row.seq.to_string(), row.sender, row.reporter, row.report]
    });
    with_next(table(heads, rows.collect()), page.next, "--after")
}

pub(super) fn report(ReportDetail { report, comment }: ReportDetail) -> String {
    let lines = [
        ("conversation", report.conversation),
        ("seq", report.seq.to_string()),
        ("sender", report.sender),
        ("reporter", report.reporter),
        ("reported", time(Some(report.time_ms))),
        ("reason", reason(report.reason)),
        ("comment", comment),
    ];
    let lines = lines.into_iter();
    lines.map(|(name, value)| format!("{name:<14}{}\n", plain(&value))).collect()
}

fn reason(code: u8) -> String {
    match code {
        1 => "spam".to_owned(),
        2 => "abuse".to_owned(),
        3 => "illegal".to_owned(),
        4 => "unlisted".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn notice(notice: NoticeView) -> String {
    format!("notice {} is told until {} UTC", notice.notice, time(Some(notice.until_ms)))
}

pub(super) fn notices(list: NoticeList) -> String {
    let rows = list.notices.into_iter().map(|notice| {
        let (posted, until) = (time(Some(notice.time_ms)), time(Some(notice.until_ms)));
        [notice.notice.to_string(), posted, until, notice.text]
    });
    table(["notice", "posted", "until", "text"], rows.collect())
}

pub(super) fn limits(list: LimitList) -> String {
    let rows = list.limits.into_iter().map(|limit| {
        let changed = if limit.changed { "changed" } else { "" }.to_owned();
        [limit.limit, limit.value, limit.configured, changed]
    });
    table(["limit", "value", "configured", ""], rows.collect())
}

pub(super) fn audit(page: LogPage) -> String {
    let heads = ["time (UTC)", "operator", "node", "action", "target", "outcome"];
    let rows = page.entries.into_iter().map(|entry| {
        let at = time(Some(entry.time_ms));
        [at, entry.operator, entry.node, entry.action, entry.target, entry.outcome]
    });
    with_next(table(heads, rows.collect()), page.next, "--before")
}

fn with_next(table: String, next: Option<String>, flag: &str) -> String {
    match next {
        Some(next) => format!("{table}\nmore: {flag} {next}"),
        None => table,
    }
}
