#!/usr/bin/env node
// Plays a URL in a stock player in headless Chromium and prints one JSON line about its thumbnails and subtitles.
//
//   node e2e/beside.mjs --player shaka --url http://127.0.0.1:8081/live/demo/index.m3u8 --seconds 20 [--back 10] [--picture FILE]
//
// Thumbnails are those of a place so many seconds back; with --picture the page is kept as an image that shows them. The exit code
// is 0 when the visit could be measured, whatever was there; 1 with one sentence on stderr when not.

import { parseArgs } from "node:util";
import { Unmeasured } from "./chromium.mjs";
import { FIRST_FRAME_MS, tell, visit } from "./visit.mjs";

/** Cues of all tracks of the element, as players that render with the browser leave them there. */
const CUES = `() => [...video.textTracks].flatMap((track) => [...(track.cues ?? [])].map((cue) =>
  ({ track: track.label, start: cue.startTime, end: cue.endTime, text: cue.text })))`;

/** The library from npm, how a page plays `url` with it, and how it asks for a thumbnail of the time `at`. */
const PLAYERS = {
  hls: {
    library: "hls.js/dist/hls.min.js",
    begin: `const player = new Hls({ lowLatencyMode: true });
      player.on(Hls.Events.ERROR, (_, data) => seen.errors.push((data.fatal ? "fatal " : "") + data.details));
      player.loadSource(url);
      player.attachMedia(video);
      seen.choose = () => { player.subtitleDisplay = true; player.subtitleTrack = 0; };
      seen.tracks = () => player.subtitleTracks.map((track) => track.name);
      seen.cues = ${CUES};`,
  },
  dash: {
    library: "dashjs/dist/modern/umd/dash.all.min.js",
    begin: `const player = dashjs.MediaPlayer().create();
      player.on("error", (event) => seen.errors.push(String(event.error?.message ?? event.error)));
      player.initialize(video, url, true);
      player.on("allTextTracksAdded", () => player.setTextTrack(0));
      seen.tracks = () => [...player.getTracksFor("text"), ...player.getTracksFor("image")].map((track) => track.type + " " + (track.lang ?? track.id));
      seen.cues = ${CUES};
      seen.thumbnail = (back) => new Promise((told) => {
        // Live, it counts from the beginning of the window.
        const at = (player.isDynamic() ? player.timeInDvrWindow() : player.time()) - back;
        player.provideThumbnail(at, (one) => told(one && { url: one.url, at, x: one.x, y: one.y, width: one.width, height: one.height }));
      });`,
  },
  shaka: {
    library: "shaka-player/dist/shaka-player.compiled.js",
    begin: `const player = new shaka.Player();
      player.addEventListener("error", (event) => seen.errors.push("code " + event.detail.code));
      player.attach(video).then(() => player.load(url)).then(() => {
        const text = player.getTextTracks()[0];
        if (text) { player.selectTextTrack(text); player.setTextTrackVisibility?.(true); }
      }).catch((error) => seen.errors.push("fatal " + (error.code ?? error)));
      seen.tracks = () => [...player.getTextTracks(), ...player.getImageTracks()].map((track) => track.type + " " + track.language);
      seen.thumbnail = async (back) => {
        const track = player.getImageTracks()[0];
        if (!track) return null;
        const at = video.currentTime - back;
        const one = await player.getThumbnails(track.id, at).catch((error) => void seen.errors.push("thumbnail " + error.code));
        return one && { url: one.uris[0], at, starts: one.startTime, lasts: one.duration,
          x: one.positionX, y: one.positionY, width: one.width, height: one.height };
      };
      seen.cues = ${CUES};`,
  },
};

function wishes() {
  const { values } = parseArgs({
    options: {
      player: { type: "string", default: "shaka" },
      url: { type: "string" },
      seconds: { type: "string", default: "20" },
      back: { type: "string", default: "6" },
      picture: { type: "string" },
    },
  });
  const [seconds, back] = [Number(values.seconds), Number(values.back)];
  const player = Object.entries(PLAYERS).find(([name]) => name === values.player);
  if (!player || !values.url || !(seconds > 0) || !(back >= 0)) {
    throw new Unmeasured("say --player hls, dash or shaka, --url URL, --seconds 20, --back 6");
  }
  return {
    name: player[0],
    player: player[1],
    url: values.url,
    seconds,
    back,
    picture: values.picture,
  };
}

/** Shows a thumbnail as a seek bar would: a window on its image. */
const SHOW = `(one) => {
  if (!one) return;
  const box = document.createElement("div");
  box.style = "background:url(" + one.url + ") -" + one.x + "px -" + one.y + "px;width:" + one.width + "px;height:" + one.height + "px";
  document.body.append(box);
}`;

async function main() {
  const { name, player, url, seconds, back, picture } = wishes();
  const seen = `const seen = { errors: [], tracks: () => [], choose: () => {}, cues: () => [], thumbnail: async () => null };`;
  return visit(player, { url, width: 480, seen }, async ({ page, at, refused }) => {
    await page.goto(at);
    await page
      .waitForFunction("video.currentTime > 0", undefined, { timeout: FIRST_FRAME_MS })
      .catch(() => {
        throw new Unmeasured(`no picture within ${FIRST_FRAME_MS / 1000} s`);
      });
    await page.evaluate("seen.choose()");
    await page.waitForTimeout(seconds * 1000);
    const report = await page.evaluate(
      `(async () => ({ position: video.currentTime, errors: seen.errors, tracks: seen.tracks(), cues: seen.cues(),
          thumbnail: await seen.thumbnail(${back}) }))()`,
    );
    const { thumbnail, ...rest } = /** @type {{ thumbnail: unknown }} */ (report);
    await page.evaluate(`(${SHOW})(${JSON.stringify(thumbnail)})`);
    if (picture !== undefined) await page.screenshot({ path: picture });
    return { player: name, ...rest, thumbnail, refused };
  });
}

await tell(main);
