#!/usr/bin/env node
// An origin for packagers that PUT: what is being sent is served while it grows, chunk by chunk.
//
//   node e2e/put-origin.mjs PORT
//
// One line on stderr for each GET, so that requests can be counted.

import { createServer } from "node:http";

/** @type {Map<string, { chunks: Buffer[], whole: boolean, readers: Set<import("node:http").ServerResponse> }>} */
const files = new Map();
/** @type {Record<string, string>} */
const TYPES = { mpd: "application/dash+xml", m3u8: "application/vnd.apple.mpegurl" };

createServer((request, answer) => {
  const path = new URL(request.url ?? "/", "http://origin").pathname;
  if (request.method === "PUT" || request.method === "POST") {
    /** @type {{ chunks: Buffer[], whole: boolean, readers: Set<import("node:http").ServerResponse> }} */
    const file = { chunks: [], whole: false, readers: new Set() };
    // A manifest is replaced once it is there; media are served from their first byte on.
    const growing = /\.(m4s|mp4)$/.test(path);
    if (growing) files.set(path, file);
    request.on("data", (/** @type {Buffer} */ chunk) => {
      file.chunks.push(chunk);
      for (const reader of file.readers) reader.write(chunk);
    });
    request.on("end", () => {
      file.whole = true;
      if (!growing) files.set(path, file);
      for (const reader of file.readers) reader.end();
      answer.writeHead(201).end();
    });
    return;
  }
  if (request.method === "DELETE") {
    files.delete(path);
    answer.writeHead(204).end();
    return;
  }
  process.stderr.write(`${request.method} ${path}\n`);
  if (path === "/time") {
    answer.writeHead(200, { "content-type": "text/plain" }).end(new Date().toISOString());
    return;
  }
  const file = files.get(path);
  if (!file) {
    answer.writeHead(404).end();
    return;
  }
  answer.writeHead(200, { "content-type": TYPES[path.split(".").pop() ?? ""] ?? "video/mp4" });
  for (const chunk of file.chunks) answer.write(chunk);
  if (file.whole) {
    answer.end();
  } else {
    file.readers.add(answer);
    answer.on("close", () => file.readers.delete(answer));
  }
}).listen(Number(process.argv[2]), "127.0.0.1");
