// How the page is built and, on a developer's machine, served beside a running `vivid dev`.
import { defineConfig } from "vite";

const vivid = process.env["VIVID_ROUTER"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  // Relative, so that the page works under any path a proxy puts it at.
  base: "./",
  build: {
    // Names in assets/ carry a hash of the contents: they may be cached for ever.
    assetsDir: "assets",
    // hls.js alone is 600 kB minified; the warning would only be noise.
    chunkSizeWarningLimit: 800,
  },
  server: { proxy: { "/live": vivid, "/_vivid": vivid } },
});
