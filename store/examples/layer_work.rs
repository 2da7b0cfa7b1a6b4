//! A fixed amount of the benchmarks' work, for counting the instructions it takes.
//!
//! ```text
//! cargo build --release -p rookery-store --example layer_work
//! for count in 500 1500; do
//!     TMPDIR=/dev/shm valgrind --tool=callgrind --callgrind-out-file=/dev/null \
//!         target/release/examples/layer_work "append alone" memory $count
//! done
//! ```
//!
//! The difference of the two counts of instructions ("Collected"), by the difference of the numbers,
//! is what one operation takes, without start and end. The work is a shape of
//! `benches/shapes/mod.rs`, `history page` or `sync`; the engine `memory` or `embedded`. `plan alone`
//! builds the plans of the first shape and commits nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "what fails stops")]

#[path = "../benches/shapes/mod.rs"]
mod shapes;

use shapes::{SHAPES, fill, history_page, stores, submit, sync};
use std::hint::black_box;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, work, engine, count] = args.as_slice() else {
        panic!("layer_work WORK ENGINE COUNT");
    };
    let count: u64 = count.parse().unwrap();
    let (_, store, _dir) = stores().into_iter().find(|(name, ..)| name == engine).unwrap();
    match work.as_str() {
        "history page" => {
            fill(&store);
            (0..count).for_each(|number| history_page(&store, number));
        }
        "sync" => {
            fill(&store);
            (0..count).for_each(|_| sync(&store));
        }
        "plan alone" => {
            let mut writers = SHAPES[0].writers(&store);
            (0..count).for_each(|_| drop(black_box(SHAPES[0].plans(&mut writers))));
        }
        name => {
            let shape = SHAPES.iter().find(|shape| shape.name == name).unwrap();
            let mut writers = shape.writers(&store);
            (0..count).for_each(|_| submit(&store, shape.plans(&mut writers)));
        }
    }
}
