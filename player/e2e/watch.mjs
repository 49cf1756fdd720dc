#!/usr/bin/env node
// Watches a page of ours in headless Chromium for a while and prints one JSON line about what a viewer had.
//
//   node e2e/watch.mjs --url http://127.0.0.1:8080/ --seconds 30
//       [--break-after N (--break-pid PID | --break-url URL)] [--back-after N --back SECONDS]
//       [--screenshot FILE] [--json FILE] [--size 1280x800]
//
// With --back, the viewer draws the seek bar so many seconds back after N, watches there for half of what is left, and goes
// live again with the button. In the URL to break, {cdn} stands for the pathway that serves the viewer then.
//
// The exit code is 0 when the visit could be measured, whatever the figures; 1 with one sentence on stderr when not.

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { launch, Unmeasured } from "./chromium.mjs";

/** How long the first picture may take before the visit counts as failed. */
const FIRST_FRAME_MS = 20_000;
const MOST_CONSOLE_LINES = 50;

/**
 * @typedef {object} Wish
 * @property {string} url
 * @property {number} seconds
 * @property {number | null} breakAfter
 * @property {number | null} breakPid
 * @property {string | null} breakUrl
 * @property {number | null} backAfter
 * @property {number} back
 * @property {string | null} screenshot
 * @property {string | null} json
 * @property {{ width: number, height: number }} size
 */

/** @returns {Wish} */
function wishes() {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        url: { type: "string" },
        seconds: { type: "string", default: "30" },
        "break-after": { type: "string" },
        "break-pid": { type: "string" },
        "break-url": { type: "string" },
        "back-after": { type: "string" },
        back: { type: "string", default: "10" },
        screenshot: { type: "string" },
        json: { type: "string" },
        size: { type: "string", default: "1280x800" },
      },
    }));
  } catch (error) {
    throw new Unmeasured(
      `${error instanceof Error ? error.message : error}; see the head of e2e/watch.mjs`,
    );
  }
  if (!values.url) throw new Unmeasured("say which page to watch: --url http://127.0.0.1:8080/");
  const size = /^(\d+)x(\d+)$/.exec(values.size);
  if (!size) throw new Unmeasured(`--size takes WIDTHxHEIGHT, not "${values.size}"`);
  const breakAfter = number(values["break-after"], "--break-after");
  if (breakAfter !== null && !values["break-pid"] && !values["break-url"]) {
    throw new Unmeasured(
      "--break-after needs to know what to break: --break-pid PID or --break-url URL",
    );
  }
  return {
    url: values.url,
    seconds: number(values.seconds, "--seconds") ?? 30,
    breakAfter,
    breakPid: number(values["break-pid"], "--break-pid"),
    breakUrl: values["break-url"] ?? null,
    backAfter: number(values["back-after"], "--back-after"),
    back: number(values.back, "--back") ?? 10,
    screenshot: values.screenshot ?? null,
    json: values.json ?? null,
    size: { width: Number(size[1]), height: Number(size[2]) },
  };
}

/**
 * @param {string | undefined} text
 * @param {string} option
 */
function number(text, option) {
  if (text === undefined) return null;
  const value = Number(text);
  if (!(value >= 0)) throw new Unmeasured(`${option} takes a number, not "${text}"`);
  return value;
}

/**
 * Counts what the page does besides playing.
 * @param {import("playwright-core").Page} page
 */
