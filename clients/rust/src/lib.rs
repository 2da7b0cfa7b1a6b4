//! The Rust client of the Rookery protocol.
