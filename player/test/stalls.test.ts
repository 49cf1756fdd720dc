// What counts as a stall, and what does not.
import { describe, expect, it } from "vitest";
import { StallMeter } from "../src/stalls";

/** Shows `count` frames at 30 per second from `from`, and returns the time of the last. */
function play(meter: StallMeter, from: { at: number; presented: number }, count: number) {
  for (let n = 0; n < count; n++) {
    meter.frame({ at: from.at, presented: from.presented, mediaTime: from.at / 1000 });
    from.at += 1000 / 30;
    from.presented += 1;
  }
  return from.at - 1000 / 30;
}

describe("stall meter", () => {
  it("sees none in steady play", () => {
    const meter = new StallMeter();
    play(meter, { at: 0, presented: 1 }, 300);
    expect([meter.count, meter.seconds]).toEqual([0, 0]);
    expect(meter.frameMs()).toBeCloseTo(33.3, 1);
  });

  it("times a rebuffering from the last frame to the next", () => {
    const meter = new StallMeter();
    const clock = { at: 0, presented: 1 };
    const last = play(meter, clock, 60);
    meter.waiting();
    expect(meter.standingMs(last + 500)).toBeCloseTo(500);
    const stall = meter.frame({ at: last + 1_500, presented: 61, mediaTime: last / 1000 + 1 / 30 });
    expect(stall).toEqual({ at: last, seconds: expect.closeTo(1.5), cause: "rebuffer" });
    expect(meter.standingMs(last + 1_510)).toBe(0);
  });

  it("calls a stand without `waiting` a freeze, and allows three frame times", () => {
    const meter = new StallMeter();
    const last = play(meter, { at: 0, presented: 1 }, 60);
    meter.frame({ at: last + 99, presented: 61, mediaTime: last / 1000 + 1 / 30 });
    expect(meter.count).toBe(0);
    meter.frame({ at: last + 99 + 150, presented: 62, mediaTime: last / 1000 + 2 / 30 });
    expect(meter.stalls.map((stall) => stall.cause)).toEqual(["freeze"]);
    expect(meter.stalls[0]?.seconds).toBeCloseTo(0.15);
  });

  it("does not take missed callbacks for missing frames", () => {
    const meter = new StallMeter();
    const last = play(meter, { at: 0, presented: 1 }, 60);
    meter.frame({ at: last + 400, presented: 60 + 12, mediaTime: last / 1000 + 0.4 });
    expect(meter.count).toBe(0);
  });

  it("counts a picture that stood still while media time ran on", () => {
    const meter = new StallMeter();
    const last = play(meter, { at: 0, presented: 1 }, 60);
    meter.frame({ at: last + 400, presented: 61, mediaTime: last / 1000 + 0.4 });
    expect(meter.count).toBe(1);
  });

  it("does not count what lies across a pause or a hidden page", () => {
    const meter = new StallMeter();
    const clock = { at: 0, presented: 1 };
    play(meter, clock, 60);
    meter.interrupt();
    clock.at += 60_000;
    expect(meter.standingMs(clock.at)).toBe(0);
    play(meter, clock, 60);
    expect(meter.count).toBe(0);
  });

  it("gives the first picture time to begin to move, and not for ever", () => {
    for (const [gapMs, count] of [
      [300, 0],
      [900, 1],
    ] as const) {
      const meter = new StallMeter();
      meter.frame({ at: 0, presented: 1, mediaTime: 0 });
      meter.frame({ at: gapMs, presented: 2, mediaTime: 1 / 30 });
      expect(meter.count).toBe(count);
    }
  });

  it("bounds its list and goes on counting", () => {
    const meter = new StallMeter(3);
    for (let n = 0; n < 10; n++) meter.frame({ at: n * 1_000, presented: n, mediaTime: n / 30 });
    expect([meter.stalls.length, meter.count]).toEqual([3, 9]);
    expect(meter.seconds).toBeCloseTo(9);
  });
});
