// Headless Chromium for the scripts beside this one.

import { existsSync } from "node:fs";

const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
  "--autoplay-policy=no-user-gesture-required",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];

/** A reason why nothing could be measured, in words for the person at the terminal. */
export class Unmeasured extends Error {}

/** Starts Chromium, or says why it cannot be. */
export async function launch() {
  if (!existsSync(CHROMIUM)) {
    throw new Unmeasured(
      `there is no ${CHROMIUM}: apt install chromium, or set CHROMIUM to another one`,
    );
  }
  /** @type {typeof import("playwright-core")} */
  let playwright;
  try {
    playwright = await import("playwright-core");
  } catch {
    throw new Unmeasured("playwright-core is not installed: run npm ci in player/");
  }
  try {
    return await playwright.chromium.launch({
      executablePath: CHROMIUM,
      args: FLAGS,
      timeout: 30_000,
    });
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
    throw new Unmeasured(`${CHROMIUM} does not start: ${reason}`);
  }
}
