//! Stands before every operation of operators: who asks, and the log of it.

use super::log::Action;
use super::router::Admin;
use crate::http::{ApiError, ErrorCode};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// How an operation is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logging {
    /// It changes something: before it begins, and its outcome.
    Around(&'static str),
    /// It shows something about people: before that is shown.
    Before(&'static str),
    /// It shows how the node is, or the log itself.
    Never,
}

/// How each operation is logged; `None`: there is no such operation.
pub(super) fn logging(method: &Method, route: &str) -> Option<Logging> {
    let route = route.strip_prefix("/admin/v1/")?;
    Some(match (method.as_str(), route) {
        ("POST", "drain") => Logging::Around("node.drain"),
        ("GET", "users") => Logging::Before("user.list"),
        ("GET", "users/{user}") => Logging::Before("user.show"),
        ("POST", "users/{user}/disable") => Logging::Around("user.disable"),
        ("POST", "users/{user}/enable") => Logging::Around("user.enable"),
        ("POST", "users/{user}/revoke") => Logging::Around("user.revoke"),
        ("DELETE", "users/{user}") => Logging::Around("user.delete"),
        ("POST", "invitations") => Logging::Around("invitation.make"),
        ("GET", "conversations") => Logging::Before("conversation.list"),
        ("GET", "conversations/{conversation}") => Logging::Before("conversation.show"),
        ("GET", "reports") => Logging::Before("report.list"),
        ("GET", "reports/{report}") => Logging::Before("report.show"),
        ("POST", "notices") => Logging::Around("notice.post"),
        ("DELETE", "notices") => Logging::Around("notice.withdraw"),
        ("PUT", "limits/{limit}") => Logging::Around("limit.set"),
        ("DELETE", "limits/{limit}") => Logging::Around("limit.reset"),
        ("GET", "notices" | "limits" | "status" | "audit") => Logging::Never,
        _ => return None,
    })
}

/// Somebody who showed a good token: as an argument of a handler it lets nobody else through.
#[derive(Clone, Debug)]
pub(super) struct Operator;

/// Put into a request by [`guard`], and by nobody else.
#[derive(Clone, Copy)]
struct LetIn;

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<LetIn>().map(|_| Self).ok_or_else(not_good)
    }
}

/// What an operation wants to be told in the log beside that it is done, as an extension of its
/// answer. Never anything that people wrote.
#[derive(Clone, Debug)]
pub(super) struct Told(pub(super) String);

/// Lets an operator through and logs what they do.
pub(super) async fn guard(
    State(admin): State<Arc<Admin>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match judged(&admin, &mut request) {
        Ok((logging, operator)) => logged(&admin, logging, operator, request, next).await,
        Err(refused) => refused.into_response(),
    };
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    response
}

fn judged(admin: &Admin, request: &mut Request) -> Result<(Logging, String), ApiError> {
    // A page of another origin has no token; were one to get hold of it, this is one more wall.
    if request.headers().contains_key(header::ORIGIN) {
        return Err(ApiError::new(ErrorCode::ForeignOrigin, "operators' tools are no web pages"));
    }
    let operator = operator(admin, request.headers()).inspect_err(|_| {
        metrics::counter!("rookery_admin_refused_total").increment(1);
        tracing::warn!("somebody without a good token asked on the operators' listener");
    })?;
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let logging = logging(request.method(), &route.unwrap_or_default());
    request.extensions_mut().insert(LetIn);
    // Without an operation there is nothing to log: the router says what is wrong.
    Ok((logging.unwrap_or(Logging::Never), operator))
}

fn operator(admin: &Admin, headers: &HeaderMap) -> Result<String, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(not_good()) };
    let (scheme, token) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    let bearer = scheme.eq_ignore_ascii_case("bearer");
    admin.credentials.operator(token).filter(|_| bearer).ok_or_else(not_good)
}

fn not_good() -> ApiError {
    ApiError::new(
        ErrorCode::BadToken,
        "send an operator's token as a bearer; see rookery admin token",
    )
}

async fn logged(
    admin: &Arc<Admin>,
    logging: Logging,
    operator: String,
    request: Request,
    next: Next,
) -> Response {
    let (name, first) = match logging {
        Logging::Never => return next.run(request).await,
        Logging::Before(name) => (name, "shown"),
        Logging::Around(name) => (name, "begun"),
    };
    let target = request.uri().path().trim_start_matches("/admin/v1/").to_owned();
    let begun = async {
        let action = Action::new(operator, name, &target)?;
        action.log(admin, first).await.map(|()| action)
    };
    let action = match begun.await {
        Ok(action) => action,
        Err(refused) => return refused.into_response(),
    };
    tracing::info!(operator = action.operator, action = name, action.target, "an operator asked");
    if first == "shown" {
        return next.run(request).await;
    }
    // As a task of its own: an operator who hangs up must not leave an action without its outcome.
    let admin = Arc::clone(admin);
    let running = tokio::spawn(async move {
        let response = next.run(request).await;
        let outcome = match response.extensions().get::<ErrorCode>() {
            Some(code) => format!("refused: {}", code.name()),
            None => match response.extensions().get::<Told>() {
                Some(Told(what)) => format!("done: {what}"),
                None => "done".to_owned(),
            },
        };
        if let Err(error) = action.log(&admin, &outcome).await {
            tracing::error!(?error, outcome, "an action's outcome is missing in the log");
        }
        response
    });
    running.await.unwrap_or_else(|_| {
        ApiError::new(ErrorCode::Internal, "a fault of the node; it was logged").into_response()
    })
}
