//! The layer above the engines: every operation on the engine in memory, the embedded one, the
//! shared one and, where there is a cluster, FoundationDB; then races and unknown outcomes on the
//! one in memory, where they can be provoked.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod append;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod check;
#[cfg(test)]
mod concurrent;
#[cfg(test)]
mod conversations;
#[cfg(test)]
mod damaged;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod fences;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod history;
#[cfg(test)]
mod inbox;
#[cfg(test)]
mod members;
#[cfg(test)]
mod migrate;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod people;
#[cfg(test)]
mod random;
#[cfg(test)]
mod refresh;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod run;
#[cfg(test)]
mod search;
#[cfg(test)]
mod search_bounds;
#[cfg(test)]
mod sendable;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod support;
