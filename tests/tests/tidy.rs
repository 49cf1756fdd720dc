//! Style and structure as tests: the arrows of the house, pure rooms, and promises that documents make.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use toml::Table;

/// Which own crates a crate may use. Nobody may use `tests`, `bench` or `cli`.
const ARROWS: [(&str, &[&str]); 12] = [
    ("media", &[]),
    ("manifest", &[]),
    ("cmcd", &[]),
    ("config", &[]),
    ("geo", &[]),
    ("transcode", &["config", "media"]),
    ("origin", &["config", "manifest", "media", "transcode"]),
    ("edge", &["cmcd", "config", "geo", "manifest"]),
    ("router", &["cmcd", "config", "geo", "manifest"]),
    ("cli", &["config", "edge", "geo", "media", "origin", "router", "transcode"]),
    ("tests", &["cmcd", "config", "edge", "geo", "manifest", "media", "origin", "router", "transcode"]),
    ("bench", &["cmcd", "config", "edge", "geo", "manifest", "media", "origin", "router", "transcode"]),
];

/// Crates whose values know no runtime.
const PURE_CRATES: [&str; 4] = ["media", "manifest", "cmcd", "config"];

/// What a pure module does not say.
const IMPURE: [&str; 6] = ["tokio::", "std::net", "std::fs", "Instant::now", "SystemTime::now", "pingora::"];

const LINES_MAX: usize = 600;

#[test]
fn arrows_between_crates_are_the_designed_ones() {
    let own: BTreeSet<_> = ARROWS.iter().map(|(name, _)| *name).collect();
    let members: BTreeSet<_> = manifest("Cargo.toml")["workspace"]["members"]
        .as_array()
        .expect("members")
        .iter()
        .filter_map(|member| member.as_str().map(str::to_owned))
        .collect();
    assert_eq!(members, own.iter().map(|name| (*name).to_owned()).collect(), "the table names every crate");
    for (name, allowed) in ARROWS {
        for dependency in dependencies(name).iter().filter(|dependency| own.contains(dependency.as_str())) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not know {dependency}");
        }
    }
}

#[test]
fn pure_crates_have_no_runtime() {
    for name in PURE_CRATES {
        for dependency in dependencies(name) {
            let runtime = ["tokio", "pingora", "hyper", "axum", "reqwest"].iter().any(|r| dependency.starts_with(r));
            assert!(!runtime, "{name} must not know {dependency}");
        }
    }
}

#[test]
fn modules_named_as_pure_are_pure() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, list) = text.split_once("<!-- pure -->").expect("the list of pure modules begins");
    let (list, _) = list.split_once("<!-- /pure -->").expect("the list of pure modules ends");
    let files: Vec<_> = list.split('`').skip(1).step_by(2).collect();
    assert!(files.len() >= 10, "the list is empty");
    for file in files {
        let source =
            fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file} is named as pure, and absent"));
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for word in IMPURE {
            assert!(!code.contains(word), "{file} is named as pure and says {word}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, source) in sources(&root(), "rs") {
        // A fuzz target begins with the attribute that the fuzzer needs.
        let first = source.trim_start_matches("#![no_main]").trim_start();
        assert!(first.starts_with("//! "), "{} begins without //!", path.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!("), concat!("#[ig", "nore]")];
    for (path, source) in sources(&root(), "rs").into_iter().chain(sources(&root().join("player"), "ts")) {
        for word in words {
            assert!(!source.contains(word), "{} says {word}", path.display());
        }
    }
}

#[test]
fn tests_do_not_sleep() {
    let sleep = [concat!("thread::", "sleep"), concat!("time::", "sleep("), concat!("sleep_", "until(")];
    for (path, source) in sources(&root(), "rs") {
        let in_tests = path.components().any(|part| part.as_os_str() == "tests");
        let code =
            if in_tests { source.as_str() } else { source.split_once("#[cfg(test)]").map_or("", |(_, tests)| tests) };
        for word in sleep {
            assert!(!code.contains(word), "{} sleeps in a test", path.display());
        }
    }
}

#[test]
fn files_say_one_thing() {
    for (path, source) in sources(&root(), "rs").into_iter().chain(sources(&root().join("player"), "ts")) {
        let lines = source.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn documented_metrics_are_the_registered_ones() {
    let docs = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md");
    let documented: BTreeSet<_> = metric_names(&docs, '`');
    let registered: BTreeSet<_> = ["origin", "transcode", "edge", "router", "cli"]
        .iter()
        .flat_map(|name| sources(&root().join(name).join("src"), "rs"))
        .flat_map(|(_, source)| metric_names(source.split("#[cfg(test)]").next().unwrap_or_default(), '"'))
        .collect();
    assert_eq!(documented, registered, "docs/metrics.md and the code differ");
}

#[test]
fn every_command_of_the_readme_exists() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let makefile = fs::read_to_string(root().join("Makefile")).expect("Makefile");
    let mut commands = 0;
    for line in readme.split("```").skip(1).step_by(2).flat_map(str::lines) {
        if let Some(target) = line.trim_start_matches("$ ").strip_prefix("make ") {
            let target = target.split_whitespace().next().unwrap_or_default();
            assert!(makefile.contains(&format!("\n{target}:")), "the README says make {target}");
            commands += 1;
        }
    }
    assert!(commands >= 2, "the README shows make run and make test");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn manifest(path: &str) -> Table {
    fs::read_to_string(root().join(path)).expect(path).parse().expect(path)
}

/// Names of what a crate's own code uses; tests of a crate may use more.
fn dependencies(name: &str) -> Vec<String> {
    let manifest = manifest(&format!("{name}/Cargo.toml"));
    manifest
        .get("dependencies")
        .and_then(|table| table.as_table())
        .map(|table| table.keys().cloned().collect())
        .unwrap_or_default()
}

/// Every file below `folder` with that ending, except what is built or fetched.
fn sources(folder: &Path, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() {
                let skip = ["target", "node_modules", "dist", ".git", "corpus"].iter().any(|skip| name == *skip);
                folders.extend((!skip).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == ending) {
                let source = fs::read_to_string(&path).expect("UTF-8");
                found.push((path, source));
            }
        }
    }
    assert!(!found.is_empty(), "no .{ending} below {}", folder.display());
    found
}

/// Names such as `vivid_edge_holds` between two marks.
fn metric_names(text: &str, mark: char) -> BTreeSet<String> {
    let name = |word: &&str| {
        word.starts_with("vivid_")
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.split(mark).filter(name).map(str::to_owned).collect()
}
