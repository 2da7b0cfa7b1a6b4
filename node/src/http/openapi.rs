//! The description of this API, made from its handlers: `GET /v1/openapi.json`.

use super::{account, api, contacts, conversations, devices, export, search, settings};
use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr};
use utoipa::{Modify, OpenApi};

/// All operations.
#[derive(OpenApi)]
#[openapi(
    info(title = "Rookery", description = "The HTTP side of a chat server; messages travel over \
        the WebSocket, see PROTOCOL.md."),
    modifiers(&BearerScheme),
    paths(
        api::sign_up,
        api::log_in,
        api::refresh,
        api::token,
        api::discover,
        account::show,
        account::change,
        account::password,
        account::delete,
        account::user,
        account::named,
        export::export,
        settings::show,
        settings::change,
        contacts::list,
        contacts::put,
        contacts::remove,
        devices::list,
        devices::revoke,
        conversations::list,
        conversations::show,
        conversations::members,
        conversations::history,
        search::conversation,
        search::all,
    )
)]
struct Api;

/// Adds the way in by a token to a document.
pub(crate) struct BearerScheme;

impl Modify for BearerScheme {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", RefOr::T(SecurityScheme::Http(bearer)));
    }
}

/// The document.
pub(super) async fn document() -> Json<Document> {
    Json(Api::openapi())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_in_the_document_and_nothing_else() {
        // The table of routes can't be asked: its source is read.
        let source = include_str!("mod.rs");
        let routes: BTreeSet<&str> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split('"').next())
            .filter(|path| path.starts_with("/v1/"))
            .collect();
        let elsewhere = BTreeSet::from(["/v1/ws", "/v1/openapi.json"]);
        let document = Api::openapi();
        let told: BTreeSet<&str> = document.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(told, routes.difference(&elsewhere).copied().collect());
        assert!(routes.is_superset(&elsewhere));
    }
}
