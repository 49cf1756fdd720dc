// Looks at every frame the browser shows: reads its bar code and hands its time to the stall meter.

import { averageCells, BAR_HEIGHT, glassToGlassMs, type Reading, readCells } from "./barcode";
import { Recent, type Sample } from "./latency";
import { StallMeter } from "./stalls";

/** Four cells of 8 pixels fit any rendition; the middle half of a cell is then 4 pixels. */
const CANVAS_WIDTH = 320;
const CANVAS_HEIGHT = 8;

/** After this many frames without a bar, only every `SEEK_STRIDE`th frame is looked at. */
const PATIENCE = 60;
const SEEK_STRIDE = 30;

/** Ten minutes at 60 frames per second. */
const MOST_SAMPLES = 36_000;
const SAMPLES_SPAN_MS = 600_000;

/** What the page hears about frames. */
export interface FrameListener {
  firstFrame(at: number): void;
  stalled(at: number, seconds: number, cause: string): void;
}

export class Frames {
  readonly meter = new StallMeter();
  /** Glass-to-glass latencies, one per frame whose bar could be read. */
  readonly glass = new Recent(SAMPLES_SPAN_MS, MOST_SAMPLES);
  readonly readings = { clock: 0, parity: 0, none: 0, implausible: 0 };
  presented = 0;
  private readonly video: HTMLVideoElement;
  private readonly listener: FrameListener;
  private readonly pixels: CanvasRenderingContext2D | null;
  private barless = 0;
  private newest: Sample | null = null;
  private counterBefore = 0;

  constructor(video: HTMLVideoElement, listener: FrameListener) {
    this.video = video;
    this.listener = listener;
    const canvas = document.createElement("canvas");
    canvas.width = CANVAS_WIDTH;
    canvas.height = CANVAS_HEIGHT;
    // Kept in main memory: the pixels are read back for every frame and never shown.
    this.pixels = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    // The first picture is shown before playback starts: standing there is start-up, not a stall.
    const starting = () =>
      video.addEventListener("playing", () => this.meter.interrupt(), { once: true });
    starting();
    video.addEventListener("emptied", starting);
    video.addEventListener("waiting", () => this.meter.waiting());
    video.addEventListener("pause", () => this.meter.interrupt());
    document.addEventListener("visibilitychange", () => this.meter.interrupt());
    if ("requestVideoFrameCallback" in video) this.next();
  }

  /** The viewer goes elsewhere: what lies between the two places is no stall. */
  moving(): void {
    this.meter.interrupt();
    for (const event of ["seeked", "playing"]) {
      this.video.addEventListener(event, () => this.meter.interrupt(), { once: true });
    }
  }

  /** The latency of the frame on the screen, or null when the last bar was read more than a second ago. */
  glassNow(now: number): Sample | null {
    return this.newest && now - this.newest.at < 1_000 ? this.newest : null;
  }

  /** Whether the pictures of late carried a bar that could be read. */
  get hasBar(): boolean {
    return this.newest !== null && this.barless <= PATIENCE;
  }

  private next(): void {
    this.video.requestVideoFrameCallback((_now, frame) => {
      this.onFrame(frame);
      this.next();
    });
  }

  private onFrame(frame: VideoFrameCallbackMetadata): void {
    // The element counts from zero again when it gets a new source.
    const step = Math.max(1, frame.presentedFrames - this.counterBefore);
    const restarted = frame.presentedFrames <= this.counterBefore;
    this.counterBefore = frame.presentedFrames;
    const first = this.presented === 0;
    this.presented += restarted || first ? 1 : step;
    const at = frame.expectedDisplayTime;
    if (first) this.listener.firstFrame(at);
    const stall = this.meter.frame({ at, presented: this.presented, mediaTime: frame.mediaTime });
    if (stall) this.listener.stalled(stall.at, stall.seconds, stall.cause);
    this.readBar(at);
  }

  private readBar(at: number): void {
    this.barless++;
    if (this.barless > PATIENCE && this.barless % SEEK_STRIDE !== 0) return;
    // The same bar lies along the bottom: an overlay or a cut at one edge does not blind the reader.
    const top = this.look("top");
    const reading = top.kind === "clock" ? top : this.look("bottom");
    this.readings[reading.kind]++;
    if (reading.kind !== "clock") return;
    const unixMs = Date.now() + (at - performance.now());
    const latencyMs = glassToGlassMs(unixMs, reading.ms);
    if (latencyMs === null) {
      this.readings.implausible++;
      return;
    }
    this.barless = 0;
    this.newest = { at, seconds: latencyMs / 1000 };
    this.glass.push(this.newest);
  }

  private look(edge: "top" | "bottom"): Reading {
    const { videoWidth: width, videoHeight: height } = this.video;
    const bar = Math.floor(height * BAR_HEIGHT);
    if (!this.pixels || bar < 1) return { kind: "none" };
    const y = edge === "top" ? 0 : height - bar;
    this.pixels.drawImage(this.video, 0, y, width, bar, 0, 0, CANVAS_WIDTH, CANVAS_HEIGHT);
    const { data } = this.pixels.getImageData(0, 0, CANVAS_WIDTH, CANVAS_HEIGHT);
    return readCells(averageCells(data, CANVAS_WIDTH, CANVAS_HEIGHT));
  }
}
