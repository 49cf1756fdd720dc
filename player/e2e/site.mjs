// Serves a page and the script of one stock player from a port of their own.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Unmeasured } from "./chromium.mjs";

/**
 * A site with nothing but the page and the player.
 * @param {string} library
 * @param {string} page
 */
export async function site(library, page) {
  const script = readFileSync(new URL(`../node_modules/${library}`, import.meta.url));
  const server = createServer((request, response) => {
    const wantsScript = request.url === "/player.js";
    response.setHeader("Content-Type", wantsScript ? "text/javascript" : "text/html");
    response.end(wantsScript ? script : page);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(null)));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Unmeasured("no port is free");
  return { server, url: `http://127.0.0.1:${address.port}/` };
}
