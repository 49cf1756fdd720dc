// A visit of a page on which one stock player plays, in headless Chromium: how it begins, what was refused, how it ends.

import { launch } from "./chromium.mjs";
import { site } from "./site.mjs";

export const FIRST_FRAME_MS = 20_000;

/**
 * What is seen of a visit.
 * @typedef {{ page: import("playwright-core").Page, at: string, requests: number, refused: string[] }} Visit
 */

/**
 * Serves a page for the player and a browser for the page, and lets both go however the visit ends.
 * @template T
 * @param {{ library: string, begin: string }} player the script from npm, and what begins to play `url` in `video` with it
 * @param {{ url: string, width: number, seen: string }} page `seen` is what the page knows before that
 * @param {(visit: Visit) => Promise<T>} watch
 */
export async function visit(player, { url, width, seen }, watch) {
  const html = `<!doctype html><meta charset="utf-8"><script src="/player.js"></script>
    <video muted autoplay playsinline width="${width}"></video><script>
      const video = document.querySelector("video"), url = ${JSON.stringify(url)};
      ${seen}
      ${player.begin}
    </script>`;
  const { server, url: at } = await site(player.library, html);
  const browser = await launch();
  try {
    const page = await browser.newPage();
    /** @type {Visit} */
    const visited = { page, at, requests: 0, refused: [] };
    page.on("response", (response) => {
      visited.requests += 1;
      if (response.status() >= 400) visited.refused.push(`${response.status()} ${response.url()}`);
    });
    return await watch(visited);
  } finally {
    await browser.close();
    server.close();
  }
}

/**
 * Prints the line that a visit comes to; where nothing could be measured, one sentence, and the exit code is 1.
 * @param {() => Promise<object>} main
 */
export async function tell(main) {
  try {
    process.stdout.write(`${JSON.stringify(await main())}\n`);
  } catch (error) {
    const sentence = error instanceof Error ? error.message.split("\n")[0] : error;
    process.stderr.write(`${sentence}\n`);
    process.exitCode = 1;
  }
}
