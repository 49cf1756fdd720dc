#!/usr/bin/env node
// Plays a URL in a stock player (hls.js, dash.js or Shaka) in headless Chromium and prints one JSON line about it.
//
//   node e2e/stock.mjs --player dash --url http://127.0.0.1:8083/dash/live.mpd --seconds 20 [--license URL]
//     [--back SECONDS | --at SECONDS] [--video CODEC] [--audio CODEC]
//
// With --license the media are encrypted by cbcs, and browsers get clear keys by POST there.
// With --back it goes back that far after the visit, by the player's own means, plays as long there, and returns to live; with --at,
// which is for recordings, it goes to that time. What was on the screen is read from the clock in the test picture. With --video and
// --audio the player is told to prefer these codecs, as in --video av01 --audio opus; "chose" is what it took, in its order.
// The exit code is 0 when the visit could be measured, whatever the figures; 1 with one sentence on stderr when not.

import { parseArgs } from "node:util";
import { clockOf, told } from "./bar.mjs";
import { Unmeasured } from "./chromium.mjs";
import { kept, LUMA, PLAYERS } from "./players.mjs";
import { FIRST_FRAME_MS, tell, visit } from "./visit.mjs";

/** Pictures that are read in a visit, one each so many milliseconds. */
const PICTURES_EACH_MS = 1000;

/**
 * Lets it play for so long; the clocks of what was on the screen. What the player has chosen is added to `chose` where it is
 * another than before.
 * @param {import("playwright-core").Page} page
 * @param {number} seconds
 * @param {string[]} chose
 */
async function watch(page, seconds, chose) {
  /** @type {import("./bar.mjs").Picture[]} */
  const pictures = [];
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    await page.waitForTimeout(PICTURES_EACH_MS);
    pictures.push({ clock: clockOf(await page.evaluate(LUMA)), wall: Date.now() });
    const [video, height, audio] = /** @type {unknown[]} */ (await page.evaluate("seen.chosen()"));
    const now = `${video} of ${height} with ${audio}`;
    if (chose.at(-1) !== now) chose.push(now);
  }
  return pictures;
}

function wishes() {
  const { values } = parseArgs({
    options: {
      player: { type: "string", default: "hls" },
      url: { type: "string" },
      seconds: { type: "string", default: "20" },
      license: { type: "string" },
      back: { type: "string" },
      at: { type: "string" },
      video: { type: "string" },
      audio: { type: "string" },
    },
  });
  const seconds = Number(values.seconds);
  const back = values.back === undefined ? null : Number(values.back);
  const at = values.at === undefined ? null : Number(values.at);
  const player = Object.entries(PLAYERS).find(([name]) => name === values.player);
  if (
    !player ||
    !values.url ||
    !(seconds > 0) ||
    (back !== null && !(back > 0)) ||
    (at !== null && !(at >= 0))
  ) {
    throw new Unmeasured(
      "say --player hls, dash or shaka, --url URL, --seconds 20, --back 30 or --at 30, --video av01, --audio opus",
    );
  }
  const license = values.license ?? null;
  const prefer = {
    ...(values.video && { video: values.video }),
    ...(values.audio && { audio: values.audio }),
  };
  return {
    name: player[0],
    player: player[1],
    url: values.url,
    seconds,
    license,
    prefer,
    back,
    at,
  };
}

/**
 * Goes back and plays there: where that is, seen from the live edge, and what was played.
 * @param {import("playwright-core").Page} page
 * @param {number} back seconds
 * @param {number} seconds
 * @param {string[]} chose
 */
async function goBack(page, back, seconds, chose) {
  const before = Number(await page.evaluate("video.currentTime"));
  await page.evaluate(`seen.back(${back})`);
  const pictures = told(await watch(page, seconds, chose));
  const after = Number(await page.evaluate("video.currentTime"));
  const latency = await page.evaluate("seen.latency()");
  await page.evaluate("void seen.live()");
  const live = told(await watch(page, seconds, chose));
  return {
    played: after - (before - back),
    latency,
    pictures,
    live,
    stalls: await page.evaluate("seen.stalls"),
  };
}

/**
 * Goes to a time of a recording and plays there: what was played, and whether it stalled.
 * @param {import("playwright-core").Page} page
 * @param {number} at seconds
 * @param {number} seconds
 * @param {import("./bar.mjs").Picture[]} before what was on the screen
 * @param {string[]} chose
 */
async function goTo(page, at, seconds, before, chose) {
  await page.evaluate(`seen.stalls = 0, seen.began = false, video.currentTime = ${at}`);
  const pictures = told(await watch(page, seconds, chose), before);
  return {
    played: Number(await page.evaluate("video.currentTime")) - at,
    pictures,
    stalls: await page.evaluate("seen.stalls"),
  };
}

async function main() {
  const { name, player, url, seconds, license, prefer, back, at } = wishes();
  return visit(player, { url, width: 320, seen: kept(license, prefer) }, async (visited) => {
    const { page } = visited;
    /** @type {string[]} */
    const chose = [];
    const opened = Date.now();
    await page.goto(visited.at);
    const first = page.waitForFunction("seen.began && video.currentTime > 0", undefined, {
      timeout: FIRST_FRAME_MS,
    });
    // A player that never begins is a figure too.
    const firstFrame = await first.then(() => (Date.now() - opened) / 1000).catch(() => null);
    const from = Number(await page.evaluate("video.currentTime"));
    const pictures = await watch(page, seconds, chose);
    const report = await page.evaluate(
      `({ version: seen.version, position: video.currentTime, latency: seen.latency(), stalls: seen.stalls, errors: seen.errors,
          frames: video.getVideoPlaybackQuality().totalVideoFrames })`,
    );
    const { position, ...rest } = /** @type {{ position: number }} */ (report);
    const went = back === null ? null : await goBack(page, back, seconds, chose);
    return {
      player: name,
      firstFrame,
      played: position - from,
      ...rest,
      pictures: told(pictures),
      back: went,
      at: at === null ? null : await goTo(page, at, seconds, pictures, chose),
      chose,
      requests: visited.requests,
      refused: visited.refused,
    };
  });
}

await tell(main);
