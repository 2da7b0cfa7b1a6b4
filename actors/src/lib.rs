//! The virtual actors and the shards that host them.
