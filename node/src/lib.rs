//! The rookery binary: gateway, HTTP API, metrics, page.
