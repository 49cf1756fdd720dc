//! Trials of encoders: each in a process of its own with a deadline, as drivers crash and hang.

use crate::WorkerProgram;
use crate::hardware::{Engine, Trial, candidates};
use crate::supervise::command;
use crate::wire::{self, FromWorker, ToWorker};
use bytes::BytesMut;
use config::{Hardware, VideoCodec};
use ffmpeg_next::encoder;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Encoding a second of small pictures takes a fraction of one; a driver may take a few to begin.
const DEADLINE: Duration = Duration::from_secs(10);
/// Of what FFmpeg says of a failure: its first line tells the cause.
const WORDS_BYTES_MAX: u64 = 4096;

/// Tries every encoder of this machine's devices that may be chosen where `wanted` is configured. With [`Hardware::Auto`] it
/// is not tried where no device is there: on most machines this does nothing, at once.
pub async fn trials(program: &WorkerProgram, wanted: Hardware) -> Vec<Trial> {
    let mut running = JoinSet::new();
    for name in
        candidates(wanted).iter().filter(|engine| wanted != Hardware::Auto || is_there(**engine)).flat_map(names)
    {
        let program = program.clone();
        running
            .spawn(async move { Trial { encoder: name.to_owned(), fault: try_encoder(&program, name).await.err() } });
    }
    let mut trials = running.join_all().await;
    trials.sort_by(|a, b| a.encoder.cmp(&b.encoder));
    for Trial { encoder, fault } in &trials {
        match fault {
            None => tracing::info!(encoder, "a device's encoder works"),
            Some(fault) => tracing::info!(encoder, fault, "a device's encoder is of no use here"),
        }
    }
    trials
}

/// Encodes a few pictures with an encoder of this name, of a device or of software, in a process of its own.
///
/// # Errors
/// Why it is of no use, in a few words.
pub async fn try_encoder(program: &WorkerProgram, encoder: &str) -> Result<(), String> {
    let mut child = command(program).spawn().map_err(|error| format!("cannot be tried: {error}"))?;
    match timeout(DEADLINE, tried(&mut child, encoder)).await {
        Ok(result) => result,
        // The process ends with its handle.
        Err(_) => Err(format!("came to no end in {DEADLINE:?}")),
    }
}

async fn tried(child: &mut Child, encoder: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot be tried: {error}");
    let pipes = child.stdin.take().zip(child.stdout.take()).zip(child.stderr.take());
    let ((mut input, mut output), stderr) = pipes.ok_or("cannot be tried")?;
    let mut message = BytesMut::new();
    wire::encode(&ToWorker::Trial { encoder: encoder.to_owned() }, &mut message).map_err(|error| error.to_string())?;
    let (mut answer, mut words) = (Vec::new(), Vec::new());
    let ask = async {
        // A process that has died reads nothing; how it did is told below.
        let _ = input.write_all(&message).await;
        drop(input);
    };
    let mut stderr = stderr.take(WORDS_BYTES_MAX);
    let listen = async {
        let read = stderr.read_to_end(&mut words).await;
        // What is too much is thrown away, so that the process can go on.
        read.and(tokio::io::copy(stderr.get_mut(), &mut tokio::io::sink()).await)
    };
    let (_, said, heard) = tokio::join!(ask, output.read_to_end(&mut answer), listen);
    said.map_err(failed)?;
    heard.map_err(failed)?;
    let mut answer = BytesMut::from(&answer[..]);
    while let Ok(Some(message)) = wire::decode(&mut answer) {
        match message {
            FromWorker::Tried { fault: None } => return Ok(()),
            FromWorker::Tried { fault: Some(fault) } => return Err(with_cause(fault, &words)),
            FromWorker::Failed { reason } => return Err(reason),
            _ => {}
        }
    }
    let status = child.wait().await.map_err(failed)?;
    Err(with_cause(format!("took its process with it: {status}"), &words))
}

/// What FFmpeg said first, without the name and the address before it: `[h264_nvenc @ 0x55d0] Cannot load libcuda.so.1`.
fn with_cause(fault: String, words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    let first = words.lines().map(|line| line.split_once("] ").map_or(line, |(_, line)| line).trim());
    match first.into_iter().find(|line| !line.is_empty()) {
        Some(cause) => format!("{fault} ({cause})"),
        None => fault,
    }
}

/// Those that this build of FFmpeg has.
fn names(engine: &Engine) -> impl Iterator<Item = &'static str> + use<> {
    let engine = *engine;
    let names = VideoCodec::ALL.into_iter().filter_map(move |codec| engine.encoder(codec));
    names.filter(|name| encoder::find_by_name(name).is_some())
}

/// Whether a device may be there at all: by the files of its driver, as Linux names them.
fn is_there(engine: Engine) -> bool {
    let files: &[&str] = match engine {
        Engine::Software => return true,
        // The last is that of Windows' Linux.
        Engine::Nvenc => &["/dev/nvidiactl", "/dev/dxg"],
        Engine::Qsv | Engine::Vaapi => &["/dev/dri"],
    };
    files.iter().any(|file| Path::new(file).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_what_ffmpeg_says_first() {
        let words = b"\n[h264_nvenc @ 0x55d0] Cannot load libcuda.so.1\n[h264_nvenc @ 0x55d0] The minimum is 1\n";
        assert_eq!(with_cause("fails".to_owned(), words), "fails (Cannot load libcuda.so.1)");
        assert_eq!(with_cause("fails".to_owned(), b""), "fails");
        assert_eq!(with_cause("fails".to_owned(), b"plain\n"), "fails (plain)");
    }

    #[tokio::test]
    async fn a_driver_that_takes_its_process_with_it_is_of_no_use() {
        let shell = |script: &str| WorkerProgram { path: "/bin/sh".into(), args: vec!["-c".into(), script.into()] };
        let told = try_encoder(&shell("echo out of memory >&2; kill -SEGV $$"), "h264_nvenc").await.unwrap_err();
        assert!(told.contains("signal: 11") && told.ends_with("(out of memory)"), "{told}");
        let none = WorkerProgram { path: "/none".into(), args: Vec::new() };
        assert!(try_encoder(&none, "h264_nvenc").await.unwrap_err().starts_with("cannot be tried: "));
        assert_eq!(trials(&none, Hardware::Off).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_hangs_is_of_no_use() {
        let hangs = WorkerProgram { path: "/bin/sleep".into(), args: vec!["60".into()] };
        assert_eq!(try_encoder(&hangs, "h264_vaapi").await.unwrap_err(), "came to no end in 10s");
    }
}
