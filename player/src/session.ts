// Plays one source with hls.js on one `<video>`, keeps it alive, and says what it does.

import Hls, { type ErrorData, ErrorDetails, ErrorTypes, Events } from "hls.js";
import { needsKeySystem } from "./encryption";
import { hostOf, steeringOf } from "./failover";
import { easeHandover } from "./handover";
import type { Cdn, Journal, Rendition } from "./journal";
import { look } from "./presence";
import { settings } from "./settings";
import { type Advice, type Remedy, Supervisor } from "./supervisor";
import { canResume, place, type Reach } from "./timeline";

/** What the viewer is told. */
export type State =
  | { is: "loading" | "playing" | "recovering" | "ended" | "absent" | "unsupported" | "encrypted" }
  | { is: "unreachable"; status: number };

const TICK_MS = 100;
const LATE_TICK_MS = 400;
const LOOK_AGAIN_MS = 2_000;
const BEFORE_RESTART_MS = 500;

/** What a session needs from its page. */
export interface Surroundings {
  video: HTMLVideoElement;
  journal: Journal;
  sessionId: string;
  /** Begin to play: the source is there. */
  ready(): void;
  /** The viewer goes elsewhere: until the picture from there is shown, nothing stalls. */
  moving(): void;
  changed(state: State): void;
}

export class Session {
  readonly src: string;
  readonly stream: string;
  readonly startedAt = performance.now();
  private readonly page: Surroundings;
  private readonly supervisor = new Supervisor();
  private readonly over = new AbortController();
  private hls: Hls | null = null;
  private heardAt = performance.now();
  private state: State = { is: "loading" };
  private cdn: Cdn | null = null;
  private ticking = 0;
  private tickedAt = performance.now();
  private moved = { at: 0, to: -1 };
  private waiting = 0;
  /** The viewer chose to be behind the live edge. */
  private shifted = false;

  constructor(src: string, stream: string, page: Surroundings) {
    this.src = src;
    this.stream = stream;
    this.page = page;
    page.video.addEventListener("ended", () => void this.lookForStream(), {
      signal: this.over.signal,
    });
    page.video.addEventListener("playing", () => this.turn({ is: "playing" }), {
      signal: this.over.signal,
    });
  }

  start(): void {
    if (Hls.isSupported()) {
      this.build();
      this.ticking = window.setInterval(() => this.tick(), TICK_MS);
    } else if (this.page.video.canPlayType("application/vnd.apple.mpegurl") !== "") {
      // Only where there is no Media Source at all: the built-in player steers and measures less.
      this.page.video.src = this.src;
      this.page.ready();
    } else {
      this.turn({ is: "unsupported" });
    }
  }

  stop(): void {
    this.over.abort();
    window.clearInterval(this.ticking);
    window.clearTimeout(this.waiting);
    this.hls?.destroy();
    this.hls = null;
  }

  /** The CDN of the last piece of media. */
  get lastCdn(): Cdn | null {
    return this.cdn;
  }

  /** hls.js' own figure: the distance to the end of the playlist, seconds. */
  get edgeDistance(): number | null {
    const latency = this.hls?.latency ?? 0;
    return latency > 0 ? latency : null;
  }

  get targetLatency(): number | null {
    return this.hls?.targetLatency ?? null;
  }

  get pathways(): readonly string[] {
    return this.hls?.pathways ?? [];
  }

  /** Seconds of media after the playhead that can be played without a request. */
  get buffered(): number {
    const { buffered, currentTime } = this.page.video;
    for (let range = 0; range < buffered.length; range++) {
      if (buffered.start(range) <= currentTime + 0.1 && buffered.end(range) > currentTime) {
        return buffered.end(range) - currentTime;
      }
    }
    return 0;
  }

  get renditions(): Rendition[] {
    return (this.hls?.levels ?? []).map(({ height, bitrate }) => ({ height, bitrate }));
  }

  /** Index of the rendition on the screen, -1 before the first. */
  get rendition(): number {
    return this.hls?.currentLevel ?? -1;
  }

