//! Limits that operators change while nodes run: on every node, and without a restart.
//!
//! What was changed lies in the store; each node reads it several times a second (`follow`). What was
//! not, is what the node's own configuration says.

use super::guard::{Operator, Told};
use super::router::{Admin, Answer};
use crate::AppState;
use crate::http::query::{self, Segment};
use crate::http::{ApiError, ErrorBody, ErrorCode, body, reads};
use crate::identity::{IdentityError, on_store};
use Limit::{
    AddressSignUpsBurst, AddressSignUpsPerHour, AttemptsBurst, AttemptsPerMinute, ChangesBurst,
    ChangesPerHour, ConnectionsPerAddress, OpensBurst, OpensPerHour, ReportsBurst, ReportsPerHour,
    SearchesBurst, SearchesPerHour, SendsBurst, SendsPerHour, SignUpsBurst, SignUpsPerHour,
};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use rookery_cluster_config::{Config, Rate, SignUp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// A limit that can be changed. Its number in the store is never used for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    AttemptsPerMinute = 1,
    AttemptsBurst = 2,
    SignUp = 3,
    ConnectionsPerAddress = 4,
    AddressSignUpsPerHour = 5,
    AddressSignUpsBurst = 6,
    SignUpsPerHour = 7,
    SignUpsBurst = 8,
    SendsPerHour = 9,
    SendsBurst = 10,
    OpensPerHour = 11,
    OpensBurst = 12,
    ChangesPerHour = 13,
    ChangesBurst = 14,
    ReportsPerHour = 15,
    ReportsBurst = 16,
    SearchesPerHour = 17,
    SearchesBurst = 18,
}

const ALL: [Limit; 18] = [
    AttemptsPerMinute,
    AttemptsBurst,
    Limit::SignUp,
    ConnectionsPerAddress,
    AddressSignUpsPerHour,
    AddressSignUpsBurst,
    SignUpsPerHour,
    SignUpsBurst,
    SendsPerHour,
    SendsBurst,
    OpensPerHour,
    OpensBurst,
    ChangesPerHour,
    ChangesBurst,
    ReportsPerHour,
    ReportsBurst,
    SearchesPerHour,
    SearchesBurst,
];

/// In the order of their numbers in the store.
const SIGN_UP: [(&str, SignUp); 3] =
    [("open", SignUp::Open), ("invitation", SignUp::Invitation), ("closed", SignUp::Closed)];

impl Limit {
    const fn number(self) -> u8 {
        self as u8
    }

