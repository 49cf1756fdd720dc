// What the supervisor advises: when to leave a silent CDN, when to jump, how to go on after a fatal error.
import { describe, expect, it } from "vitest";
import { type Facts, type Fatal, Supervisor } from "../src/supervisor";

const calm: Facts = {
  now: 100_000,
  playing: true,
  pathway: "cdn-a",
  pathways: ["cdn-a", "cdn-b"],
  heardAt: 99_900,
  bufferedS: 0.8,
  partTargetS: 0.267,
  targetDurationS: 2,
  behindS: 0.1,
  standingMs: 0,
  rangeAheadS: null,
};
const silent: Facts = { ...calm, heardAt: calm.now - 900, bufferedS: 0.2 };
const network: Fatal = { kind: "network", manifest: false, status: 0 };

describe("while playing", () => {
  it("does nothing when nothing is wrong", () => {
    expect(new Supervisor().onTick(calm)).toEqual({ do: "nothing" });
  });

  it("leaves a pathway that is silent while the buffer runs dry", () => {
    expect(new Supervisor().onTick(silent)).toEqual({ do: "leave-pathway", to: "cdn-b" });
  });

  it("stays while there is buffer, while something arrives, and where there is nowhere to go", () => {
    for (const facts of [
      { ...silent, bufferedS: 0.6 },
      { ...silent, heardAt: silent.now - 500 },
      { ...silent, pathways: ["cdn-a"] },
      { ...silent, pathways: [] },
      { ...silent, pathway: null },
      { ...silent, playing: false },
    ]) {
      expect(new Supervisor().onTick(facts)).toEqual({ do: "nothing" });
    }
  });

  it("does not hop to and fro when it is the publisher that is silent", () => {
    const supervisor = new Supervisor();
    let hops = 0;
    for (let now = silent.now; now < silent.now + 30_000; now += 100) {
      if (supervisor.onTick({ ...silent, now }).do === "leave-pathway") hops++;
    }
    expect(hops).toBe(4);
  });

  it("is patient with playlists that have no parts", () => {
    const facts = { ...silent, partTargetS: null, targetDurationS: 6, bufferedS: 0.5 };
    expect(new Supervisor().onTick({ ...facts, heardAt: facts.now - 8_000 }).do).toBe("nothing");
    expect(new Supervisor().onTick({ ...facts, heardAt: facts.now - 9_500 }).do).toBe(
      "leave-pathway",
    );
  });

  it("jumps when too far behind to catch up, and not again at once", () => {
    const supervisor = new Supervisor();
    expect(supervisor.onTick({ ...calm, behindS: 3.9 }).do).toBe("nothing");
    expect(supervisor.onTick({ ...calm, behindS: 5 }).do).toBe("seek-to-live");
    expect(supervisor.onTick({ ...calm, behindS: 5, now: calm.now + 4_000 }).do).toBe("nothing");
    expect(supervisor.onTick({ ...calm, behindS: 5, now: calm.now + 6_000 }).do).toBe(
      "seek-to-live",
    );
  });
});

describe("standing before a hole", () => {
  it("skips it when what follows is there", () => {
    const facts = { ...calm, bufferedS: 0.02, standingMs: 500, rangeAheadS: 65.68 };
    expect(new Supervisor().onTick(facts)).toEqual({ do: "skip-hole", to: 65.68 + 0.05 });
  });

  it("waits a moment, and waits where nothing follows", () => {
    for (const facts of [
      { ...calm, bufferedS: 0.02, standingMs: 300, rangeAheadS: 65.68 },
      { ...calm, bufferedS: 0.8, standingMs: 5_000, rangeAheadS: 65.68 },
      { ...calm, standingMs: 5_000, rangeAheadS: null },
      { ...calm, standingMs: 5_000, rangeAheadS: 65.68, playing: false },
    ]) {
      expect(new Supervisor().onTick(facts)).toEqual({ do: "nothing" });
    }
  });
});

describe("after a fatal error", () => {
  it("looks for the stream when the multivariant playlist did not come", () => {
    const fatal: Fatal = { kind: "network", manifest: true, status: 404 };
    expect(new Supervisor().onFatal(0, fatal)).toEqual({ do: "look-for-stream" });
  });

  it("resumes with growing pauses, then rebuilds, and never gives up", () => {
    const supervisor = new Supervisor();
    const remedies = Array.from({ length: 40 }, (_, n) => supervisor.onFatal(n * 3_000, network));
    expect(remedies.slice(0, 6)).toEqual([
      { do: "resume", afterMs: 500 },
      { do: "resume", afterMs: 1_000 },
      { do: "resume", afterMs: 2_000 },
      { do: "resume", afterMs: 2_000 },
      { do: "rebuild", afterMs: 0 },
      { do: "resume", afterMs: 500 },
    ]);
    const waits = remedies.map((remedy) => ("afterMs" in remedy ? remedy.afterMs : 0));
    expect(Math.max(...waits)).toBe(4_000);
  });

  it("starts afresh after playback held for a while", () => {
    const supervisor = new Supervisor();
    for (let n = 0; n < 3; n++) supervisor.onFatal(n * 1_000, network);
    expect(supervisor.onFatal(20_000, network)).toEqual({ do: "resume", afterMs: 500 });
  });

  it("begins at the multivariant playlist when the media playlist is gone", () => {
    const gone: Fatal = { kind: "network", manifest: false, status: 404 };
    expect(new Supervisor().onFatal(0, gone)).toEqual({ do: "rebuild", afterMs: 0 });
  });

  it("recovers the media once, and rebuilds when that did not help", () => {
    const supervisor = new Supervisor();
    const media: Fatal = { kind: "media", manifest: false, status: 0 };
    expect(supervisor.onFatal(0, media)).toEqual({ do: "recover-media" });
    expect(supervisor.onFatal(1_000, media)).toEqual({ do: "rebuild", afterMs: 0 });
    expect(supervisor.onFatal(9_000, media)).toEqual({ do: "recover-media" });
  });
});
