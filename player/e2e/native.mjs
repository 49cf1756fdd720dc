#!/usr/bin/env node
// Plays a URL in ffplay, VLC or GStreamer, without a screen, and prints one JSON line about the pictures that were decoded.
//
//   node e2e/native.mjs --player vlc --url http://127.0.0.1:8083/live/demo/index.m3u8 --seconds 20 [--back SECONDS | --at SECONDS]
//
// With --back it goes back that far in the window after the visit, plays as long there, and returns to live; with --at, which is for
// recordings, it goes to that time. What was played is read from the clock in the test picture. scripts/need players installs all three.
// The exit code is 0 when the visit could be measured, whatever the figures; 1 with one sentence on stderr when not.

import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { between, CELLS, clockOf, told } from "./bar.mjs";
import { Unmeasured } from "./chromium.mjs";

/** @typedef {import("./bar.mjs").Picture} Picture */
/** @typedef {{ url: string, seconds: number, back: number | null, at: number | null }} Wishes */
/** @typedef {{ version: string, first: Picture[], sought: Picture[] | null, returned: Picture[] | null, notes: string[] }} Seen */

/** A picture of every half second, at 30 frames per second. */
const PICTURES_EACH = 15;
/** What a player may take until its first picture. */
const PATIENCE_S = 15;
/** Lines on what went wrong that are kept. */
const NOTES_MAX = 5;
/** The middle row of the bar, as 40 pixels of luma. */
const BAR = "crop=iw:ih/40:0:0,scale=40:1:flags=area,format=gray";

/** @type {Record<string, (wishes: Wishes) => Promise<Seen>>} */
const PLAYERS = { ffplay, vlc, gstreamer };

/**
 * ffplay: its filters leave 40 pictures of one cell each, whose luma it logs. It seeks with -ss; in a window that goes on it can
 * only begin elsewhere.
 * @param {Wishes} wishes
 * @returns {Promise<Seen>}
 */
async function ffplay({ url, seconds, back, at }) {
  const version = firstLine("ffplay", ["-version"]).replace(/ Copyright.*/, "");
  /** @type {string[]} */
  const notes = [];
  const visit = (/** @type {string[]} */ options) => ffplayVisit([...options, url], seconds, notes);
  const first = await visit([]);
  if (at !== null) {
    return { version, first, sought: await visit(["-ss", String(at)]), returned: null, notes };
  }
  if (back === null) return { version, first, sought: null, returned: null, notes };
  const segments = Math.ceil(back / (await segmentLength(url)));
  const sought = await visit(["-live_start_index", String(-segments)]);
  return { version, first, sought, returned: await visit([]), notes };
}

/**
 * @param {string[]} options
 * @param {number} seconds
 * @param {string[]} notes
 */
async function ffplayVisit(options, seconds, notes) {
  const filters = `select='not(mod(n,${PICTURES_EACH}))',${BAR},untile=${CELLS}x1,showinfo`;
  const env = { ...process.env, SDL_VIDEODRIVER: "dummy", SDL_AUDIODRIVER: "dummy" };
  const all = ["-hide_banner", "-nostats", "-autoexit", "-vf", filters, ...options];
  const child = spawn("ffplay", all, { env, stdio: ["ignore", "ignore", "pipe"] });
  /** @type {Picture[]} */
  const pictures = [];
  /** @type {number[]} */
  let cells = [];
  const began = new Promise((resolve) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      const luma = / mean:\[(\d+)\]/.exec(line)?.[1];
      if (luma !== undefined) cells.push(Number(luma));
      else if (/error|invalid|failed to open|404/i.test(line)) note(notes, line);
      if (cells.length === CELLS) {
        pictures.push({ clock: clockOf(cells), wall: Date.now() });
        cells = [];
        resolve(null);
      }
    });
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  await Promise.race([began, ended, pause(PATIENCE_S * 1000)]);
  await Promise.race([ended, pause(seconds * 1000)]);
  child.kill("SIGKILL");
  await ended;
  return pictures;
}