  get automatic(): boolean {
    return this.hls?.autoLevelEnabled ?? true;
  }

  /** Plays one rendition, or the one that fits the link where `index` is -1. */
  choose(index: number): void {
    if (this.hls) this.hls.loadLevel = index;
  }

  /** The media playlist that is played now, at the CDN that it is played from. */
  get playlist(): string | null {
    const { hls } = this;
    return hls?.levels[hls.currentLevel]?.uri ?? null;
  }

  /** What the viewer can see now; null before the first playlist. */
  get reach(): Reach | null {
    const { seekable } = this.page.video;
    const live = this.hls?.liveSyncPosition ?? null;
    return live === null || seekable.length === 0 ? null : { start: seekable.start(0), live };
  }

  /** Goes to so many seconds behind where a live viewer should be. */
  seek(behind: number): void {
    const { reach } = this;
    if (!reach) return;
    const to = place(reach, behind);
    if (to === null) {
      this.toLive();
      return;
    }
    this.shifted = true;
    this.page.journal.note(performance.now(), "seek", { behind });
    this.page.moving();
    this.page.video.currentTime = to;
  }

  /** After a pause: on from where it was, if that can still be seen, else live. */
  resume(): void {
    this.shifted = canResume(this.reach, this.page.video.currentTime);
    if (!this.shifted) this.toLive();
  }

  /** Whether the viewer went back, and has not come to the live edge since. */
  get isBehind(): boolean {
    return this.shifted;
  }

  /** Goes to where a live viewer should be, as the viewer wishes. */
  toLive(): void {
    this.shifted = false;
    this.page.moving();
    this.jumpToLive();
  }

  private jumpToLive(): void {
    const live = this.hls?.liveSyncPosition;
    if (live !== null && live !== undefined) this.page.video.currentTime = live;
  }

  private build(): void {
    this.hls?.destroy();
    const hls = new Hls(settings(this.stream, this.page.sessionId));
    this.hls = hls;
    this.heardAt = performance.now();
    const heard = () => {
      this.heardAt = performance.now();
    };
    hls.on(Events.LEVEL_LOADED, (_event, { details }) => {
      heard();
      if (needsKeySystem(details.fragments)) this.giveUp({ is: "encrypted" });
    });
    hls.on(Events.AUDIO_TRACK_LOADED, heard);
    hls.on(Events.MANIFEST_PARSED, () => this.page.ready());
    hls.on(Events.FRAG_LOADED, (_event, { frag, part }) => {
      heard();
      if (frag.type !== "main") return;
      const pathway = hls.levels[frag.level]?.pathwayId ?? ".";
      this.cdn = { pathway, host: hostOf(part?.url ?? frag.url) };
      this.page.journal.delivered(performance.now(), this.cdn);
    });
    hls.on(Events.LEVEL_SWITCHED, (_event, { level }) => {
      const shown = this.renditions[level];
      if (shown) this.page.journal.shown(performance.now(), shown);
    });
    hls.on(Events.ERROR, (_event, data) => this.onError(data));
    easeHandover(hls);
    hls.loadSource(this.src);
    hls.attachMedia(this.page.video);
  }

  /** Nothing that may come would play. */
  private giveUp(state: State): void {
    this.stop();
    this.turn(state);
  }

  private tick(): void {
    const { hls } = this;
    const { video } = this.page;
    if (!hls) return;
    // What was buffered plays on through an error: the viewer need not hear of it.
    if (this.state.is === "recovering" && this.buffered > 0.1 && !video.paused) {
      this.turn({ is: "playing" });
    }
    const details = hls.latestLevelDetails;
    const now = performance.now();
    // A page that does not get its turn hears nothing: that silence is its own, not the CDN's.
    if (now - this.tickedAt > LATE_TICK_MS) this.heardAt = now;
    this.tickedAt = now;
    const advice = this.supervisor.onTick({
      now,
      playing: this.state.is === "playing" && !video.paused,
      pathway: hls.loadLevelObj?.pathwayId ?? null,
      pathways: hls.pathways,
      heardAt: this.heardAt,
      bufferedS: this.buffered,
      partTargetS: details?.partTarget || null,
      targetDurationS: details?.targetduration ?? null,
      behindS: this.shifted ? 0 : (hls.liveSyncPosition ?? 0) - video.currentTime,
      standingMs: this.standing(now),
      rangeAheadS: this.rangeAhead(),
    });
    this.follow(advice);
  }

