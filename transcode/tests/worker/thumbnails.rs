//! One image for each segment, of the pictures that are shown at even distances in it.

use crate::clip::Recipe;
use crate::run::{job, patient, program, start};
use bytes::Bytes;
use ffmpeg_next::codec::{Context, Id};
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Packet, decoder};
use transcode::{EndReason, Input, Made};

/// The luma of a grey that follows the picture's number: frame n is n + 20.
const GREYS: &[&str] =
    &["-vf", "geq=lum='N+20':cb=128:cr=128", "-tune", "zerolatency", "-g", "60", "-sc_threshold", "0", "-qp", "4"];

fn decoded(jpeg: &Bytes) -> Video {
    let codec = decoder::find(Id::MJPEG).unwrap();
    let mut decoder = Context::new_with_codec(codec).decoder().video().unwrap();
    decoder.send_packet(&Packet::copy(jpeg)).unwrap();
    let mut image = Video::empty();
    decoder.receive_frame(&mut image).unwrap();
    image
}

#[tokio::test]
async fn images_hold_the_pictures_of_their_segment() {
    let recipe = Recipe { seconds: 5, video: GREYS, ..Recipe::default() };
    let clip = recipe.clip();
    let job = job(&clip.source, &[240]);
    let planned = job.plan.thumbnails.clone().unwrap();
    assert_eq!((planned.width, planned.height, planned.image_size()), (120, 90, (240, 90)));
    let (input, mut made, _registry) = start(&program(), &job, &patient());
    let feed = async {
        for frame in &clip.inputs {
            input.send(frame.clone()).await.unwrap();
        }
        input.send(Input::Finish).await.unwrap();
    };
    let collect = async {
        let mut images = Vec::new();
        loop {
            match made.recv().await.unwrap() {
                Made::Thumbnails { segment, frames, data } => images.push((segment, frames, data)),
                Made::Ended { reason } => break (images, reason),
                Made::Track { .. } | Made::Frame { .. } | Made::Turn { .. } => {}
            }
        }
    };
    let ((), (images, reason)) = tokio::join!(feed, collect);
    assert_eq!(reason, EndReason::Finished);
    let told: Vec<_> = images.iter().map(|(segment, frames, _)| (*segment, *frames)).collect();
    assert_eq!(told, [(0, 60), (1, 60), (2, 30)], "the last was cut short");
    for (segment, _, jpeg) in &images {
        let image = decoded(jpeg);
        assert_eq!((image.width(), image.height()), (240, 90));
        for place in 0..2 {
            let luma = i32::from(image.data(0)[45 * image.stride(0) + 60 + 120 * place]);
            let frame = *segment as i32 * 60 + place as i32 * 30;
            // From the range of television to that of JPEG; nothing was shown in the second half of the last.
            let expected = if frame >= 150 { 0 } else { (frame + 20 - 16) * 255 / 219 };
            assert!((luma - expected).abs() <= 4, "{luma} instead of {expected} at frame {frame}");
        }
        assert!(jpeg.len() < 3000, "{} bytes", jpeg.len());
    }
}

#[tokio::test]
async fn without_a_rung_there_are_none() {
    let clip = Recipe { seconds: 1, ..Recipe::default() }.clip();
    assert_eq!(job(&clip.source, &[]).plan.thumbnails, None);
}
