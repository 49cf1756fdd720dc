// How hls.js is set up for low latency, and why.

import type { HlsConfig } from "hls.js";
import { Errors, Steering } from "./failover";

/** The settings of one playback session. */
export function settings(stream: string, sessionId: string): Partial<HlsConfig> {
  return {
    // `?log` in the page's address: what hls.js thinks, in the browser's console.
    debug: new URLSearchParams(location.search).has("log"),
    lowLatencyMode: true,
    // Fragmented MP4 is passed through: a worker would only add two copies and a thread switch per part.
    enableWorker: false,
    // What was played is the browser's to drop. When hls.js drops it, it forgets the segment in progress with it, and
    // where that segment ends it waits for ever for what it has: a stall every half minute or so, after the first.
    backBufferLength: Number.POSITIVE_INFINITY,
    liveDurationInfinity: true,

    // Catch up gently after trouble. One stall does not buy a second of latency for the rest of the session.
    maxLiveSyncPlaybackRate: 1.1,
    liveSyncOnStallIncrease: 0,

    // hls.js weighs bandwidth samples by transfer time. Parts take milliseconds, so the defaults of 3 and 9 s
    // remember a rate for minutes; these recover within seconds.
    abrEwmaFastLive: 0.3,
    abrEwmaSlowLive: 0.9,
    // Begin where most links are, and correct it at the first parts, instead of testing with the lowest rung.
    abrEwmaDefaultEstimate: 5_000_000,
    testBandwidth: false,

    // Deadlines. A held playlist answers within a part (0.3 s); hls.js itself cuts the hold at three parts or
    // 0.8 target durations, whichever is longer (1.6 s here). The numbers below are for what is not held: far
    // above any round trip, far below the 10 s of the defaults. A refused connection needs no deadline.
    manifestLoadPolicy: {
      default: {
        maxTimeToFirstByteMs: 5_000,
        maxLoadTimeMs: 10_000,
        timeoutRetry: null,
        errorRetry: null,
      },
    },
    playlistLoadPolicy: {
      default: {
        maxTimeToFirstByteMs: 3_000,
        maxLoadTimeMs: 6_000,
        // Two, because audio and video share one count: each may ask once more, plainly.
        timeoutRetry: { maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0 },
        errorRetry: { maxNumRetry: 3, retryDelayMs: 250, maxRetryDelayMs: 1_000 },
      },
    },
    fragLoadPolicy: {
      default: {
        // A part is asked for only once its playlist has named it: it is there.
        maxTimeToFirstByteMs: 3_000,
        maxLoadTimeMs: 20_000,
        timeoutRetry: { maxNumRetry: 1, retryDelayMs: 0, maxRetryDelayMs: 0 },
        errorRetry: { maxNumRetry: 4, retryDelayMs: 250, maxRetryDelayMs: 1_000 },
      },
    },
    steeringManifestLoadPolicy: {
      default: {
        maxTimeToFirstByteMs: 3_000,
        maxLoadTimeMs: 5_000,
        timeoutRetry: null,
        errorRetry: null,
      },
    },
    errorController: Errors,
    contentSteeringController: Steering,
    // After an error on one rendition, it is a candidate again soon: in live, errors pass.
    errorPenaltyExpireMs: 10_000,

    cmcd: {
      sessionId,
      contentId: stream,
      // In the query: headers would cost a preflight for every part on another origin.
      useHeaders: false,
      includeKeys: ["br", "bl", "bs", "cid", "d", "dl", "mtp", "ot", "pr", "sf", "sid", "st", "su"],
    },
  };
}
