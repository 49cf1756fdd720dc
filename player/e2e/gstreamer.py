#!/usr/bin/env python3
"""Plays a URL in GStreamer's playbin3 and prints a JSON line for each half second of pictures: native.mjs reads them.

    python3 e2e/gstreamer.py URL SECONDS [--back SECONDS | --at SECONDS]

After so many seconds it seeks: with --back to that far before the end of what can be sought, with --at to that time. It plays as long
there, and with --back as long again where it was live. A picture is told by the luma of the 40 cells of the bar across its top.
"""

import argparse
import json
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

CELLS = 40
# The bar is a twentieth of the picture's height.
ROW = 40
PICTURES_EACH = 15
PATIENCE_S = 30
SINK = "videoconvert ! video/x-raw,format=GRAY8 ! appsink name=pictures sync=true max-buffers=4"


def tell(**what):
    print(json.dumps(what), flush=True)


def cells(sample):
    """The luma in the middle of each cell."""
    said = sample.get_caps().get_structure(0)
    width, height = said.get_value("width"), said.get_value("height")
    stride = (width + 3) // 4 * 4
    row = sample.get_buffer().extract_dup(height // ROW * stride, width)
    return [row[(2 * cell + 1) * width // (2 * CELLS)] for cell in range(CELLS)]


def failure(bus):
    message = bus.pop_filtered(Gst.MessageType.ERROR)
    return message.parse_error()[0].message if message else None


def play(pipeline, phase, seconds):
    """So many seconds from the first picture on; whether all went well."""
    pictures = pipeline.get_property("video-sink").get_by_name("pictures")
    began, count, until = None, 0, time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        sample = pictures.emit("try-pull-sample", 200 * Gst.MSECOND)
        error = failure(pipeline.get_bus())
        if error:
            tell(error=error)
            return False
        if sample is None:
            if pipeline.get_bus().pop_filtered(Gst.MessageType.EOS):
                tell(ended=phase)
                return True
            continue
        if began is None:
            began, until = time.monotonic(), time.monotonic() + seconds
        if count % PICTURES_EACH == 0:
            tell(phase=phase, wall=round(time.time() * 1000), cells=cells(sample))
        count += 1
    tell(phase=phase, pictures=count)
    return began is not None


def seekable(pipeline):
    query = Gst.Query.new_seeking(Gst.Format.TIME)
    if not pipeline.query(query):
        return False, 0, 0
    _, can, start, end = query.parse_seeking()
    return can, start, end


def seek(pipeline, to):
    sought = pipeline.seek_simple(Gst.Format.TIME, Gst.SeekFlags.FLUSH | Gst.SeekFlags.ACCURATE, max(0, int(to)))
    if not sought:
        tell(error="the pipeline refuses to seek")
    return sought


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--back", type=float)
    parser.add_argument("--at", type=float)
    wishes = parser.parse_args()
    Gst.init(None)
    tell(version=Gst.version_string())
    pipeline = Gst.ElementFactory.make("playbin3", None)
    if pipeline is None:
        sys.exit("GStreamer has no playbin3: see scripts/need players")
    pipeline.set_property("uri", wishes.url)
    pipeline.set_property("video-sink", Gst.parse_bin_from_description(SINK, True))
    pipeline.set_property("audio-sink", Gst.parse_bin_from_description("fakesink sync=true", True))
    pipeline.set_state(Gst.State.PLAYING)
    well = play(pipeline, "first", wishes.seconds)
    can, start, end = seekable(pipeline)
    tell(seekable=can, start=start / Gst.SECOND, end=end / Gst.SECOND)
    if well and wishes.back is not None and seek(pipeline, end - wishes.back * Gst.SECOND):
        well = play(pipeline, "sought", wishes.seconds)
        if well and seek(pipeline, seekable(pipeline)[2]):
            play(pipeline, "returned", wishes.seconds)
    elif well and wishes.at is not None and seek(pipeline, wishes.at * Gst.SECOND):
        play(pipeline, "sought", wishes.seconds)
    pipeline.set_state(Gst.State.NULL)


main()
