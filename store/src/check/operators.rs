//! The rules of rows that operators' doings leave.

use super::known::{Judged, Parts, must};
use crate::audit::MAX_AUDIT_TEXT_BYTES;
use crate::notices::{MAX_NOTICE_BYTES, MAX_NOTICES};
use crate::overrides::MAX_OVERRIDES;
use crate::rows::{AuditRow, NoticesRow, OverridesRow};

pub(super) fn audit(row: &mut Parts<'_>) -> Judged {
    let AuditRow { operator, node, action, target, outcome, .. } = row.decode()?;
    let texts = [operator, node, action, target, outcome];
    must(texts.iter().all(|text| text.len() <= MAX_AUDIT_TEXT_BYTES), || {
        "one of its texts is over the limit".to_owned()
    })
}

pub(super) fn notices(row: &mut Parts<'_>) -> Judged {
    let NoticesRow { last, notices } = row.decode()?;
    must(notices.len() <= MAX_NOTICES, || format!("it has {} notices", notices.len()))?;
    let rising = notices.is_sorted_by(|a, b| a.id < b.id);
    let given = notices.iter().all(|notice| (1..=last).contains(&notice.id));
    must(rising && given, || "its ids were not given out in this order".to_owned())?;
    must(notices.iter().all(|notice| (1..=MAX_NOTICE_BYTES).contains(&notice.text.len())), || {
        "one of its texts is over the limit, or empty".to_owned()
    })
}

pub(super) fn overrides(row: &mut Parts<'_>) -> Judged {
    let OverridesRow { limits } = row.decode()?;
    must(limits.len() <= MAX_OVERRIDES, || format!("it has {} limits", limits.len()))?;
    must(limits.is_sorted_by(|a, b| a.number < b.number), || {
        "a limit stands in it twice, or out of its order".to_owned()
    })
}
