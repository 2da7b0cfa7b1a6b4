//! Metrics: one recorder a process, served in Prometheus' text form on a listener of its own.
//!
//! There is no access control on it, hence the own listener, on loopback unless told otherwise.

use crate::http::{ApiError, ErrorCode};
use crate::process;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// Bounds of the histograms of times, in seconds.
const SECONDS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// Time between two rounds of folding what was recorded into the histograms.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process, started at the first call. `None` when some other recorder was
/// there first: then nothing is served.
#[must_use]
pub fn recorder() -> Option<PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS);
        match builder.and_then(PrometheusBuilder::install_recorder) {
            Ok(handle) => Some(handle),
            Err(error) => {
                tracing::error!(%error, "metrics are off");
                None
            }
        }
    };
    RECORDER.get_or_init(install).clone()
}

/// Keeps the recorder from growing; runs until it is dropped.
pub(crate) async fn upkeep(handle: PrometheusHandle) {
    let mut rounds = tokio::time::interval(UPKEEP);
    loop {
        rounds.tick().await;
        handle.run_upkeep();
    }
}

/// `GET /metrics`, and what operators ask.
pub(crate) fn router(handle: PrometheusHandle, admin: Router) -> Router {
    Router::new()
        .route("/metrics", get(render))
        .fallback(async || ApiError::new(ErrorCode::NotFound, "metrics are at /metrics"))
        .with_state(handle)
        .merge(admin)
}

async fn render(State(handle): State<PrometheusHandle>) -> Response {
    let mut text = handle.render();
    text.push_str(&process::metrics_text());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
