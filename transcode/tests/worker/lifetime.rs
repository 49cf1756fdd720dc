//! How workers start and end, and what is said of it.

use crate::clip::Recipe;
use crate::run::{DEADLINE, collect, job, patient, program, start};
use bytes::{Bytes, BytesMut};
use media::{AvcConfig, Frame, FrameRate, TrackKind};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use transcode::wire::{self, FromWorker, Message, ToWorker};
use transcode::{EndReason, Input, Job, Limits, Made, Metrics, Source, Worker, WorkerError, WorkerProgram};

fn shell(script: &str) -> WorkerProgram {
    WorkerProgram { path: PathBuf::from("/bin/sh"), args: vec!["-c".into(), script.into()] }
}

/// A job that no decoder will like, for programs that are no decoders.
fn any_job() -> Job {
    let video = AvcConfig { record: Bytes::from_static(b"\x01"), width: 640, height: 480 };
    job(&Source { video, audio: None, rate: FrameRate::new(30, 1).unwrap(), gop: Some(60) }, &[240])
}

fn any_frame(index: i64) -> Input {
    let pts = index * 1000;
    Input::Video(Frame { kind: TrackKind::Video, dts: pts, pts, keyframe: true, data: Bytes::from_static(b"frame") })
}

async fn ending(program: &WorkerProgram, limits: &Limits, frames: i64) -> EndReason {
    let (input, made, _) = start(program, &any_job(), limits);
    for index in 0..frames {
        // The worker may be gone already, which is what is tested.
        let _ = input.send(any_frame(index)).await;
    }
    let (_, reason) = tokio::time::timeout(DEADLINE, collect(made, 2)).await.expect("no end");
    reason
}

#[tokio::test]
async fn a_worker_that_is_killed_says_so() {
    let clip = Recipe::default().clip();
    let (input, mut made, _) = start(&program(), &job(&clip.source, &[240]), &patient());
    for frame in &clip.inputs[..50] {
        input.send(frame.clone()).await.unwrap();
    }
    let first = tokio::time::timeout(DEADLINE, made.recv()).await.unwrap();
    assert!(matches!(first, Some(Made::Track { .. })), "{first:?}");
    kill(input.pid().unwrap());
    let rest = async {
        loop {
            if let Made::Ended { reason } = made.recv().await.unwrap() {
                return reason;
            }
        }
    };
    let reason = tokio::time::timeout(DEADLINE, rest).await.unwrap();
    assert_eq!(reason.to_string(), "it died with signal: 9 (SIGKILL)");
}