    /// As the key of the configuration, without its section.
    const fn name(self) -> &'static str {
        match self {
            AttemptsPerMinute => "attempts_per_minute",
            AttemptsBurst => "attempts_burst",
            Self::SignUp => "sign_up",
            ConnectionsPerAddress => "connections_per_address",
            AddressSignUpsPerHour => "address_sign_ups_per_hour",
            AddressSignUpsBurst => "address_sign_ups_burst",
            SignUpsPerHour => "sign_ups_per_hour",
            SignUpsBurst => "sign_ups_burst",
            SendsPerHour => "sends_per_hour",
            SendsBurst => "sends_burst",
            OpensPerHour => "opens_per_hour",
            OpensBurst => "opens_burst",
            ChangesPerHour => "changes_per_hour",
            ChangesBurst => "changes_burst",
            ReportsPerHour => "reports_per_hour",
            ReportsBurst => "reports_burst",
            SearchesPerHour => "searches_per_hour",
            SearchesBurst => "searches_burst",
        }
    }

    fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|limit| limit.name() == name)
    }

    fn configured(self, config: &Config) -> u64 {
        let limits = config.limits;
        match self {
            AttemptsPerMinute => limits.attempts_per_minute,
            AttemptsBurst => limits.attempts_burst,
            Self::SignUp => sign_up_number(limits.sign_up),
            ConnectionsPerAddress => {
                u64::try_from(limits.connections_per_address).unwrap_or(u64::MAX)
            }
            AddressSignUpsPerHour => limits.address_sign_ups.per_hour,
            AddressSignUpsBurst => limits.address_sign_ups.burst,
            SignUpsPerHour => limits.sign_ups.per_hour,
            SignUpsBurst => limits.sign_ups.burst,
            SendsPerHour => limits.sends.per_hour,
            SendsBurst => limits.sends.burst,
            OpensPerHour => limits.opens.per_hour,
            OpensBurst => limits.opens.burst,
            ChangesPerHour => limits.changes.per_hour,
            ChangesBurst => limits.changes.burst,
            ReportsPerHour => limits.reports.per_hour,
            ReportsBurst => limits.reports.burst,
            SearchesPerHour => limits.searches.per_hour,
            SearchesBurst => limits.searches.burst,
        }
    }

    /// Whether it is a rate in the long run; then 0 stands for none.
    const fn is_hourly(self) -> bool {
        matches!(
            self,
            AddressSignUpsPerHour
                | SignUpsPerHour
                | SendsPerHour
                | OpensPerHour
                | ChangesPerHour
                | ReportsPerHour
                | SearchesPerHour
        )
    }

    /// The value of a text, if it may be one: the bounds are those of the configuration.
    fn parse(self, text: &str) -> Option<u64> {
        let bounds = match self {
            Self::SignUp => {
                let at = SIGN_UP.iter().position(|(name, _)| *name == text)?;
                return u64::try_from(at).ok();
            }
            ConnectionsPerAddress => 0..=10_000_000,
            hourly if hourly.is_hourly() => 0..=3_600_000,
            _ => 1..=1_000_000,
        };
        text.parse().ok().filter(|value| bounds.contains(value))
    }

    fn show(self, value: u64) -> String {
        match self {
            Self::SignUp => sign_up(value).0.to_owned(),
            _ => value.to_string(),
        }
    }

    const fn expects(self) -> &'static str {
        match self {
            Self::SignUp => "the value is open, invitation or closed",
            ConnectionsPerAddress => "the value is 0 to 10000000; 0: no limit",
            hourly if hourly.is_hourly() => "the value is 0 to 3600000; 0: no limit",
            _ => "the value is 1 to 1000000",
        }
    }
}

/// A number that a newer node wrote stands for the strictest.
fn sign_up(value: u64) -> (&'static str, SignUp) {
    let at = usize::try_from(value).unwrap_or(usize::MAX);
    SIGN_UP.get(at).copied().unwrap_or(("closed", SignUp::Closed))
}

fn sign_up_number(sign_up: SignUp) -> u64 {
    let at = SIGN_UP.iter().position(|(_, known)| *known == sign_up);
    at.and_then(|at| u64::try_from(at).ok()).unwrap_or(2)
}

/// Makes this node keep to the limits.
pub(super) fn apply(app: &AppState, overrides: &BTreeMap<u8, u64>) {
    let value = |limit: Limit| {
        let changed = overrides.get(&limit.number()).copied();
        changed.unwrap_or_else(|| limit.configured(&app.config))
    };
    let rate = |per_hour, burst| Rate { per_hour: value(per_hour), burst: value(burst) };
    app.attempts.set(value(AttemptsPerMinute), value(AttemptsBurst));
    app.identity.set_sign_up(sign_up(value(Limit::SignUp)).1);
    let of_address = rate(AddressSignUpsPerHour, AddressSignUpsBurst);
    app.sign_ups.set(of_address, rate(SignUpsPerHour, SignUpsBurst));
    app.gateway.set_rates([
        rate(SendsPerHour, SendsBurst),
        rate(OpensPerHour, OpensBurst),
        rate(ChangesPerHour, ChangesBurst),
        rate(ReportsPerHour, ReportsBurst),
        rate(SearchesPerHour, SearchesBurst),
    ]);
    let connections = value(ConnectionsPerAddress);
    app.per_address.set(usize::try_from(connections).unwrap_or(usize::MAX));
}

/// A limit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LimitRow {
    /// Its name, as in the section `limits` of the configuration.
    pub(crate) limit: String,
    /// What holds, on every node.
    pub(crate) value: String,
    /// What the configuration of the node that was asked says.
    pub(crate) configured: String,
    /// Whether an operator changed it.
    pub(crate) changed: bool,
}

