// Which failure condemns a CDN, and how long a penalty lasts.
import { describe, expect, it } from "vitest";
import { type Failure, judge, pardoned, served } from "../src/pathways";

const refused: Failure = {
  what: "playlist",
  status: 0,
  timeout: false,
  blocking: true,
  mayRetry: true,
  pathway: "cdn-a",
  current: "cdn-a",
  alternatives: true,
};

describe("a failed request", () => {
  it("to a server that refuses, breaks or breaks off condemns the CDN", () => {
    for (const status of [0, 500, 502, 503]) {
      expect(judge({ ...refused, status })).toBe("leave");
      expect(judge({ ...refused, status, what: "fragment" })).toBe("leave");
    }
  });

  it("that was answered with a 4xx says nothing about the server", () => {
    for (const status of [400, 404, 410]) expect(judge({ ...refused, status })).toBe("as-is");
  });

  it("that was held too long is asked again without a hold before the CDN is condemned", () => {
    const held = { ...refused, timeout: true };
    expect(judge(held)).toBe("ask-plainly");
    expect(judge({ ...held, mayRetry: false })).toBe("leave");
    expect(judge({ ...held, blocking: false })).toBe("leave");
    expect(judge({ ...held, what: "fragment", blocking: false })).toBe("leave");
  });

  it("leaves hls.js its own way where there is no other CDN", () => {
    expect(judge({ ...refused, alternatives: false })).toBe("as-is");
  });

  it("of a pathway already left is not blamed on the new one", () => {
    expect(judge({ ...refused, current: "cdn-b" })).toBe("stale");
    expect(judge({ ...refused, current: "cdn-b", pathway: null })).toBe("leave");
  });
});

describe("penalties", () => {
  it("are served after ten seconds", () => {
    expect(served({ "cdn-a": 0, "cdn-b": 5_000 }, 10_000)).toEqual(["cdn-a"]);
    expect(served({}, 10_000)).toEqual([]);
  });

  const nobody = new Set<string>();

  it("are pardoned, the oldest first, only when nothing else is left", () => {
    const ids = ["a", "b", "c"];
    expect(pardoned({ b: 0 }, nobody, ids, "a", 9_000)).toBeNull();
    expect(pardoned({ b: 5_000, c: 1_000 }, nobody, ids, "a", 9_000)).toBe("c");
    expect(pardoned({ b: 5_000, c: 1_000 }, nobody, ["a"], "a", 9_000)).toBeNull();
  });

  it("are not pardoned within one incident: two dead CDNs must not be asked in a circle", () => {
    expect(pardoned({ b: 8_000 }, nobody, ["a", "b"], "a", 9_000)).toBeNull();
  });

  it("are pardoned at once where the pathway was only silent", () => {
    expect(pardoned({ b: 8_900 }, new Set(["b"]), ["a", "b"], "a", 9_000)).toBe("b");
  });
});
