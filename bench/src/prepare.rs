//! What a fresh machine lacks: `vivid` is built, and peers and clients are installed, by the command that people would use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs `make bench-parts`. What fails is told and no reason to stop: what is missing then is named in the results.
pub(crate) fn parts() {
    let Some(root) = root().filter(|root| root.join("Makefile").is_file()) else { return };
    eprintln!("make bench-parts: building vivid and looking for its peers");
    // Standard output is for results.
    let made = Command::new("make").arg("bench-parts").current_dir(root).stdout(Stdio::null()).status();
    match made {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("make bench-parts ended with {status}; what it did not bring is left out"),
        Err(error) => eprintln!("make cannot be run ({error}); what is missing is left out"),
    }
}

/// Where this program's sources are.
fn root() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned)
}
