#!/usr/bin/env node
// Plays a stream with stock Shaka in headless Chromium and prints one JSON line about which renditions it chose.
//
//   node e2e/shaka.mjs --url http://127.0.0.1:8083/live/demo/index.m3u8 --seconds 30
//
// Shaka is the one from npm, with nothing configured. Its page has an origin of its own, as pages of others do. The exit
// code is 0 when the visit could be measured, whatever it chose; 1 with one sentence on stderr when not.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { launch, Unmeasured } from "./chromium.mjs";

const SHAKA = "shaka-player/dist/shaka-player.compiled.js";
const PAGE = `<!doctype html><meta charset="utf-8"><title>Shaka</title>
<script src="/shaka.js"></script><video muted autoplay width="1280" height="720"></video>`;
const FIRST_FRAME_MS = 30_000;

function wishes() {
  const { values } = parseArgs({
    options: { url: { type: "string" }, seconds: { type: "string", default: "30" } },
  });
  const seconds = Number(values.seconds);
  if (!values.url || !(seconds > 0)) {
    throw new Unmeasured("say what to play and for how long: --url URL --seconds 30");
  }
  return { url: values.url, seconds };
}

/** A site with nothing but the page and the player. */
async function site() {
  const shaka = readFileSync(createRequire(import.meta.url).resolve(SHAKA));
  const server = createServer((request, response) => {
    const script = request.url === "/shaka.js";
    response.setHeader("Content-Type", script ? "text/javascript" : "text/html");
    response.end(script ? shaka : PAGE);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(null)));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Unmeasured("no port is free");
  return { server, url: `http://127.0.0.1:${address.port}/` };
}

/**
 * Begins to play and keeps book once a second.
 * @param {string} url
 */
async function play(url) {
  /** @type {any} */
  const page = window;
  const video = document.querySelector("video");
  const player = new page.shaka.Player();
  /** @type {string[]} */
  const errors = [];
  player.addEventListener("error", (/** @type {any} */ event) => errors.push(`${event.detail}`));
  await player.attach(video);
  /** @type {any[]} */
  const log = [];
  /** @type {string | null} */
  let cmsd = null;
  player.addEventListener("downloadheadersreceived", (/** @type {any} */ event) => {
    cmsd = event.headers["cmsd-dynamic"] ?? cmsd;
  });
  await player.load(url);
  setInterval(() => {
    const active = player.getVariantTracks().find((/** @type {any} */ track) => track.active);
    const stats = player.getStats();
    log.push({
      at: Math.round(performance.now()),
      height: active?.height ?? null,
      estimate: Math.round(stats.estimatedBandwidth),
      latency: Math.round(stats.liveLatency * 100) / 100,
      stalled: Math.round(stats.bufferingTime * 100) / 100,
    });
  }, 1000);
  page.told = () => ({
    version: page.shaka.Player.version,
    heights: player
      .getVariantTracks()
      .map((/** @type {any} */ track) => track.height)
      .sort((/** @type {number} */ a, /** @type {number} */ b) => a - b),
    bandwidths: player.getVariantTracks().map((/** @type {any} */ track) => track.bandwidth),
    cmsd,
    played: video?.currentTime ?? 0,
    errors,
    log,
  });
}

async function main() {
  const { url, seconds } = wishes();
  const { server, url: home } = await site();
  const chromium = await launch();
  try {
    const page = await chromium.newPage();
    /** @type {string[]} */
    const pageErrors = [];
    page.on("pageerror", (error) => pageErrors.push(error.message));
    await page.goto(home);
    await page.evaluate(play, url).catch((error) => {
      throw new Unmeasured(`Shaka does not load ${url}: ${error.message.split("\n")[0]}`);
    });
    const plays = () => (document.querySelector("video")?.currentTime ?? 0) > 0;
    await page.waitForFunction(plays, null, { timeout: FIRST_FRAME_MS, polling: 100 }).catch(() => {
      throw new Unmeasured(`no picture within ${FIRST_FRAME_MS / 1000} s`);
    });
    await page.waitForTimeout(seconds * 1000);
    const told = await page.evaluate(() => /** @type {any} */ (window).told());
    process.stdout.write(`${JSON.stringify({ url, seconds, ...told, pageErrors })}\n`);
  } finally {
    await chromium.close();
    server.close();
  }
}

main().catch((error) => {
  process.stderr.write(
    `${error instanceof Unmeasured ? error.message : (error?.stack ?? error)}\n`,
  );
  process.exitCode = 1;
});