#[tokio::test]
async fn a_worker_whose_frames_nobody_wants_is_killed() {
    let (input, made, _) = start(&shell("exec cat >/dev/null"), &any_job(), &patient());
    drop(made);
    let mut index = 0;
    tokio::time::timeout(DEADLINE, async {
        while input.send(any_frame(index)).await.is_ok() {
            index += 1;
        }
    })
    .await
    .expect("the worker lives on");
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed() {
    let limits = Limits { hang: Duration::from_millis(200), ..Limits::default() };
    let reason = ending(&shell("exec cat >/dev/null"), &limits, 100).await;
    assert_eq!(reason, EndReason::Hung(limits.hang));
}

#[tokio::test]
async fn a_worker_that_falls_behind_is_ended_and_not_waited_for() {
    let limits = Limits { queue: 4, ..patient() };
    let (input, made, registry) = start(&shell("exec sleep 600"), &any_job(), &limits);
    // More than the queue and any pipe hold.
    let big = |index| {
        Input::Video(Frame {
            kind: TrackKind::Video,
            dts: index,
            pts: index,
            keyframe: true,
            data: vec![0; 1 << 20].into(),
        })
    };
    let mut index = 0;
    let refusal = loop {
        if let Err(error) = input.try_send(big(index)) {
            break error;
        }
        index += 1;
        assert!(index < 100, "nothing bounds the queue");
    };
    assert!(matches!(refusal, WorkerError::Full));
    let (_, reason) = tokio::time::timeout(DEADLINE, collect(made, 2)).await.unwrap();
    assert_eq!(reason, EndReason::Overrun(4));
    let families = registry.gather();
    let value = |name: &str| {
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric()[0].get_counter().get_value()
    };
    assert_eq!(value("vivid_transcode_frames_refused_total"), 1.0);
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_told_apart() {
    let reason = ending(&shell("cat /bin/sh"), &patient(), 0).await;
    assert!(matches!(reason, EndReason::Protocol(_)), "{reason:?}");
    let reason = ending(&shell("exit 3"), &patient(), 0).await;
    assert_eq!(reason.to_string(), "it died with exit status: 3");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let program = WorkerProgram { path: PathBuf::from("/nonexistent/vivid"), args: Vec::new() };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let error = Worker::start(&program, &any_job(), &patient(), &metrics).unwrap_err();
    assert!(error.to_string().starts_with("cannot start the transcoding worker /nonexistent/vivid"), "{error}");
}

#[tokio::test]
async fn an_encoder_that_does_not_open_is_explained() {
    let clip = Recipe { seconds: 1, ..Recipe::default() }.clip();
    let mut job = job(&clip.source, &[240]);
    let transcode::Make::Video(rung) = &mut job.plan.renditions[1].make else { panic!("a rung") };
    "swift".clone_into(&mut rung.preset);
    let (input, made, _) = start(&program(), &job, &patient());
    for frame in clip.inputs {
        let _ = input.send(frame).await;
    }
    let (_, reason) = tokio::time::timeout(DEADLINE, collect(made, 3)).await.unwrap();
    let EndReason::Failed(words) = reason else { panic!("{reason:?}") };
    assert!(words.starts_with("cannot open an encoder"), "{words}");
}

#[tokio::test]
async fn dropping_the_input_finishes_the_work() {
    let clip = Recipe::default().clip();
    let (input, made, _) = start(&program(), &job(&clip.source, &[240]), &patient());
    let feed = async move {
        for frame in clip.inputs {
            input.send(frame).await.unwrap();
        }
    };
    let ((collected, reason), ()) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(collect(made, 3), feed) }).await.unwrap();
    assert_eq!(reason, EndReason::Finished);
    assert_eq!(collected[1].frames.len(), 120);
}

/// Whatever part of the pipe breaks, and whatever the worker waits for then, it ends by itself: its origin may have been
/// killed.
#[tokio::test]
async fn a_worker_ends_with_its_origin() {
    let clip = Recipe { seconds: 1, ..Recipe::default() }.clip();
    let job = job(&clip.source, &[240]);
    for (closed, fed) in [("input", 0), ("output", 0), ("output", 5), ("output", clip.inputs.len())] {
        let (input, output) = (Stdio::piped(), Stdio::piped());
        let mut child = Command::new(program().path).stdin(input).stdout(output).spawn().expect("worker");
        let pid = child.id();
        let (job, inputs) = (job.clone(), clip.inputs[..fed].to_vec());
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            // What is not closed stays open until the worker is gone.
            let mut pipes = (child.stdin.take(), child.stdout.take());
            greet(pipes.0.as_mut().unwrap(), pipes.1.as_mut().unwrap(), job);
            if closed == "input" {
                drop(pipes.0.take())
            } else {
                drop(pipes.1.take())
            }
            for input in inputs {
                let (Input::Video(frame) | Input::Audio(frame)) = input else { continue };
                if write(pipes.0.as_mut().unwrap(), &ToWorker::Frame(frame)).is_err() {
                    break;
                }
            }
            ended.send(child.wait())
        });
        let Ok(status) = tokio::time::timeout(DEADLINE, end).await else {
            kill(pid);
            panic!("with its {closed} closed after {fed} frames it lives on");
        };
        assert!(status.unwrap().unwrap().code().is_some(), "it ends by itself");
    }
}

fn greet(input: &mut impl Write, output: &mut impl Read, job: Job) {
    let Limits { keeping, hardware, quality, .. } = Limits::default();
    write(input, &ToWorker::Hello { job: Box::new(job), backlog_max: 10_000, keeping, hardware, quality }).unwrap();
    let mut hello = [0; 7];
    output.read_exact(&mut hello).unwrap();
    assert_eq!(FromWorker::read(Bytes::copy_from_slice(&hello[4..])), Ok(FromWorker::Hello));
}

fn kill(pid: u32) {
    let killed = Command::new("/bin/sh").arg("-c").arg(format!("kill -KILL {pid}")).status().unwrap();
    assert!(killed.success());
}

fn write(pipe: &mut impl Write, message: &impl Message) -> std::io::Result<()> {
    let mut bytes = BytesMut::new();
    wire::encode(message, &mut bytes).unwrap();
    pipe.write_all(&bytes)
}
