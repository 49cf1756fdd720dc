//! The worker as a program of its own, for the tests of this crate.
//!
//! With `--without RENDITION FROM TO` it is one that has no time for a rendition in some segments of its epoch: what a real
//! worker makes of that rendition there is left out, and told as such.

use bytes::BytesMut;
use std::error::Error;
use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use transcode::wire::{FromWorker, decode, encode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match &args[..] {
        [flag, absence @ ..] if flag == "--without" => without(absence),
        _ => transcode::worker::main().map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the worker, and passes on what it says but for the absence of a rendition.
fn without(absence: &[String]) -> Result<(), Box<dyn Error>> {
    let [absent, from, to] = absence else {
        return Err("say which rendition is absent, from where, and to where".into());
    };
    let (absent, from, to): (u16, u64, u64) = (absent.parse()?, from.parse()?, to.parse()?);
    let mut worker = Command::new(std::env::current_exe()?).stdout(Stdio::piped()).spawn()?;
    let mut from_worker = worker.stdout.take().ok_or("no pipe")?;
    let (mut said, mut out, mut chunk) = (BytesMut::new(), BytesMut::new(), [0; 1 << 16]);
    let mut segments = 0;
    loop {
        let count = from_worker.read(&mut chunk)?;
        said.extend_from_slice(&chunk[..count]);
        while let Some(message) = decode::<FromWorker>(&mut said)? {
            if let FromWorker::Frame { rendition, frame } = &message
                && *rendition == absent
            {
                segments += u64::from(frame.keyframe);
                let segment = segments - 1;
                let turn = |every| FromWorker::Turn { rendition: absent, segment, every };
                if frame.keyframe && segment == from {
                    encode(&turn(0), &mut out)?;
                }
                if frame.keyframe && segment == to {
                    encode(&turn(1), &mut out)?;
                }
                if (from..to).contains(&segment) {
                    continue;
                }
            }
            encode(&message, &mut out)?;
        }
        std::io::stdout().write_all(&out)?;
        std::io::stdout().flush()?;
        out.clear();
        if count == 0 {
            return Ok(());
        }
    }
}
