// What the set-up of hls.js must not become again.
import { expect, it, vi } from "vitest";
import { settings } from "../src/settings";

it("leaves what was played to the browser, for hls.js forgets the segment in progress when it drops it", () => {
  vi.stubGlobal("location", { search: "" });
  expect(settings("demo", "0").backBufferLength).toBe(Number.POSITIVE_INFINITY);
  vi.unstubAllGlobals();
});
