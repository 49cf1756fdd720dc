// Puts the page together: which stream, one session, its figures, and `window.vivid` for tests.

import { Controls } from "./controls";
import { rtmpPort } from "./developer";
import { element, write } from "./dom";
import { Frames } from "./frames";
import { type Entry, Journal } from "./journal";
import { Recent, type Sample } from "./latency";
import { Panel } from "./panel";
import { Session } from "./session";
import { type Snapshot, STANDING_MS, snapshot } from "./snapshot";
import { sourceOf } from "./source";
import { Tiers } from "./tiers";
import { messageFor, publishCommand, type Shown, shownOf } from "./words";

declare global {
  interface Window {
    /** What tests read. */
    vivid: {
      snapshot(): Snapshot;
      /** Glass-to-glass latency of every frame that could be read, oldest first. */
      samples(): readonly Sample[];
      readonly events: readonly Entry[];
    };
  }
}

const SHOW_MS = 250;
const RTMP_PORT = 1935;
/** After this long the viewer is told that the picture stands. */
const TELL_STANDING_MS = 3_000;
const BADGES: Record<Shown["is"], string> = {
  loading: "Connecting",
  playing: "Live",
  recovering: "Reconnecting",
  ended: "Ended",
  absent: "Not live",
  unreachable: "No answer",
  unsupported: "Unsupported",
  encrypted: "Encrypted",
  standing: "Buffering",
  misnamed: "No such name",
};

const video = element("video", HTMLVideoElement);
const source = sourceOf(new URL(location.href));
const journal = new Journal();
const panel = new Panel();
const edges = new Recent(60_000, 1_000);
let state: Shown = { is: "loading" };
let firstFrameAt: number | null = null;

const frames = new Frames(video, {
  firstFrame(at) {
    firstFrameAt = at;
    journal.note(at, "first-frame", { ms: Math.round(at - session.startedAt) });
  },
  stalled(at, seconds, cause) {
    journal.note(at, "stall", { seconds, cause });
  },
});

const session = new Session(source.src, source.stream, {
  video,
  journal,
  sessionId: identity(),
  ready: () => void controls.play(),
  moving: () => frames.moving(),
  changed(now) {
    state = now;
    announce(state);
  },
});
const controls = new Controls(() => session);

function now(): Snapshot {
  return snapshot({ session, frames, journal, video, state: state.is, firstFrameAt });
}

function showBadge(standingMs: number): void {
  const badge = element("badge", HTMLElement);
  const shown = shownOf(state, standingMs - STANDING_MS, video.ended).is;
  const isBehind = shown === "playing" && session.isBehind;
  badge.dataset["state"] = isBehind ? "behind" : shown;
  write(badge.querySelector("b") ?? badge, isBehind ? "Behind live" : BADGES[shown]);
}

function announce(shown: Shown): void {
  showBadge(0);
  const message = messageFor(shown, source.stream, command);
  const notice = element("notice", HTMLElement);
  notice.hidden = message === null;
  const code = notice.querySelector("code");
  write(notice.querySelector("h2") ?? notice, message?.title ?? "");
  write(notice.querySelector("p") ?? notice, message?.text ?? "");
  if (code) {
    code.hidden = message?.command === undefined;
    write(code, message?.command ?? "");
  }
}

function show(): void {
  const at = now();
  if (at.latency?.kind === "edge") edges.push({ at: at.at, seconds: at.latency.seconds });
  const chart = frames.hasBar
    ? frames.glass.samples(at.at).filter((sample) => sample.at > at.at - 60_000)
    : edges.samples(at.at);
  panel.show(at, chart);
  announce(shownOf(state, at.standingMs - TELL_STANDING_MS, video.ended));
  showBadge(at.standingMs);
  controls.update();
}

/** A session's name for CMCD: random, kept nowhere, so it says nothing about who watches. */
function identity(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const host = location.hostname || "127.0.0.1";
let command = "";
publishAt(RTMP_PORT);

/** Writes how to publish to this port. */
function publishAt(port: number): void {
  const next = publishCommand(source.foreign ? "NAME" : source.stream, host, port);
  if (next === command) return;
  command = next;
  write(element("command", HTMLElement), command);
  announce(state);
}

function fillIn(): void {
  document.title = `${source.misnamed ?? source.stream} · Vivid`;
  const asked = source.misnamed ?? (source.foreign ? source.src : source.stream);
  element("stream", HTMLInputElement).value = asked;
  const playlist = element("playlist", HTMLAnchorElement);
  playlist.href = source.src;
  write(playlist, source.src);
  const copy = element("copy", HTMLButtonElement);
  copy.addEventListener("click", async () => {
    // Refused outside a secure context: selecting the text is then the viewer's to do.
    const copied = await navigator.clipboard?.writeText(command).then(
      () => true,
      () => false,
    );
    if (!copied) getSelection()?.selectAllChildren(element("command", HTMLElement));
    write(copy, copied ? "Copied" : "Selected");
  });
  element("open", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = element("stream", HTMLInputElement).value.trim();
    const next = new URL(location.pathname, location.href);
    next.searchParams.set(/[/.:]/.test(wanted) ? "src" : "stream", wanted || "demo");
    location.assign(next);
  });
}

window.vivid = {
  snapshot: now,
  samples: () => frames.glass.samples(performance.now()),
  events: journal.entries,
};
fillIn();
if (source.misnamed === undefined) {
  session.start();
} else {
  state = { is: "misnamed", name: source.misnamed };
  announce(state);
}
window.setInterval(show, SHOW_MS);
void new Tiers({
  cdn: () => session.lastCdn,
  seen: (processes) => publishAt(rtmpPort(processes) ?? RTMP_PORT),
}).start();
