//! The `ember` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    emberlm::cli::main()
}
