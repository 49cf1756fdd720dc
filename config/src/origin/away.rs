//! `origin.ingest.while_away`: what viewers are told while a stream's publisher is away.

use crate::Problem;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhileAway {
    /// Nothing: playlists stand still, and who would wait is told to ask again.
    #[default]
    Wait,
    /// A gap for each segment that does not come, once something does: live time goes on.
    Gap,
    /// The pictures and the sound of a file.
    Slate,
}

/// The file, where there is to be one.
pub(super) fn slate(problems: &mut Vec<Problem>, away: WhileAway, path: Option<PathBuf>) -> Option<PathBuf> {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    match (away, &path) {
        (WhileAway::Slate, None) => {
            let text = "is missing, while while_away is \"slate\"; name an FLV file of H.264 and AAC, for example \"/etc/vivid/slate.flv\"";
            problems.push(Problem::new("origin.ingest.slate", text));
        }
        (WhileAway::Wait | WhileAway::Gap, Some(_)) => {
            let text = "is of no use; write while_away = \"slate\" as well, or leave it out";
            problems.push(Problem::new("origin.ingest.slate", text));
        }
        (WhileAway::Slate, Some(_)) | (WhileAway::Wait | WhileAway::Gap, None) => {}
    }
    path
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_slate_is_a_file_that_is_to_be_shown() {
        let told = |text: &str| {
            let found = Config::parse(&format!("[origin.ingest]\n{text}\n"), []).err().unwrap_or_default();
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        assert_eq!(told("while_away = \"slate\"\nslate = \"/a.flv\""), "");
        assert!(told("while_away = \"slate\"").contains("origin.ingest.slate: is missing"));
        assert!(told("while_away = \"slate\"\nslate = \"\"").contains("origin.ingest.slate: is missing"));
        assert!(told("while_away = \"gap\"\nslate = \"/a.flv\"").contains("origin.ingest.slate: is of no use"));
    }
}
