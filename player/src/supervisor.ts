// Decides what to do when playback is in trouble that hls.js leaves to the page. Pure: facts and `now` in, advice out.
//
// Two kinds of trouble reach it. A CDN that accepts connections and says nothing would cost hls.js a whole
// timeout, which is longer than a low-latency buffer: `onTick` leaves such a pathway when the buffer is about
// to run dry. And after a fatal error hls.js stops for good: `onFatal` says how to go on.

/** What the page knows ten times a second. Times in ms on one monotonic clock, lengths in seconds. */
export interface Facts {
  now: number;
  /** The first frame was shown, and the viewer did not pause. */
  playing: boolean;
  /** The pathway in use and all that were declared. */
  pathway: string | null;
  pathways: readonly string[];
  /** When a playlist or a piece of media last arrived whole. */
  heardAt: number;
  bufferedS: number;
  partTargetS: number | null;
  targetDurationS: number | null;
  /** How far the place where a live viewer should be lies ahead of this one. */
  behindS: number;
  /** How long the playhead has not moved. */
  standingMs: number;
  /** Where the next buffered range begins, when there is a hole between it and the playhead. */
  rangeAheadS: number | null;
}

export type Advice =
  | { do: "nothing" }
  | { do: "leave-pathway"; to: string }
  | { do: "seek-to-live" }
  | { do: "skip-hole"; to: number };

/** An error after which hls.js has stopped. */
export interface Fatal {
  kind: "network" | "media" | "other";
  /** The error was on the multivariant playlist: nothing is playing yet. */
  manifest: boolean;
  /** HTTP status, 0 where no answer came. */
  status: number;
}

export type Remedy =
  /** Ask whether the stream exists, until it does. */
  | { do: "look-for-stream" }
  /** Keep buffer and picture, load on. */
  | { do: "resume"; afterMs: number }
  | { do: "recover-media" }
  /** A new player on the same page. */
  | { do: "rebuild"; afterMs: number };

/** Silence is two and a half parts, and never less than this: a busy machine is not a dead CDN. */
const LEAST_SILENCE_MS = 600;
const SILENT_PARTS = 2.5;
/** Without parts a playlist is polled once per target duration. */
const SILENT_TARGETS = 1.5;
/** Without parts there are seconds of buffer; the last one is the moment to act. */
const LAST_SECOND = 1;
/** A publisher's pause looks like a silent CDN. One hop per this time makes the mistake harmless. */
const HOP_INTERVAL_MS = 8_000;
/** Catching up at 1.1 times takes ten seconds per second: beyond this a jump is kinder. */
const JUMP_BEHIND_S = 4;
const JUMP_INTERVAL_MS = 5_000;
/** A hole in one track, as after a restart of the encoder, is not filled any more once what follows has arrived. */
const HOLE_PATIENCE_MS = 400;
/** What may be left before the hole when playback stops there. */
const AT_HOLE_S = 0.2;
/** Just inside the range: at its very start some browsers stand again. */
const HOLE_MARGIN_S = 0.05;
const RESUME_AFTER_MS = [500, 1_000, 2_000, 2_000] as const;
const REBUILD_AFTER_MS = [0, 1_000, 2_000, 4_000] as const;
const MEDIA_RECOVERY_INTERVAL_MS = 5_000;
/** Playback this long after an error proves that the remedy worked. */
const CURED_MS = 10_000;

export class Supervisor {
  private hoppedAt = Number.NEGATIVE_INFINITY;
  private jumpedAt = Number.NEGATIVE_INFINITY;
  private mediaAt = Number.NEGATIVE_INFINITY;
  private failedAt = Number.NEGATIVE_INFINITY;
  private resumes = 0;
  private rebuilds = 0;

  onTick(facts: Facts): Advice {
    if (!facts.playing) return { do: "nothing" };
    const { bufferedS, rangeAheadS, standingMs } = facts;
    if (rangeAheadS !== null && bufferedS < AT_HOLE_S && standingMs > HOLE_PATIENCE_MS) {
      return { do: "skip-hole", to: rangeAheadS + HOLE_MARGIN_S };
    }
    const to = this.refuge(facts);
    if (to !== null) {
      this.hoppedAt = facts.now;
      return { do: "leave-pathway", to };
    }
    if (facts.behindS > JUMP_BEHIND_S && facts.now - this.jumpedAt > JUMP_INTERVAL_MS) {
      this.jumpedAt = facts.now;
      return { do: "seek-to-live" };
    }
    return { do: "nothing" };
  }

  onFatal(now: number, fatal: Fatal): Remedy {
    if (now - this.failedAt > CURED_MS) {
      this.resumes = 0;
      this.rebuilds = 0;
    }
    this.failedAt = now;
    if (fatal.manifest) return { do: "look-for-stream" };
    if (fatal.kind === "media" && now - this.mediaAt > MEDIA_RECOVERY_INTERVAL_MS) {
      this.mediaAt = now;
      return { do: "recover-media" };
    }
    // "Not found" will not become "found" by asking for the same playlist again: begin at the multivariant.
    const gone = fatal.status === 404 || fatal.status === 410;
    const resumeAfter = RESUME_AFTER_MS[this.resumes];
    if (fatal.kind === "network" && !gone && resumeAfter !== undefined) {
      this.resumes++;
      return { do: "resume", afterMs: resumeAfter };
    }
    const at = Math.min(this.rebuilds, REBUILD_AFTER_MS.length - 1);
    this.rebuilds++;
    this.resumes = 0;
    return { do: "rebuild", afterMs: REBUILD_AFTER_MS[at] ?? 0 };
  }

  /** The pathway to flee to, or null while the present one is alive or nothing would be gained. */
  private refuge(facts: Facts): string | null {
    const { partTargetS, targetDurationS, pathway, pathways } = facts;
    if (pathway === null || facts.now - this.hoppedAt < HOP_INTERVAL_MS) return null;
    const silenceMs =
      partTargetS === null
        ? (targetDurationS ?? 6) * 1000 * SILENT_TARGETS
        : Math.max(LEAST_SILENCE_MS, partTargetS * 1000 * SILENT_PARTS);
    const silent = facts.now - facts.heardAt > silenceMs;
    const runningDry = facts.bufferedS < (partTargetS ?? LAST_SECOND);
    if (!silent || !runningDry) return null;
    const here = pathways.indexOf(pathway);
    const to = pathways[(here + 1) % pathways.length];
    return to === undefined || to === pathway ? null : to;
  }
}
