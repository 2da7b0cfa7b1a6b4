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
        .args(["build", "--quiet", "-p", "rookery-node"])
        .args(release.then_some("--release"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    if !built.is_ok_and(|status| status.success()) {
        println!("SKIPPED: `cargo build -p rookery-node` failed");
        return None;
    }
    if !binary.is_file() {
        println!("SKIPPED: rookery-node has no binary at {}", binary.display());
        return None;
    }
    Some(binary)
}
