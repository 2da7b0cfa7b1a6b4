//! Finds the `rookery` binary of this workspace, building it first: a test binary can't depend on
//! the binary of another package.

#![allow(clippy::print_stdout, reason = "a skipped test says why")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The binary beside the harness's; none, with a line that says why, when it can't be built.
pub fn rookery() -> Option<PathBuf> {
    let harness = Path::new(env!("CARGO_BIN_EXE_rookery-loadtest"));
    let binary = harness.with_file_name(format!("rookery{}", std::env::consts::EXE_SUFFIX));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let release = harness.parent().is_some_and(|d| d.ends_with("release"));
    let built = Command::new(cargo)
        // As `cargo test --workspace` has just built it: one package alone has other features of
        // its dependencies, and would build all of them again.
        .args(["build", "--quiet", "--workspace", "--bins", "--tests"])
        .args(release.then_some("--release"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    if !built.is_ok_and(|status| status.success()) {
        println!("SKIPPED: `cargo build --workspace --bins --tests` failed");
        return None;
    }
    if !binary.is_file() {
        println!("SKIPPED: rookery-node has no binary at {}", binary.display());
        return None;
    }
    Some(binary)
}
