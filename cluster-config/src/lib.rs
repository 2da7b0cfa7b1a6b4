//! Typed, validated configuration of a Rookery node and cluster.
