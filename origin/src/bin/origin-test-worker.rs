//! The worker as a program of its own, for the tests of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    match transcode::worker::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
