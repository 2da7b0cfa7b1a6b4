//! The contract suite: every engine must behave alike. A case is a function over an engine; the
//! lines at the end make a test of each case (`contract/list.rs`) for each engine.
//!
//! A new engine adds one line there. Cases of one engine alone are in their own files
//! (`contract_embedded.rs`, `contract_memory.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the cases are functions outside of #[test]; a panic is how they fail"
)]

mod contract {
    pub mod cases;
    pub mod concurrent;
    pub mod harness;
    pub mod list;
    pub mod model;
    pub mod stamps;
}

use contract::harness::Subject;
use contract::list::every_case;
use contract::{cases, concurrent, model, stamps};

/// A test of every case on one engine.
macro_rules! engine {
    ($engine:ident: $make:expr; $($file:ident: $($case:ident)+;)+) => {
        mod $engine {
            use super::*;
            $($(
                #[test]
                fn $case() {
                    // Without its cluster an engine has nothing to test.
                    if let Some(subject) = $make {
                        $file::$case(&subject.engine);
                    }
                }
            )+)+
        }
    };
}

every_case! { engine! memory: Some(Subject::memory()) }
every_case! { engine! embedded: Some(Subject::embedded()) }
every_case! { engine! shared: Some(Subject::shared()) }
#[cfg(feature = "fdb")]
every_case! { engine! fdb: Subject::fdb() }

/// Built without the feature, the engine on FoundationDB can't be tried.
#[cfg(not(feature = "fdb"))]
#[test]
fn fdb() {
    println!("SKIPPED: built without the feature fdb (store/FOUNDATIONDB.md says how to run it)");
}