function observe(page) {
  const seen = {
    /** @type {Record<string, number>} */ requests: {},
    /** @type {Record<string, number>} */ failedRequests: {},
    /** @type {string[]} */ pageErrors: [],
    /** @type {string[]} */ consoleErrors: [],
    navigations: 0,
  };
  /** @param {Record<string, number>} counts @param {string} url */
  const count = (counts, url) => {
    const { host } = new URL(url);
    if (host) counts[host] = (counts[host] ?? 0) + 1;
  };
  page.on("request", (request) => count(seen.requests, request.url()));
  page.on("requestfailed", (request) => {
    // A player aborts requests of its own when it changes its mind: those are no failures.
    if (request.failure()?.errorText !== "net::ERR_ABORTED")
      count(seen.failedRequests, request.url());
  });
  page.on("pageerror", (error) => seen.pageErrors.push(error.message));
  page.on("console", (message) => {
    if (message.type() !== "error" || seen.consoleErrors.length >= MOST_CONSOLE_LINES) return;
    seen.consoleErrors.push(`${message.text()} ${message.location().url}`.trim());
  });
  page.on("framenavigated", (frame) => {
    if (frame === page.mainFrame()) seen.navigations++;
  });
  return seen;
}

/**
 * Kills a process or asks for the breaking of a tier, and says when that happened on the page's clock.
 * @param {import("playwright-core").Page} page
 * @param {Wish} wish
 */
