//! The description of the operators' API, made from its handlers: `GET /admin/v1/openapi.json`.

use super::{conversations, limits, log, notices, reports, status, users};
use crate::http::BearerScheme;
use axum::Json;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// All operations.
#[derive(OpenApi)]
#[openapi(
    info(title = "Rookery: operators", description = "What operators ask of a node, on a listener \
        of its own. Tokens are made by `rookery admin token`."),
    modifiers(&BearerScheme),
    paths(
        status::show,
        status::drain,
        users::list,
        users::show,
        users::disable,
        users::enable,
        users::revoke,
        users::delete,
        users::invite,
        conversations::list,
        conversations::show,
        reports::list,
        reports::show,
        notices::list,
        notices::post,
        notices::withdraw,
        limits::list,
        limits::set,
        limits::reset,
        log::read,
    )
)]
struct Api;

/// The document.
pub(super) async fn document() -> Json<Document> {
    Json(Api::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::guard::{Logging, logging};
    use axum::http::Method;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_in_the_document_and_has_its_way_into_the_log() {
        let source = include_str!("router.rs");
        let routes: BTreeSet<&str> = source
            .split('"')
            .filter(|text| text.starts_with("/admin/v1/") && !text.ends_with("openapi.json"))
            .collect();
        let document = Api::openapi();
        let told: BTreeSet<&str> = document.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(told, routes);
        let mut around = 0;
        for (route, item) in &document.paths.paths {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::DELETE, &item.delete),
            ];
            for (method, operation) in operations {
                let logged = logging(&method, route);
                assert_eq!(logged.is_some(), operation.is_some(), "{method} {route}");
                // What changes something is logged around it.
                let Some(logged) = logged else { continue };
                let changes = matches!(logged, Logging::Around(_));
                assert_eq!(changes, method != Method::GET, "{method} {route}");
                around += usize::from(changes);
            }
        }
        assert_eq!(around, 10);
    }
}
