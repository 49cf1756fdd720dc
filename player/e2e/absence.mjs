#!/usr/bin/env node
// Plays a stream in a stock player (hls.js, dash.js or Shaka) in headless Chromium while its publisher is killed and comes back, and prints
// one JSON line about what was on the screen.
//
//   node e2e/absence.mjs --player dash --url http://127.0.0.1:8081/live/demo/index.mpd --away 9 \
//     --publish "vivid source --url rtmp://127.0.0.1:1935/live/demo" [--seconds 20] [--trace FILE]
//
// The script runs the publisher itself. `stood` is the longest time without another picture since the publisher went, `skipped` what of the
// stream was not shown besides its absence, in seconds; with --trace each look at the page is a line of that file. The exit code is 0 when
// the visit could be measured, whatever the figures; 1 with one sentence on stderr when not.

import { spawn } from "node:child_process";
import { appendFileSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { between, clockOf } from "./bar.mjs";
import { Unmeasured } from "./chromium.mjs";
import { kept, LUMA, PLAYERS } from "./players.mjs";
import { FIRST_FRAME_MS, tell, visit } from "./visit.mjs";

/** Between two looks at the page. */
const LOOK_MS = 250;
/** Before the publisher goes. */
const BEFORE_S = 10;
/** A stream begins within that, and is so old when a player comes: some want several segments. */
const BEGINS_MS = 30_000;
const AGE_MS = 8_000;

/**
 * A look at the page.
 * @typedef {{ wall: number, time: number, clock: number | null, paused: boolean, seeking: boolean, ended: boolean,
 *   latency: number | null, buffered: number[][] }} Look
 */

function wishes() {
  const { values } = parseArgs({
    options: {
      player: { type: "string", default: "dash" },
      url: { type: "string" },
      away: { type: "string", default: "9" },
      seconds: { type: "string", default: "20" },
      publish: { type: "string" },
      trace: { type: "string" },
    },
  });
  const [away, seconds] = [Number(values.away), Number(values.seconds)];
  const player = Object.entries(PLAYERS).find(([name]) => name === values.player);
  const [program, ...args] = values.publish?.split(" ") ?? [];
  if (!player || !values.url || !(away > 0) || !(seconds > 0) || !program) {
    throw new Unmeasured(
      "say --player hls, dash or shaka, --url URL, --away 9, --seconds 20, --publish COMMAND",
    );
  }
  const publish = () => spawn(program, args, { stdio: "ignore" });
  return {
    name: player[0],
    player: player[1],
    url: values.url,
    away,
    seconds,
    publish,
    trace: values.trace,
  };
}

/** @param {string} url */
async function begins(url) {
  for (const end = Date.now() + BEGINS_MS; Date.now() < end; await pause(LOOK_MS)) {
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) return pause(AGE_MS);
  }
  throw new Unmeasured(`${url} does not begin`);
}

/**
 * Looks at the page for so long.
 * @param {import("playwright-core").Page} page
 * @param {number} seconds
 * @param {(look: Look) => void} keep
 */
async function watch(page, seconds, keep) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(LOOK_MS)) {
    const { luma, ...rest } = /** @type {Look & { luma: number[] }} */ (
      await page.evaluate(`({ luma: ${LUMA}, time: video.currentTime, paused: video.paused, seeking: video.seeking, ended: video.ended,
        latency: seen.latency(), buffered: Array.from({ length: video.buffered.length }, (_, i) => [video.buffered.start(i), video.buffered.end(i)]) })`)
    );
    keep({ ...rest, wall: Date.now(), clock: clockOf(luma) });
  }
}

/**
 * @param {Look[]} looks
 * @param {number} gone when the publisher went
 */
function told(looks, gone) {
  let [stood, since, skipped] = [0, gone, 0];
  for (const [index, now] of looks.entries()) {
    const last = looks[index - 1];
    if (!last || now.wall <= gone) continue;
    // A slate has no clock in its picture.
    const clocked = now.clock !== null && last.clock !== null;
    if (clocked ? now.clock !== last.clock : now.time !== last.time) since = now.wall;
    stood = Math.max(stood, now.wall - since);
    if (now.clock !== null && last.clock !== null) {
      skipped += Math.max(0, between(last.clock, now.clock) - (now.wall - last.wall));
    }
  }
  const read = looks.flatMap(({ clock, wall }) => (clock === null ? [] : [{ clock, wall }]));
  const behind = (/** @type {{ clock: number, wall: number } | undefined} */ one) =>
    one ? Math.round(between(one.clock, one.wall) / 100) / 10 : null;
  const before = read.filter(({ wall }) => wall <= gone).at(-1);
  return {
    stood: Math.round(stood / 100) / 10,
    skipped: Math.round(skipped / 100) / 10,
    behind: [behind(before), behind(read.at(-1))],
  };
}

async function main() {
  const { name, player, url, away, seconds, publish, trace } = wishes();
  let publisher = publish();
  try {
    await begins(url);
    return await visit(player, { url, width: 320, seen: kept(null) }, async (visited) => {
      const { page } = visited;
      await page.goto(visited.at);
      const plays = page.waitForFunction("seen.began && video.currentTime > 0", undefined, {
        timeout: FIRST_FRAME_MS,
      });
      await plays.catch(() => {
        throw new Unmeasured(`no picture within ${FIRST_FRAME_MS / 1000} s`);
      });
      /** @type {Look[]} */
      const looks = [];
      if (trace !== undefined) writeFileSync(trace, "");
      const keep = (/** @type {Look} */ look) => {
        looks.push(look);
        if (trace !== undefined) appendFileSync(trace, `${JSON.stringify(look)}\n`);
      };
      await watch(page, BEFORE_S, keep);
      publisher.kill("SIGKILL");
      const gone = Date.now();
      await watch(page, away, keep);
      publisher = publish();
      await watch(page, seconds, keep);
      const report = await page.evaluate(
        "({ version: seen.version, stalls: seen.stalls, errors: seen.errors })",
      );
      return {
        player: name,
        away,
        .../** @type {object} */ (report),
        ...told(looks, gone),
        requests: visited.requests,
        refused: visited.refused.length,
        firstRefused: visited.refused.slice(0, 5),
      };
    });
  } finally {
    publisher.kill("SIGKILL");
  }
}

await tell(main);