async function breakIt(page, wish) {
  const at = await page.evaluate(() => performance.now());
  if (wish.breakPid !== null) {
    try {
      process.kill(wish.breakPid, "SIGKILL");
    } catch (error) {
      throw new Unmeasured(
        `process ${wish.breakPid} cannot be ended: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  if (wish.breakUrl !== null) {
    const serving = await page.evaluate(() => window.vivid.snapshot().cdns.at(-1)?.pathway ?? "");
    const url = wish.breakUrl.replace("{cdn}", encodeURIComponent(serving));
    const answer = await fetch(url, { method: "POST" }).catch(() => null);
    if (!answer?.ok) throw new Unmeasured(`POST ${url} answered ${answer?.status ?? "nothing"}`);
  }
  return at;
}

/**
 * Goes back with the seek bar, watches there, and goes live again: how late the picture was before, there and after, by its
 * own clock, and by how many frames it went on there.
 * @param {import("playwright-core").Page} page
 * @param {Wish} wish
 * @param {number} length seconds
 */
async function goBack(page, wish, length) {
  const look = () =>
    page.evaluate(() => {
      const { at, latency, presented } = window.vivid.snapshot();
      return { at, seconds: latency?.seconds ?? null, presented };
    });
  const before = await look();
  const shown = await page.evaluate((back) => {
    const seek = /** @type {HTMLInputElement} */ (document.getElementById("seek"));
    if (seek.parentElement?.hidden) return false;
    seek.valueAsNumber = -back;
    seek.dispatchEvent(new Event("input"));
    seek.dispatchEvent(new Event("change"));
    return true;
  }, wish.back);
  if (!shown) throw new Unmeasured("the page offers nothing to go back to");
  await page.waitForTimeout((length / 4) * 1000);
  const began = await look();
  await page.waitForTimeout((length / 4) * 1000);
  const there = await look();
  if (wish.screenshot !== null) await page.screenshot({ path: wish.screenshot });
  await page.click("#live");
  await page.waitForTimeout((length / 2) * 1000);
  const after = await look();
  return {
    before: before.seconds,
    there: there.seconds,
    frames: there.presented - began.presented,
    after: after.seconds,
  };
}

/**
 * Plays for the wished time and takes the page's own figures.
 * @param {import("playwright-core").Page} page
 * @param {Wish} wish
 */
async function visit(page, wish) {
  const answer = await page.goto(wish.url, { timeout: 15_000 }).catch(() => null);
  if (!answer?.ok()) {
    throw new Unmeasured(
      `${wish.url} answered ${answer?.status() ?? "nothing"}: is vivid running there?`,
    );
  }
  const ours = await page.evaluate(() => "vivid" in window);
  if (!ours)
    throw new Unmeasured(`${wish.url} is not a page of this player: it has no window.vivid`);
  try {
    await page.waitForFunction(() => window.vivid.snapshot().firstFrameMs !== null, null, {
      timeout: FIRST_FRAME_MS,
      polling: 50,
    });
  } catch {
    const told = await page.evaluate(() => document.getElementById("notice")?.textContent ?? "");
    const words = told.replaceAll(/\s+/g, " ").trim();
    throw new Unmeasured(
      `no picture within ${FIRST_FRAME_MS / 1000} s; the page says: ${words || "nothing"}`,
    );
  }
  const event = wish.breakAfter ?? wish.backAfter;
  const first = event === null ? wish.seconds : Math.min(event, wish.seconds);
  await page.waitForTimeout(first * 1000);
  const brokenAt = wish.breakAfter === null ? null : await breakIt(page, wish);
  const left = wish.seconds - first;
  const back = wish.backAfter === null ? null : await goBack(page, wish, left);
  if (back === null) await page.waitForTimeout(left * 1000);
  const figures = await page.evaluate(() => ({
    snapshot: window.vivid.snapshot(),
    events: [...window.vivid.events],
  }));
  if (wish.screenshot !== null && back === null) await page.screenshot({ path: wish.screenshot });
  return { brokenAt, back, ...figures };
}

/**
 * @param {Wish} wish
 * @param {Awaited<ReturnType<typeof visit>>} visited
 * @param {ReturnType<typeof observe>} seen
 */
function report(wish, { brokenAt, back, snapshot, events }, seen) {
  const after = (/** @type {number} */ at) => (brokenAt === null ? null : seconds(at - brokenAt));
  const moved = snapshot.cdns.find((cdn) => brokenAt !== null && cdn.at > brokenAt);
  const stalls = snapshot.stalls.map((stall) => ({
    at: seconds(stall.at),
    seconds: seconds(stall.seconds * 1000),
    cause: stall.cause,
  }));
  // A picture that stands still when the visit ends is a stall too.
  if (snapshot.standingMs > 0) {
    stalls.push({
      at: seconds(snapshot.at - snapshot.standingMs),
      seconds: seconds(snapshot.standingMs),
      cause: "rebuffer",
    });
  }
  return {
    url: wish.url,
    seconds: wish.seconds,
    state: snapshot.state,
    firstFrameMs: Math.round(snapshot.firstFrameMs ?? 0),
    firstFrameFromNavigationMs: Math.round(snapshot.firstFrameFromNavigationMs ?? 0),
    stalls,
    rebufferSeconds: seconds(
      stalls.reduce(
        (sum, { seconds, cause }) => sum + (cause === "rebuffer" ? seconds * 1000 : 0),
        0,
      ),
    ),
    glassToGlass: snapshot.glassToGlass,
    bar: snapshot.bar,
    edgeDistance: snapshot.edgeDistance,
    targetLatency: snapshot.targetLatency,
    framesPresented: snapshot.presented,
    framesDropped: snapshot.dropped,
    cdns: snapshot.cdns,
    pathways: snapshot.pathways,
    renditions: snapshot.renditions,
    brokenAt: brokenAt === null ? null : seconds(brokenAt),
    movedAfter: moved ? after(moved.at) : null,
    back,
    restarts: snapshot.restarts,
    jumps: events.filter((event) => event.what === "jump").length,
    reloads: Math.max(0, seen.navigations - 1),
    requests: seen.requests,
    failedRequests: seen.failedRequests,
    pageErrors: seen.pageErrors,
    consoleErrors: seen.consoleErrors,
    events,
  };
}

/** Seconds with three digits, from milliseconds. @param {number} ms */
function seconds(ms) {
  return Math.round(ms) / 1000;
}

async function main() {
  const wish = wishes();
  const chromium = await launch();
  try {
    const context = await chromium.newContext({ viewport: wish.size });
    const page = await context.newPage();
    const seen = observe(page);
    const line = JSON.stringify(report(wish, await visit(page, wish), seen));
    if (wish.json !== null) writeFileSync(wish.json, `${line}\n`);
    process.stdout.write(`${line}\n`);
  } finally {
    await chromium.close();
  }
}

main().catch((error) => {
  process.stderr.write(
    `${error instanceof Unmeasured ? error.message : (error?.stack ?? error)}\n`,
  );
  process.exitCode = 1;
});
