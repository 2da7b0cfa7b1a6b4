//! The binary `rookery-loadtest`: parses the command line, runs, and turns the verdict into the
//! exit status: 0 clean, 1 the oracle or the run found a fault, 2 it could not run.

use std::process::ExitCode;

fn main() -> ExitCode {
    rookery_loadtest::cli::main()
}
