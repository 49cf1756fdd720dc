// Counts the times the picture stood still, from the frames that were shown and not from what the player believes.
// Pure: takes what the page saw and when (ms on one monotonic clock), returns stalls.

/** A time without a new frame. */
export interface Stall {
  /** When the last frame before it was shown, ms. */
  at: number;
  seconds: number;
  /** `rebuffer`: the element said it had run dry. `freeze`: data was there, and no frame came of it. */
  cause: "rebuffer" | "freeze";
}

/** One presented frame as `requestVideoFrameCallback` tells it. */
export interface Shown {
  at: number;
  /** Frames presented so far; a step above 1 means callbacks were missed, not frames. */
  presented: number;
  /** Media time in seconds. */
  mediaTime: number;
}

/** A viewer notices 100 ms; at low frame rates three frame times are the picture's own pace. */
const LEAST_STALL_MS = 100;
const STALL_FRAMES = 3;
const FIRST_GUESS_FRAME_MS = 1000 / 30;
/** The first picture stands until the element has begun to move: up to here that is start-up, not a stall. */
const START_MS = 500;
/** Frame durations remembered for the median. */
const STEPS_KEPT = 15;

/** Watches one playback. Time before the first frame, paused time and hidden time never count. */
export class StallMeter {
  readonly stalls: Stall[] = [];
  private last: Shown | null = null;
  private dry = false;
  private begun = false;
  private steps: number[] = [];
  private readonly most: number;

  /** Keeps at most `most` stalls; `count` and `seconds` go on counting. */
  constructor(most = 1_000) {
    this.most = most;
  }

  private counted = 0;
  private summedMs = 0;

  /** A frame was shown. */
  frame(shown: Shown): Stall | null {
    const before = this.last;
    this.last = shown;
    const dry = this.dry;
    this.dry = false;
    if (!before) {
      this.begun = false;
      return null;
    }
    const limitMs = this.begun ? this.limitMs() : START_MS;
    this.begun = true;
    this.learn(before, shown);
    const unseen = Math.max(0, shown.presented - before.presented - 1);
    const gapMs = shown.at - before.at - unseen * this.frameMs();
    if (gapMs <= limitMs) return null;
    const stall: Stall = {
      at: before.at,
      seconds: gapMs / 1000,
      cause: dry ? "rebuffer" : "freeze",
    };
    this.counted++;
    this.summedMs += gapMs;
    this.stalls.push(stall);
    if (this.stalls.length > this.most) this.stalls.shift();
    return stall;
  }

  /** The element fired `waiting`. */
  waiting(): void {
    this.dry = true;
  }

  /** The viewer paused, or the page is hidden: what comes next is no stall. */
  interrupt(): void {
    this.last = null;
    this.dry = false;
  }

  /** Milliseconds the picture stands still right now; 0 while it moves. */
  standingMs(now: number): number {
    const gapMs = this.last ? now - this.last.at : 0;
    return gapMs > this.limitMs() ? gapMs : 0;
  }

  get count(): number {
    return this.counted;
  }

  get seconds(): number {
    return this.summedMs / 1000;
  }

  /** The duration of one frame, ms: the median of the last steps of media time. */
  frameMs(): number {
    const ascending = [...this.steps].sort((a, b) => a - b);
    return ascending[ascending.length >> 1] ?? FIRST_GUESS_FRAME_MS;
  }

  private limitMs(): number {
    return Math.max(LEAST_STALL_MS, STALL_FRAMES * this.frameMs());
  }

  private learn(before: Shown, shown: Shown): void {
    const frames = shown.presented - before.presented;
    const stepMs = ((shown.mediaTime - before.mediaTime) * 1000) / frames;
    // Outside 5 to 240 frames per second it is a seek or a new timeline, not a frame duration.
    if (frames < 1 || stepMs < 1000 / 240 || stepMs > 1000 / 5) return;
    this.steps.push(stepMs);
    if (this.steps.length > STEPS_KEPT) this.steps.shift();
  }
}
