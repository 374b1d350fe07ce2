//! The `keepwatch` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    keepwatch::command::main()
}
