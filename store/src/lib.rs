//! The key schema, the transactions, and the engines under them.
