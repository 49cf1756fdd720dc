//! Encoders of devices: trials of them, and what a rung has where none works. There is no device where this runs.

use crate::clip::Recipe;
use crate::run::{DEADLINE, collect, job, patient, program, start};
use config::Hardware;
use transcode::{EndReason, Input, Limits, Trial, trials, try_encoder};

#[tokio::test]
async fn a_trial_is_an_encoding_in_a_process_of_its_own() {
    for encoder in ["libx264", "libx265", "libsvtav1", "libvpx-vp9"] {
        assert_eq!(try_encoder(&program(), encoder).await, Ok(()), "{encoder}");
    }
    let told = try_encoder(&program(), "made-up").await.unwrap_err();
    assert!(told.contains("no encoder of this name"), "{told}");
}

/// What is asked for by its name is tried even where no file of a driver is.
#[tokio::test]
async fn a_device_that_is_not_there_is_of_no_use_and_says_why() {
    for (wanted, first) in
        [(Hardware::Nvenc, "h264_nvenc"), (Hardware::Vaapi, "h264_vaapi"), (Hardware::Qsv, "h264_qsv")]
    {
        let trials = trials(&program(), wanted).await;
        let trial = trials.iter().find(|trial| trial.encoder == first).expect("Debian's FFmpeg has it");
        if let Some(fault) = &trial.fault {
            println!("{first}: {fault}");
            assert!(fault.contains("cannot ") || fault.contains("took its process"), "{fault}");
        }
    }
}

/// The encoders that rungs had, as metrics told while they were encoded, and how the worker ended.
async fn encoded_by(limits: &Limits) -> (Vec<(String, f64)>, EndReason) {
    let clip = Recipe::default().clip();
    let job = job(&clip.source, &[240]);
    let (input, made, registry) = start(&program(), &job, limits);
    let feed = async {
        for frame in &clip.inputs {
            if input.send(frame.clone()).await.is_err() {
                return Vec::new();
            }
        }
        let rungs = loop {
            let families = registry.gather();
            let rungs = families.iter().filter(|family| family.name() == "vivid_transcode_rungs");
            let rungs: Vec<_> = rungs
                .flat_map(|family| family.get_metric())
                .map(|rung| (rung.get_label()[0].value().to_owned(), rung.get_gauge().get_value()))
                .collect();
            if !rungs.is_empty() {
                break rungs;
            }
            tokio::task::yield_now().await;
        };
        input.send(Input::Finish).await.unwrap();
        rungs
    };
    let both = async { tokio::join!(feed, collect(made, job.plan.renditions.len())) };
    let (rungs, (_, reason)) = tokio::time::timeout(DEADLINE, both).await.expect("no end");
    (rungs, reason)
}

#[tokio::test]
async fn a_rung_whose_device_does_not_open_is_encoded_by_software() {
    // The trial succeeded, and what it promised is gone: no other viewer notices.
    let works = |encoder: &str| Trial { encoder: encoder.to_owned(), fault: None };
    for encoder in ["h264_nvenc", "h264_vaapi", "h264_qsv"] {
        let limits = Limits { trials: vec![works(encoder)], ..patient() };
        let (rungs, reason) = encoded_by(&limits).await;
        assert_eq!(reason, EndReason::Finished);
        let all: f64 = rungs.iter().map(|(_, count)| count).sum();
        assert_eq!(all, 1.0, "{rungs:?}");
        if trials(&program(), Hardware::Auto).await.is_empty() {
            assert_eq!(rungs, [("libx264".to_owned(), 1.0)]);
        }
    }
}