/// All limits that can be changed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LimitList {
    pub(crate) limits: Vec<LimitRow>,
}

/// A new value of a limit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitValue {
    /// A number, or a word, as in the configuration.
    value: String,
}

/// `GET /admin/v1/limits`.
#[utoipa::path(get, path = "/admin/v1/limits", tag = "limits", security(("bearer" = [])),
    responses((status = 200, description = "All that can be changed", body = LimitList),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
) -> Answer<LimitList> {
    let reading = reads::on(&admin.app, |store| async move { Ok(store.overrides().await?) });
    Ok(Json(shown(&admin.app.config, &reading.await?)))
}

/// `PUT /admin/v1/limits/{limit}`: every node keeps to it within a second.
#[utoipa::path(put, path = "/admin/v1/limits/{limit}", tag = "limits", security(("bearer" = [])),
    params(("limit" = String, Path, description = "Its name, as in the list")),
    request_body = LimitValue,
    responses((status = 200, description = "All limits as they are now", body = LimitList),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn set(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, ApiError> {
    let limit = Limit::named(&name).ok_or_else(unknown)?;
    let patience = Duration::from_millis(admin.app.config.http.body_timeout_ms);
    let LimitValue { value } = body::json(request, patience, "the text field value").await?;
    let value = limit.parse(&value).ok_or_else(|| query::bad(limit.expects()))?;
    change(&admin, limit, Some(value)).await
}

/// `DELETE /admin/v1/limits/{limit}`: back to what each node's configuration says.
#[utoipa::path(delete, path = "/admin/v1/limits/{limit}", tag = "limits",
    security(("bearer" = [])),
    params(("limit" = String, Path, description = "Its name, as in the list")),
    responses((status = 200, description = "All limits as they are now", body = LimitList),
        (status = "default", description = "Refused", body = ErrorBody)))]
pub(super) async fn reset(
    State(admin): State<Arc<Admin>>,
    _operator: Operator,
    Segment(name): Segment,
) -> Result<Response, ApiError> {
    let limit = Limit::named(&name).ok_or_else(unknown)?;
    change(&admin, limit, None).await
}

async fn change(admin: &Admin, limit: Limit, value: Option<u64>) -> Result<Response, ApiError> {
    let changes = BTreeMap::from([(limit.number(), value)]);
    let changing =
        on_store(
            &admin.app.store,
            move |store| async move { store.change_overrides(&changes).await },
        );
    let overrides = changing.await?.map_err(IdentityError::from)?;
    apply(&admin.app, &overrides);
    let told = Told(value.map_or_else(|| "as configured".to_owned(), |value| limit.show(value)));
    Ok((Extension(told), Json(shown(&admin.app.config, &overrides))).into_response())
}

fn shown(config: &Config, overrides: &BTreeMap<u8, u64>) -> LimitList {
    let limits = ALL.into_iter().map(|limit| {
        let configured = limit.configured(config);
        let changed = overrides.get(&limit.number()).copied();
        LimitRow {
            limit: limit.name().to_owned(),
            value: limit.show(changed.unwrap_or(configured)),
            configured: limit.show(configured),
            changed: changed.is_some(),
        }
    });
    LimitList { limits: limits.collect() }
}

fn unknown() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such limit that can be changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_takes_what_it_shows_and_nothing_out_of_bounds() {
        let config = Config::default();
        for limit in ALL {
            assert_eq!(Limit::named(limit.name()), Some(limit));
            let configured = limit.configured(&config);
            assert_eq!(limit.parse(&limit.show(configured)), Some(configured), "{limit:?}");
            for bad in ["", "-1", "x", "99999999999", "1.5", " 1"] {
                assert_eq!(limit.parse(bad), None, "{limit:?} {bad:?}");
            }
        }
        assert_eq!(AttemptsBurst.parse("0"), None, "nobody could come in any more");
        assert_eq!(sign_up(77).1, SignUp::Closed);
        let numbers: std::collections::BTreeSet<u8> = ALL.map(Limit::number).into();
        assert_eq!(numbers.len(), ALL.len());
    }
}
