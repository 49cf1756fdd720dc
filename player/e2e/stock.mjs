#!/usr/bin/env node
// Plays a URL in a stock player (hls.js, dash.js or Shaka) in headless Chromium and prints one JSON line about it.
//
//   node e2e/stock.mjs --player dash --url http://127.0.0.1:8083/dash/live.mpd --seconds 20 [--license URL]
//     [--back SECONDS | --at SECONDS]
//
// With --license the media are encrypted by cbcs, and browsers get clear keys by POST there.
// With --back it goes back that far after the visit, by the player's own means, plays as long there, and returns to live; with --at,
// which is for recordings, it goes to that time. What was on the screen is read from the clock in the test picture.
// The exit code is 0 when the visit could be measured, whatever the figures; 1 with one sentence on stderr when not.

import { parseArgs } from "node:util";
import { CELLS, clockOf, told } from "./bar.mjs";
import { Unmeasured } from "./chromium.mjs";
import { FIRST_FRAME_MS, tell, visit } from "./visit.mjs";

/** The library from npm, and how a page begins to play `url` in `video` with it. */
const PLAYERS = {
  hls: {
    library: "hls.js/dist/hls.min.js",
    begin: `const drmSystems = { "org.w3.clearkey": { licenseUrl: license } };
      const player = new Hls({ lowLatencyMode: true, ...(license && { emeEnabled: true, drmSystems }) });
      player.on(Hls.Events.ERROR, (_, data) => seen.errors.push((data.fatal ? "fatal " : "") + data.details));
      player.loadSource(url);
      player.attachMedia(video);
      seen.latency = () => player.latency;
      seen.version = Hls.version;
      seen.back = (seconds) => { video.currentTime -= seconds; };
      seen.live = () => { video.currentTime = player.liveSyncPosition; };`,
  },
  dash: {
    library: "dashjs/dist/modern/umd/dash.all.min.js",
    begin: `const player = dashjs.MediaPlayer().create();
      player.on("error", (event) => seen.errors.push(String(event.error?.message ?? event.error)));
      player.initialize(video, url, true);
      if (license) player.setProtectionData({ "org.w3.clearkey": { serverURL: license } });
      seen.latency = () => player.getCurrentLiveLatency();
      seen.version = player.getVersion();
      seen.back = (seconds) => player.seek(player.timeInDvrWindow() - seconds);
      seen.live = () => player.seekToOriginalLive();`,
  },
  shaka: {
    library: "shaka-player/dist/shaka-player.compiled.js",
    begin: `const player = new shaka.Player();
      if (license && url.endsWith(".mpd")) player.configure({ drm: { servers: { "org.w3.clearkey": license } } });
      player.addEventListener("error", (event) => seen.errors.push("code " + event.detail.code));
      player.attach(video).then(() => player.load(url)).catch((error) => seen.errors.push("fatal " + error.code));
      seen.latency = () => player.getStats().liveLatency;
      seen.version = shaka.Player.version;
      seen.back = (seconds) => { video.currentTime -= seconds; };
      seen.live = () => player.goToLive();`,
  },
};

/** Pictures that are read in a visit, one each so many milliseconds. */
const PICTURES_EACH_MS = 1000;

/** The luma in the middle of each cell of the bar, as far as there is a picture. */
const LUMA = `(() => {
  const [width, height] = [video.videoWidth, video.videoHeight];
  if (!width) return [];
  const canvas = new OffscreenCanvas(width, 1).getContext("2d");
  canvas.drawImage(video, 0, Math.floor(height / 40), width, 1, 0, 0, width, 1);
  const { data } = canvas.getImageData(0, 0, width, 1);
  return Array.from({ length: ${CELLS} }, (_, cell) => data[4 * Math.floor(((2 * cell + 1) * width) / ${2 * CELLS}) + 1]);
})()`;

/**
 * Lets it play for so long; the clocks of what was on the screen.
 * @param {import("playwright-core").Page} page
 * @param {number} seconds
 */
async function watch(page, seconds) {
  /** @type {import("./bar.mjs").Picture[]} */
  const pictures = [];
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    await page.waitForTimeout(PICTURES_EACH_MS);
    pictures.push({ clock: clockOf(await page.evaluate(LUMA)), wall: Date.now() });
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
      "say --player hls, dash or shaka, --url URL, --seconds 20, --back 30 or --at 30",
    );
  }
  const license = values.license ?? null;
  return { name: player[0], player: player[1], url: values.url, seconds, license, back, at };
}

/**
 * Goes back and plays there: where that is, seen from the live edge, and what was played.
 * @param {import("playwright-core").Page} page
 * @param {number} back seconds
 * @param {number} seconds
 */
async function goBack(page, back, seconds) {
  const before = Number(await page.evaluate("video.currentTime"));
  await page.evaluate(`seen.back(${back})`);
  const pictures = told(await watch(page, seconds));
  const after = Number(await page.evaluate("video.currentTime"));
  const latency = await page.evaluate("seen.latency()");
  await page.evaluate("void seen.live()");
  const live = told(await watch(page, seconds));
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
 */
async function goTo(page, at, seconds, before) {
  await page.evaluate(`seen.stalls = 0, seen.began = false, video.currentTime = ${at}`);
  const pictures = told(await watch(page, seconds), before);
  return {
    played: Number(await page.evaluate("video.currentTime")) - at,
    pictures,
    stalls: await page.evaluate("seen.stalls"),
  };
}

async function main() {
  const { name, player, url, seconds, license, back, at } = wishes();
  const seen = `const license = ${JSON.stringify(license)};
      const seen = { errors: [], stalls: 0, began: false, latency: () => null };
      video.addEventListener("playing", () => { seen.began = true; });
      video.addEventListener("waiting", () => { if (seen.began) seen.stalls += 1; });`;
  return visit(player, { url, width: 320, seen }, async (visited) => {
    const { page } = visited;
    const opened = Date.now();
    await page.goto(visited.at);
    const first = page.waitForFunction("seen.began && video.currentTime > 0", undefined, {
      timeout: FIRST_FRAME_MS,
    });
    // A player that never begins is a figure too.
    const firstFrame = await first.then(() => (Date.now() - opened) / 1000).catch(() => null);
    const from = Number(await page.evaluate("video.currentTime"));
    const pictures = await watch(page, seconds);
    const report = await page.evaluate(
      `({ version: seen.version, position: video.currentTime, latency: seen.latency(), stalls: seen.stalls, errors: seen.errors,
          frames: video.getVideoPlaybackQuality().totalVideoFrames })`,
    );
    const { position, ...rest } = /** @type {{ position: number }} */ (report);
    const went = back === null ? null : await goBack(page, back, seconds);
    return {
      player: name,
      firstFrame,
      played: position - from,
      ...rest,
      pictures: told(pictures),
      back: went,
      at: at === null ? null : await goTo(page, at, seconds, pictures),
      requests: visited.requests,
      refused: visited.refused,
    };
  });
}

await tell(main);