/**
 * The length of a segment, as the first media playlist says.
 * @param {string} url
 */
async function segmentLength(url) {
  const lines = async (/** @type {string} */ at) => (await (await fetch(at)).text()).split("\n");
  const variant = (await lines(url)).find((line) => line && !line.startsWith("#"));
  const lengths = (await lines(new URL(variant ?? "", url).href)).flatMap((line) =>
    line.startsWith("#EXTINF:") ? [Number.parseFloat(line.slice(8))] : [],
  );
  return lengths[0] ?? 2;
}

/**
 * VLC: its scene filter writes pictures into a folder; it is told to seek through its socket.
 * @param {Wishes} wishes
 * @returns {Promise<Seen>}
 */
async function vlc({ url, seconds, back, at }) {
  // VLC does not run as root.
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const version = firstLine("vlc", ["--version"], user);
  const folder = mkdtempSync(join(tmpdir(), "vivid-vlc-"));
  chmodSync(folder, 0o777);
  const socket = join(folder, "rc");
  const scene = ["--scene-format=png", `--scene-ratio=${PICTURES_EACH}`, `--scene-path=${folder}`];
  const remote = ["-I", "oldrc", "--rc-fake-tty", "--rc-unix", socket];
  const options = [...remote, "--no-audio", "--vout=dummy", "--video-filter=scene", ...scene, url];
  const env = { ...process.env, HOME: folder };
  const child = spawn("vlc", options, { env, ...user, stdio: ["ignore", "ignore", "pipe"] });
  /** @type {string[]} */
  const notes = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    if (/ (demux|decoder|stream|access|output) error: /.test(line) && !/pulse/.test(line))
      note(notes, line.replace(/^\[\w+\] /, ""));
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  try {
    await Promise.race([ended, until(() => names(folder).length > 0)]);
    await Promise.race([ended, pause(seconds * 1000)]);
    const seen = names(folder).length;
    if (back === null && at === null) {
      return { version, first: scenes(folder), sought: null, returned: null, notes };
    }
    // In a live window VLC counts from what is listed first; its length is that of the window.
    const length = Number(await remoteControl(socket, "get_length"));
    await remoteControl(socket, `seek ${Math.round(at ?? length - (back ?? 0))}`);
    await Promise.race([ended, pause(seconds * 1000)]);
    const sought = names(folder).length;
    if (back !== null) {
      await remoteControl(socket, `seek ${length}`);
      await Promise.race([ended, pause(seconds * 1000)]);
    }
    const all = scenes(folder);
    // What was in its buffers is shown still.
    const split = (/** @type {number} */ from, /** @type {number | undefined} */ to) =>
      jumped(all.slice(from, to));
    return {
      version,
      first: all.slice(0, seen),
      sought: split(seen, sought),
      returned: back === null ? null : split(sought, undefined),
      notes,
    };
  } finally {
    child.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * From the first picture on that does not follow the one before it.
 * @param {Picture[]} pictures
 */
function jumped(pictures) {
  const behind = (/** @type {Picture | undefined} */ picture) =>
    picture && picture.clock !== null ? between(picture.clock, picture.wall) : null;
  const at = pictures.findIndex((picture, index) => {
    const [was, is] = [behind(pictures[index - 1]), behind(picture)];
    return was !== null && is !== null && Math.abs(is - was) > 1000;
  });
  return at < 0 ? pictures : pictures.slice(at);
}

/** @param {string} folder */
function names(folder) {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".png"))
    .sort();
}

/**
 * @param {string} folder
 * @returns {Picture[]}
 */
function scenes(folder) {
  const glob = ["-f", "image2", "-pattern_type", "glob", "-i", join(folder, "*.png")];
  const files = names(folder);
  const options = ["-v", "error", ...glob, "-vf", BAR, "-f", "rawvideo", "-"];
  const { stdout } = spawnSync("ffmpeg", options, { maxBuffer: 1 << 26 });
  return files.map((name, index) => ({
    clock: clockOf(stdout.subarray(CELLS * index, CELLS * (index + 1))),
    wall: statSync(join(folder, name)).mtimeMs,
  }));
}