  private standing(now: number): number {
    const { currentTime, paused } = this.page.video;
    if (paused || currentTime !== this.moved.to) this.moved = { at: now, to: currentTime };
    return now - this.moved.at;
  }

  private rangeAhead(): number | null {
    const { buffered, currentTime } = this.page.video;
    for (let range = 0; range < buffered.length; range++) {
      if (buffered.start(range) > currentTime) return buffered.start(range);
    }
    return null;
  }

  private follow(advice: Advice): void {
    const left = this.hls?.loadLevelObj?.pathwayId;
    if (advice.do === "leave-pathway" && this.hls && left !== undefined) {
      this.page.journal.note(performance.now(), "left-pathway", { left, to: advice.to });
      // The new pathway gets the same patience as the old one had.
      this.heardAt = performance.now();
      steeringOf(this.hls)?.leave(left, advice.to);
    } else if (advice.do === "seek-to-live") {
      this.page.journal.note(performance.now(), "jump", { from: this.page.video.currentTime });
      this.jumpToLive();
    } else if (advice.do === "skip-hole") {
      const { video } = this.page;
      this.page.journal.note(performance.now(), "jump", { from: video.currentTime, to: advice.to });
      video.currentTime = advice.to;
    }
  }

  private onError(data: ErrorData): void {
    const now = performance.now();
    this.page.journal.note(now, "error", {
      details: data.details,
      fatal: data.fatal,
      status: data.response?.code ?? null,
      url: data.url ?? data.frag?.url ?? null,
    });
    if (!data.fatal) return;
    if (data.details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR) {
      this.turn({ is: "unsupported" });
      return;
    }
    const kinds: Partial<Record<string, "network" | "media">> = {
      [ErrorTypes.NETWORK_ERROR]: "network",
      [ErrorTypes.MEDIA_ERROR]: "media",
    };
    const remedy = this.supervisor.onFatal(now, {
      kind: kinds[data.type] ?? "other",
      manifest: data.details.startsWith("manifest"),
      status: data.response?.code ?? 0,
    });
    this.apply(remedy);
  }

  private apply(remedy: Remedy): void {
    switch (remedy.do) {
      case "look-for-stream":
        void this.lookForStream();
        return;
      case "recover-media":
        this.turn({ is: "recovering" });
        this.hls?.recoverMediaError();
        return;
      case "resume":
        this.turn({ is: "recovering" });
        this.after(remedy.afterMs, () => this.hls?.startLoad(-1));
        return;
      case "rebuild":
        this.turn({ is: "recovering" });
        this.after(remedy.afterMs, () => this.restart());
    }
  }

  private after(ms: number, act: () => void): void {
    window.clearTimeout(this.waiting);
    this.waiting = window.setTimeout(act, ms);
  }

  private restart(): void {
    this.page.journal.note(performance.now(), "restart");
    this.build();
  }

  /** Asks for the stream until it is live, then plays it. */
  private async lookForStream(): Promise<void> {
    this.hls?.stopLoad();
    const found = await look(this.src, this.over.signal);
    if (this.over.signal.aborted) return;
    if (found.is === "live") {
      // The pause bounds the rounds of a stream that is there and cannot be loaded.
      this.after(BEFORE_RESTART_MS, () => this.restart());
      return;
    }
    this.turn(found);
    this.after(LOOK_AGAIN_MS, () => void this.lookForStream());
  }

  private turn(state: State): void {
    if (JSON.stringify(state) === JSON.stringify(this.state)) return;
    this.state = state;
    this.page.journal.note(performance.now(), "state", { ...state });
    this.page.changed(state);
  }
}
