// The sentences and figures a viewer reads. Pure: values in, text out.

import type { State } from "./session";

/** What the page shows: what the session does, or why there is none, or that its picture does not move. */
export type Shown = State | { is: "standing" } | { is: "misnamed"; name: string };

/** A headline and what to do about it. */
export interface Message {
  title: string;
  text: string;
  /** A command to copy, where one helps. */
  command?: string;
}

const STREAM_NAME = /^[A-Za-z0-9_-]{1,64}$/;

/** Stream names as the origin accepts them. */
export function isStreamName(text: string): boolean {
  return STREAM_NAME.test(text);
}

/** How to publish a stream to the machine the page came from. */
export function publishCommand(stream: string, host: string, port: number): string {
  return `ffmpeg -re -i FILE -c copy -f flv rtmp://${host}:${port}/live/${stream}`;
}

/** What the badge and the message are about, of a stream that plays: a picture that stands, but for the last one there is. */
export function shownOf(state: Shown, standingMs: number, hasEnded: boolean): Shown {
  if (state.is !== "playing") return state;
  if (hasEnded) return { is: "ended" };
  return standingMs > 0 ? { is: "standing" } : state;
}

/** What to tell the viewer instead of a picture; null while one moves. */
export function messageFor(state: Shown, stream: string, command: string): Message | null {
  switch (state.is) {
    case "playing":
      return null;
    case "loading":
      return { title: "Connecting", text: "Waiting for the first picture." };
    case "recovering":
      return { title: "Reconnecting", text: "The connection broke. The page keeps trying." };
    case "standing":
      return {
        title: "Waiting for the stream",
        text: "Nothing new has come for some seconds. The page keeps trying.",
      };
    case "misnamed":
      return {
        title: `No stream can be named ${state.name}`,
        text: "A name has 1 to 64 letters, digits, hyphens or underscores. Write another one above.",
      };
    case "ended":
      return { title: "The stream has ended", text: "The page plays on when it comes back." };
    case "absent":
      return {
        title: `No stream named ${stream} is live`,
        text: "The page starts by itself as soon as it is. Publish with:",
        command,
      };
    case "unreachable":
      return {
        title: "The server cannot be reached",
        text:
          state.status === 0
            ? "It does not answer. The page keeps trying."
            : `It answers with status ${state.status}. The page keeps trying.`,
      };
    case "encrypted":
      return {
        title: "This stream is encrypted",
        text: "This page has no keys for it. Open it in a player that has.",
      };
    case "unsupported":
      return {
        title: "This browser cannot play the stream",
        text: "It has no Media Source Extensions or lacks the codecs. Use a current Chromium, Firefox or Safari.",
      };
  }
}

/** Seconds with two digits, or a dash. */
export function seconds(value: number | null, digits = 2): string {
  return value === null ? "–" : `${value.toFixed(digits)} s`;
}

/** A rendition as people name it. */
export function rendition(height: number, bitrate: number): string {
  const rate =
    bitrate >= 1_000_000
      ? `${(bitrate / 1e6).toFixed(1)} Mbit/s`
      : `${Math.round(bitrate / 1e3)} kbit/s`;
  return height > 0 ? `${height}p · ${rate}` : rate;
}
