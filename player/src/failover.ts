// Puts the rules of `pathways.ts` into hls.js, at the two places it lets a page replace: its error and its steering controller.
//
// What hls.js does by itself when a CDN dies: it tries every other rendition on the dead CDN first, blames the
// new pathway for a late answer of the old one, and shuns a pathway for 300 s whatever the steering server says.

import type Hls from "hls.js";
import {
  ContentSteeringController,
  ErrorController,
  type ErrorData,
  ErrorDetails,
  Events,
  type IErrorAction,
  type LevelSwitchingData,
} from "hls.js";
import { type Failure, judge, pardoned, served } from "./pathways";

/** hls.js' `NetworkErrorAction` and `ErrorActionFlags` are compile-time enums, which a bundler cannot import. */
const SEND_ALTERNATE_TO_PENALTY_BOX = 2;
const RETRY_REQUEST = 5;
const NO_FLAGS = 0;
const MOVE_ALL_ALTERNATES_MATCHING_HOST = 1;

const PLAYLIST_ERRORS: readonly string[] = [
  ErrorDetails.LEVEL_LOAD_ERROR,
  ErrorDetails.LEVEL_LOAD_TIMEOUT,
  ErrorDetails.AUDIO_TRACK_LOAD_ERROR,
  ErrorDetails.AUDIO_TRACK_LOAD_TIMEOUT,
];
const FRAGMENT_ERRORS: readonly string[] = [
  ErrorDetails.FRAG_LOAD_ERROR,
  ErrorDetails.FRAG_LOAD_TIMEOUT,
];
const TIMEOUTS: readonly string[] = [
  ErrorDetails.LEVEL_LOAD_TIMEOUT,
  ErrorDetails.AUDIO_TRACK_LOAD_TIMEOUT,
  ErrorDetails.FRAG_LOAD_TIMEOUT,
];

const steerings = new WeakMap<Hls, Steering>();

/** The steering controller of a player made with `Steering`. */
export function steeringOf(hls: Hls): Steering | undefined {
  return steerings.get(hls);
}

/** hls.js' steering, with penalties that end when they have been served. */
export class Steering extends ContentSteeringController {
  private readonly player: Hls;
  /** Left for silence, not for a failure: a busy machine looks the same. */
  private readonly suspects = new Set<string>();

  constructor(hls: Hls) {
    super(hls);
    this.player = hls;
    steerings.set(hls, this);
    // Fired before the new order of pathways is applied.
    hls.on(Events.STEERING_MANIFEST_LOADED, this.onSteered, this);
  }

  override destroy(): void {
    this.player.off(Events.STEERING_MANIFEST_LOADED, this.onSteered, this);
    super.destroy();
  }

  /** Puts a silent pathway aside and goes to another; comes back at once if that one fails. */
  leave(pathway: string, to: string): void {
    this.penalties()[pathway] = performance.now();
    this.suspects.add(pathway);
    this.pardon(to);
    const others = this.player.pathways.filter((id) => id !== to && id !== pathway);
    this.player.pathwayPriority = [to, ...others, pathway];
  }

  /** Makes sure that a pathway is left to go to when the present one is condemned. */
  makeRoom(): void {
    const failing = this.current();
    if (failing === null) return;
    this.suspects.delete(failing);
    const { pathways } = this.player;
    const now = performance.now();
    const pardon = pardoned(this.penalties(), this.suspects, pathways, failing, now);
    if (pardon !== null) this.pardon(pardon);
  }

  current(): string | null {
    return this.player.loadLevelObj?.pathwayId ?? null;
  }

  private onSteered(): void {
    for (const id of served(this.penalties(), performance.now())) this.pardon(id);
  }

  private pardon(pathway: string): void {
    delete this.penalties()[pathway];
    this.suspects.delete(pathway);
  }

  /** hls.js' own table, private to it: pathway to the time of its penalty. A test pins that it is there. */
  penalties(): Record<string, number> {
    return Reflect.get(this, "penalizedPathways") as Record<string, number>;
  }
}

/** hls.js' error controller, corrected before anyone else acts on its choice. */
export class Errors extends ErrorController {
  private readonly player: Hls;
  /** Which pathway was last reached at a host; two pathways at one host cannot be told apart, and need not be. */
  private readonly pathwayAt = new Map<string, string>();

  constructor(hls: Hls) {
    super(hls);
    this.player = hls;
    // Registered second: hls.js has just chosen an action, and the steering controller has not seen it yet.
    hls.on(Events.ERROR, this.correct, this);
    hls.on(Events.LEVEL_SWITCHING, this.learn, this);
  }

  override destroy(): void {
    this.player.off(Events.ERROR, this.correct, this);
    this.player.off(Events.LEVEL_SWITCHING, this.learn, this);
    super.destroy();
  }

  private learn(_event: Events.LEVEL_SWITCHING, data: LevelSwitchingData): void {
    this.pathwayAt.set(hostOf(data.uri), data.attrs["PATHWAY-ID"] ?? ".");
  }

  private correct(_event: Events.ERROR, data: ErrorData): void {
    const chosen = data.errorAction;
    const failure = chosen && !data.fatal ? this.failureOf(data, chosen) : null;
    if (!chosen || !failure) return;
    switch (judge(failure)) {
      case "as-is":
        return;
      case "ask-plainly":
        chosen.action = RETRY_REQUEST;
        chosen.flags = NO_FLAGS;
        return;
      case "leave":
        chosen.action = SEND_ALTERNATE_TO_PENALTY_BOX;
        chosen.flags = MOVE_ALL_ALTERNATES_MATCHING_HOST;
        delete chosen.nextAutoLevel;
        data.levelRetry = false;
        steeringOf(this.player)?.makeRoom();
        return;
      case "stale":
        chosen.action = SEND_ALTERNATE_TO_PENALTY_BOX;
        chosen.flags = NO_FLAGS;
        chosen.resolved = true;
        delete chosen.nextAutoLevel;
        data.levelRetry = false;
    }
  }

  private failureOf(data: ErrorData, chosen: IErrorAction): Failure | null {
    const playlist = PLAYLIST_ERRORS.includes(data.details);
    if (!playlist && !FRAGMENT_ERRORS.includes(data.details)) return null;
    const url = data.context?.url ?? data.part?.url ?? data.frag?.url ?? data.url;
    if (!url) return null;
    return {
      what: playlist ? "playlist" : "fragment",
      status: data.response?.code ?? 0,
      timeout: TIMEOUTS.includes(data.details),
      blocking: data.context?.deliveryDirectives?.msn !== undefined,
      mayRetry: (chosen.retryCount ?? 0) < (chosen.retryConfig?.maxNumRetry ?? 0),
      pathway: this.pathwayAt.get(hostOf(url)) ?? null,
      current: this.player.loadLevelObj?.pathwayId ?? null,
      alternatives: this.player.pathways.length > 1,
    };
  }
}

/** Host and port of an absolute URL; the text itself where it is none. */
export function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}
