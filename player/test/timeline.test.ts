// Where a viewer may go in a live stream, and how that is said.
import { describe, expect, it } from "vitest";
import { bar, canResume, clock, place } from "../src/timeline";

const reach = { start: 1_000, live: 8_200 };

describe("the seek bar", () => {
  it("goes from the oldest that is safe to ask for to the live edge", () => {
    expect(bar(reach, 8_200)).toEqual({ min: -7_194, value: 0 });
    expect(bar(reach, 8_198)).toEqual({ min: -7_194, value: 0 });
    expect(bar(reach, 8_100)).toEqual({ min: -7_194, value: -100 });
    expect(bar(reach, 0)).toEqual({ min: -7_194, value: -7_194 });
  });

  it("is not there where there is nothing to go back to", () => {
    expect(bar(null, 0)).toBeNull();
    expect(bar({ start: 10, live: 25 }, 20)).toBeNull();
  });

  it("leads to places that are there", () => {
    expect(place(reach, 100)).toBe(8_100);
    expect(place(reach, 7_200)).toBe(1_006);
    expect(place(reach, 1)).toBeNull();
  });
});

describe("a pause", () => {
  it("goes on where it was while that is there, and live where it was short", () => {
    expect(canResume(reach, 8_100)).toBe(true);
    expect(canResume(reach, 8_199)).toBe(false);
    expect(canResume(reach, 1_001)).toBe(false);
    expect(canResume({ start: 8_190, live: 8_200 }, 8_195)).toBe(false);
    expect(canResume(null, 8_100)).toBe(false);
  });
});

it("says lengths as clocks do", () => {
  expect([0, 7.4, 59.6, 754, 3_723].map(clock)).toEqual([
    "0:00",
    "0:07",
    "1:00",
    "12:34",
    "1:02:03",
  ]);
});
