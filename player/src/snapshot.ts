// Everything the page knows at one moment, for the panel and for tests (`window.vivid.snapshot()`).

import type { Frames } from "./frames";
import type { Cdn, Journal, Rendition } from "./journal";
import { type Summary, summarize } from "./latency";
import type { Session } from "./session";

/** Which latency a figure is: from glass to glass, or only the distance to the end of the playlist. */
export interface Latency {
  kind: "glass" | "edge";
  seconds: number;
}

/** Times in ms since navigation unless a name says otherwise. */
export interface Snapshot {
  at: number;
  src: string;
  stream: string;
  state: string;
  latency: Latency | null;
  /** Over all frames whose bar could be read, up to ten minutes; seconds. */
  glassToGlass: Summary;
  /** How the looks at the bar went. */
  bar: Frames["readings"];
  edgeDistance: number | null;
  targetLatency: number | null;
  /** From the opening of the source to its first frame on the screen. */
  firstFrameMs: number | null;
  firstFrameFromNavigationMs: number | null;
  bufferSeconds: number;
  playbackRate: number;
  rendition: Rendition | null;
  automatic: boolean;
  renditions: (Rendition & { at: number })[];
  cdn: Cdn | null;
  cdns: (Cdn & { at: number })[];
  pathways: readonly string[];
  stallCount: number;
  stallSeconds: number;
  stalls: Frames["meter"]["stalls"];
  /** Milliseconds the picture stands still at this moment. */
  standingMs: number;
  presented: number;
  dropped: number;
  restarts: number;
}

/** A picture that stands this long has no latency to speak of. */
export const STANDING_MS = 1_000;

/** What a snapshot is taken of. */
export interface Subject {
  session: Session;
  frames: Frames;
  journal: Journal;
  video: HTMLVideoElement;
  state: string;
  firstFrameAt: number | null;
}

export function snapshot({
  session,
  frames,
  journal,
  video,
  state,
  firstFrameAt,
}: Subject): Snapshot {
  const at = performance.now();
  const glass = frames.glassNow(at);
  const standingMs = video.paused ? 0 : frames.meter.standingMs(at);
  // Where the picture carries a bar, or stands, the player's own account would only mislead.
  const tellsEdge = state === "playing" && !frames.hasBar && standingMs < STANDING_MS;
  const edge = tellsEdge ? session.edgeDistance : null;
  return {
    at,
    src: session.src,
    stream: session.stream,
    state,
    latency: glass
      ? { kind: "glass", seconds: glass.seconds }
      : edge === null
        ? null
        : { kind: "edge", seconds: edge },
    glassToGlass: summarize(frames.glass.samples(at).map((sample) => sample.seconds)),
    bar: { ...frames.readings },
    edgeDistance: session.edgeDistance,
    targetLatency: session.targetLatency,
    firstFrameMs: firstFrameAt === null ? null : firstFrameAt - session.startedAt,
    firstFrameFromNavigationMs: firstFrameAt,
    bufferSeconds: session.buffered,
    playbackRate: video.playbackRate,
    rendition: session.renditions[session.rendition] ?? null,
    automatic: session.automatic,
    renditions: journal.renditions,
    cdn: session.lastCdn,
    cdns: journal.cdns,
    pathways: session.pathways,
    stallCount: frames.meter.count,
    stallSeconds: frames.meter.seconds,
    stalls: frames.meter.stalls,
    standingMs,
    presented: frames.presented,
    dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
    restarts: journal.restarts,
  };
}