/**
 * Says one thing to VLC; its first line that is a number.
 * @param {string} path
 * @param {string} command
 * @returns {Promise<string>}
 */
async function remoteControl(path, command) {
  const socket = connect(path);
  let said = "";
  socket.on("data", (data) => {
    said += data;
  });
  socket.on("error", () => {});
  socket.write(`${command}\n`);
  await until(() => !command.startsWith("get") || /^\d+\s*$/m.test(said), 5);
  socket.end();
  await pause(200);
  return /^\d+/m.exec(said)?.[0] ?? "0";
}

/**
 * @param {() => boolean} holds
 * @param {number} [seconds]
 */
async function until(holds, seconds = PATIENCE_S) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end && !holds(); ) await pause(100);
}

/**
 * GStreamer: what its playbin3 shows, as the script beside this one tells it.
 * @param {Wishes} wishes
 * @returns {Promise<Seen>}
 */
async function gstreamer({ url, seconds, back, at }) {
  const script = fileURLToPath(new URL("gstreamer.py", import.meta.url));
  const where = back !== null ? ["--back", String(back)] : at !== null ? ["--at", String(at)] : [];
  // Debian's own Python has the bindings.
  const child = spawn("/usr/bin/python3", [script, url, String(seconds), ...where]);
  /** @type {Seen & Record<string, any>} */
  const seen = { version: "", first: [], sought: null, returned: null, notes: [] };
  createInterface({ input: child.stdout }).on("line", (line) => {
    const { version, phase, cells, wall, error } = JSON.parse(line);
    if (version) seen.version = version;
    if (error) note(seen.notes, error);
    if (!cells) return;
    seen[phase] ??= [];
    seen[phase].push({ clock: clockOf(cells), wall });
  });
  createInterface({ input: child.stderr }).on("line", (line) => note(seen.notes, line));
  await new Promise((resolve) => child.on("exit", resolve));
  return seen;
}

/**
 * @param {string[]} notes
 * @param {string} line
 */
function note(notes, line) {
  if (notes.length < NOTES_MAX) notes.push(line.slice(0, 200));
}

/**
 * @param {string} program
 * @param {string[]} options
 * @param {{ uid?: number, gid?: number }} [user]
 */
function firstLine(program, options, user = {}) {
  const { stdout, error } = spawnSync(program, options, { encoding: "utf8", ...user });
  if (error) throw new Unmeasured(`there is no ${program}: scripts/need players installs it`);
  return stdout.split("\n")[0] ?? "";
}

function wishes() {
  const { values } = parseArgs({
    options: {
      player: { type: "string" },
      url: { type: "string" },
      seconds: { type: "string", default: "20" },
      back: { type: "string" },
      at: { type: "string" },
    },
  });
  const number = (/** @type {string | undefined} */ said) =>
    said === undefined ? null : Number(said);
  const [seconds, back, at] = [Number(values.seconds), number(values.back), number(values.at)];
  const play = PLAYERS[values.player ?? ""];
  if (!play || !values.url || !(seconds > 0) || !((back ?? 1) > 0) || !((at ?? 0) >= 0)) {
    throw new Unmeasured(
      "say --player ffplay, vlc or gstreamer, --url URL, --seconds 20, --back 60 or --at 30",
    );
  }
  return { name: values.player, play, visit: { url: values.url, seconds, back, at } };
}

async function main() {
  const { name, play, visit } = wishes();
  const { version, first, sought, returned, notes } = await play(visit);
  const line = {
    player: name,
    version,
    first: told(first),
    sought: sought && told(sought, first),
    returned: returned && told(returned, first),
    notes,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

main().catch((error) => {
  process.stderr.write(`${error instanceof Error ? error.message.split("\n")[0] : error}\n`);
  process.exitCode = 1;
});
