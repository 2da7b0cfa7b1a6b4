//! The fuzzer: libFuzzer around one target, which `ROOKERY_FUZZ_TARGET` names.
//!
//! One binary for all targets, because linking is what costs; `fuzz/run` builds and starts it.

#![no_main]
#![allow(unsafe_code, reason = "the entry points that libFuzzer calls")]

use libfuzzer_sys::fuzz_target;
use rookery_fuzz::{TARGETS, Target, target};
use std::sync::LazyLock;

/// The target of this process.
static CHOSEN: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("ROOKERY_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = target(&name) else {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        let names = names.join(" ");
        #[expect(clippy::print_stderr, reason = "a program that tells what it needs")]
        {
            eprintln!("set ROOKERY_FUZZ_TARGET to one of: {names}");
        }
        std::process::exit(2);
    };
    target
});

/// Writes the target's seeds to the directory that `ROOKERY_FUZZ_SEEDS` names, if it does.
fn write_seeds() {
    let Some(dir) = std::env::var_os("ROOKERY_FUZZ_SEEDS") else { return };
    for (at, seed) in (CHOSEN.seeds)().iter().enumerate() {
        let file = std::path::Path::new(&dir).join(format!("seed-{at}"));
        assert!(std::fs::write(&file, seed).is_ok(), "can't write {}", file.display());
    }
}

fuzz_target!(
    init: write_seeds(),
    |bytes: &[u8]| {
        (CHOSEN.run)(bytes);
    }
);
