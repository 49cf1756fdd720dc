//! What `scripts/need` says to a person whose machine lacks something: one sentence that says what to do.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A machine that has what every system has, and `programs`: name and shell script.
struct Machine(tempfile::TempDir);

impl Machine {
    fn with(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tools = [
            "awk", "bash", "cat", "chmod", "dirname", "env", "grep", "ldd", "rm", "sed", "sh", "sort", "tee", "touch",
            "tr",
        ];
        for tool in tools.into_iter().filter(|tool| programs.iter().all(|(name, _)| name != tool)) {
            let found =
                Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().expect("a shell").stdout;
            let found = String::from_utf8(found).expect("a path");
            symlink(found.trim(), folder.path().join(tool)).expect("a link");
        }
        for (name, script) in programs {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("runnable");
        }
        Self(folder)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/need");
        let mut command = Command::new(script);
        command.args(arguments).env_clear().env("PATH", self.0.path()).env("HOME", self.0.path());
        command
    }

    /// The one line that the script ends with, without success.
    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success(), "{arguments:?}: {said}");
        let last = said.lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("vivid: "), "{arguments:?}: {said}");
        last
    }
}

const ROOT: (&str, &str) = ("id", "echo 0");
const USER: (&str, &str) = ("id", "echo 1000");
const APT: (&str, &str) = ("apt-get", "exit 0");

#[test]
fn without_apt_get_it_says_what_debian_would_install() {
    for (need, package) in
        [("cargo", "cmake"), ("ffmpeg", "libavcodec-dev"), ("node", "nodejs"), ("chromium", "chromium")]
    {
        let said = Machine::with(&[ROOT]).refusal(&[need]);
        assert!(said.contains("on Debian that is: apt-get install") && said.contains(package), "{said}");
    }
}

#[test]
fn without_root_and_sudo_it_says_what_root_is_to_do() {
    let said = Machine::with(&[USER, APT]).refusal(&["node"]);
    assert!(said.contains("run as root: apt-get install nodejs npm"), "{said}");
}

/// What is installed is a server that Debian would start, and one unit was there before.
#[test]
fn a_server_that_is_installed_is_not_started() {
    let apt = "root=$NEED_ROOT
        [ $1 = install ] || exit 0
        \"$root/usr/sbin/policy-rc.d\"; [ $? = 101 ] && touch \"$root/lib/systemd/system/new.service\"";
    for (apt, installs) in [(apt, true), ("[ $1 = update ]", false)] {
        let machine = Machine::with(&[ROOT, ("apt-get", apt), ("systemctl", "echo \"$@\" >>\"$HOME/told\"")]);
        let root = machine.0.path();
        let (policy, units) = (root.join("usr/sbin/policy-rc.d"), root.join("lib/systemd/system"));
        for folder in [&root.join("usr/sbin"), &units] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        std::fs::write(units.join("old.service"), "").expect("written");
        for owners in [None, Some("#!/bin/sh\nexit 101\n")] {
            if let Some(text) = owners {
                std::fs::write(&policy, text).expect("written");
                std::fs::set_permissions(&policy, PermissionsExt::from_mode(0o755)).expect("runnable");
            }
            let output = machine.command(&["nginx"]).env("NEED_ROOT", root).output().expect("it runs");
            assert_eq!(output.status.success(), installs, "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(std::fs::read_to_string(&policy).ok().as_deref(), owners, "as it was");
        }
        let told = std::fs::read_to_string(root.join("told")).unwrap_or_default();
        assert_eq!(told, if installs { "-q disable new.service\n" } else { "" });
    }
}

#[test]
fn without_a_network_it_says_that_nothing_was_installed() {
    let said = Machine::with(&[ROOT, ("apt-get", "exit 100")]).refusal(&["node"]);
    assert!(said.contains("did not install Node.js 18 or later") && said.contains("is there a network?"), "{said}");
    let tools = [("cc", ""), ("cmake", ""), ("curl", "exit 6"), ("sh", "exit 1")];
    let said = Machine::with(&[&[ROOT, APT], &tools[..]].concat()).refusal(&["cargo"]);
    assert!(said.contains("rustup did not install Rust; install Rust 1."), "{said}");
}

#[test]
fn what_is_too_old_is_not_taken_for_what_is_needed() {
    let tools = [("cc", ""), ("cmake", ""), ("cargo", "echo cargo 1.63.0"), ("rustup", "exit 1")];
    let said = Machine::with(&[&[ROOT, APT], &tools[..]].concat()).refusal(&["cargo"]);
    assert!(said.contains("rustup did not install Rust"), "{said}");
    let tools = [("cc", ""), ("cmake", ""), ("cargo", "echo cargo 1.63.0"), ("rustup", "exit 0")];
    let said = Machine::with(&[&[ROOT, APT], &tools[..]].concat()).refusal(&["cargo"]);
    assert!(said.contains("or later, and rustup left cargo 1.63.0"), "{said}");
    let node = ("node", "case $1 in -p) echo 12 ;; *) echo v12.22.12 ;; esac");
    let said = Machine::with(&[ROOT, APT, node, ("npm", "")]).refusal(&["node"]);
    assert!(said.contains("needs Node.js 18 or later") && said.contains("is v12.22.12"), "{said}");
}

#[test]
fn a_program_that_cannot_be_loaded_is_said_with_what_it_lacks() {
    let said = Machine::with(&[ROOT]).refusal(&["libraries", "/nowhere/vivid"]);
    assert!(said.contains("/nowhere/vivid does not run on this machine"), "{said}");
    let lacking = ("ldd", "echo 'libavcodec.so.59 => not found'; echo 'libc.so.6 => /lib/libc.so.6'");
    let said = Machine::with(&[ROOT, lacking]).refusal(&["libraries", "vivid"]);
    assert!(said.contains("needs libavcodec.so.59 which") && said.contains("apt-get install libavcodec59"), "{said}");
}
