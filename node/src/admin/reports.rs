//! What users reported. A list says who reported what of whom, and why; what the reporter wrote to the
//! operators is shown of one report at a time, each time in the log. The reported entry itself is not.

use super::guard::Operator;
use super::router::{Admin, Answer};
use crate::http::query::{self, Segment};
use crate::http::{ApiError, ErrorBody, ErrorCode, reads};
use crate::identity::hex;
use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use rookery_protocol::{ConversationId, UserId};
use rookery_store::{MAX_REPORTS, Report, ReportPlace};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A report, without what its reporter wrote.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReportRow {
    /// Its id: 48 digits of hex.
    pub(crate) report: String,
    /// Where the entry is: 16 digits of hex.
    pub(crate) conversation: String,
    /// Which entry.
    pub(crate) seq: u64,
    /// Who sent it: 16 digits of hex.
    pub(crate) sender: String,
    /// Who reported it: 16 digits of hex.
    pub(crate) reporter: String,
    /// Why, see PROTOCOL.md; 1: spam, 2: abuse, 3: illegal, 4: as the comment says.
    pub(crate) reason: u8,
    /// When it was reported, Unix milliseconds.
    pub(crate) time_ms: u64,
}

/// Some of all reports, by conversation and seq.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReportPage {
    pub(crate) reports: Vec<ReportRow>,
    /// `after` of the next page; null at the end.
    pub(crate) next: Option<String>,
}

/// A report with what its reporter wrote to the operators.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReportDetail {
    /// The report.
    pub(crate) report: ReportRow,
    /// In the reporter's words; may be empty.
    pub(crate) comment: String,
}

/// `GET /admin/v1/reports?after&limit`.
#[utoipa::path(get, path = "/admin/v1/reports", tag = "reports", security(("bearer" = [])),
    params(("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page", body = ReportPage),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    uri: Uri,
) -> Answer<ReportPage> {
    let [after, limit] = query::fields(uri.query(), ["after", "limit"])?;
    let limit = query::limit_of(limit, MAX_REPORTS)?;
    let no_cursor = || query::bad("after is not the next of a page");
    let after = after.map(|after| place(after).ok_or_else(no_cursor)).transpose()?;
    let page = reads::on(&admin.app, move |store| async move {
        let page = store.reports(after, limit).await?;
        // A full page may be the last one: one row tells.
        let last = page.last().map(place_of).filter(|_| page.len() == limit);
        let more = match last {
            Some(last) => !store.reports(Some(last), 1).await?.is_empty(),
            None => false,
        };
        Ok((page, last.filter(|_| more)))
    });
    let (page, next) = page.await?;
    Ok(Json(ReportPage { reports: page.iter().map(row).collect(), next: next.map(told) }))
}

/// `GET /admin/v1/reports/{report}`.
#[utoipa::path(get, path = "/admin/v1/reports/{report}", tag = "reports",
    security(("bearer" = [])),
    params(("report" = String, Path, description = "48 digits of hex")),
    responses((status = 200, description = "The report", body = ReportDetail),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(report): Segment,
) -> Answer<ReportDetail> {
    let unknown = || ApiError::new(ErrorCode::NotFound, "there is no such report");
    let place = place(&report).ok_or_else(unknown)?;
    let reading =
        reads::on(&admin.app, move |store| async move { Ok(store.report_at(place).await?) });
    let report = reading.await?.ok_or_else(unknown)?;
    Ok(Json(ReportDetail { report: row(&report), comment: report.comment }))
}

fn row(report: &Report) -> ReportRow {
    ReportRow {
        report: told(place_of(report)),
        conversation: report.conversation.to_string(),
        seq: report.seq,
        sender: report.sender.to_string(),
        reporter: report.reporter.to_string(),
        reason: report.reason.code(),
        time_ms: report.time_ms,
    }
}

const fn place_of(report: &Report) -> ReportPlace {
    (report.conversation, report.seq, report.reporter)
}

fn told((conversation, seq, reporter): ReportPlace) -> String {
    format!("{conversation}{seq:016x}{reporter}")
}

fn place(text: &str) -> Option<ReportPlace> {
    let bytes: [u8; 24] = hex::decode(text)?;
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|id| u64::from_be_bytes(*id));
    Some((ConversationId(number(0)?), number(8)?, UserId(number(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_told() {
        let at = (ConversationId(0xab), 7, UserId(0xcd));
        assert_eq!(place(&told(at)), Some(at));
        for bad in ["", "00", &told(at).to_uppercase(), &format!("{}0", told(at))] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
