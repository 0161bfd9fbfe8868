//! The shim as a program of its own, for tests and for embedders whose binary cannot be re-executed.

use std::process::ExitCode;

fn main() -> ExitCode {
    kontiki_runtime::shim::main(std::env::args_os().skip(1))
}
