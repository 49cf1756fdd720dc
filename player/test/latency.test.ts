// Percentiles, the sliding window, and the chart made of them.
import { describe, expect, it } from "vitest";
import { linePath, scaleFor, yOf } from "../src/chart";
import { percentile, Recent, summarize } from "../src/latency";

describe("percentile", () => {
  it("is the nearest rank", () => {
    const values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    expect(percentile(values, 0.5)).toBe(5);
    expect(percentile(values, 0.95)).toBe(10);
    expect(percentile(values, 0)).toBe(1);
    expect(percentile([], 0.5)).toBeNull();
    expect(percentile([3], 0.01)).toBe(3);
  });

  it("summarizes unordered values without changing them", () => {
    const values = [3, 1, 2];
    expect(summarize(values)).toEqual({ count: 3, p50: 2, p95: 3, max: 3 });
    expect(values).toEqual([3, 1, 2]);
    expect(summarize([])).toEqual({ count: 0, p50: null, p95: null, max: null });
  });
});

describe("window", () => {
  it("forgets by age, also when nothing new arrives", () => {
    const window = new Recent(1_000, 100);
    window.push({ at: 0, seconds: 1 });
    window.push({ at: 900, seconds: 2 });
    expect(window.samples(1_000).length).toBe(2);
    expect(window.samples(1_001).map((sample) => sample.seconds)).toEqual([2]);
    expect(window.samples(5_000)).toEqual([]);
  });

  it("never holds more than its bound", () => {
    const window = new Recent(1_000, 10);
    for (let at = 0; at < 500; at++) window.push({ at: at / 10, seconds: at });
    expect(window.samples(50).length).toBe(10);
    expect(window.samples(50)[0]?.seconds).toBe(490);
  });
});

describe("chart", () => {
  const frame = { width: 600, height: 100, spanMs: 60_000 };

  it("chooses the least round scale that holds the peak", () => {
    expect(scaleFor(0)).toEqual({ top: 1, ticks: [0.5, 1] });
    expect(scaleFor(0.99).top).toBe(2);
    expect(scaleFor(1.4)).toEqual({ top: 2, ticks: [1, 2] });
    expect(scaleFor(7).top).toBe(10);
    expect(scaleFor(100_000).top).toBe(120);
  });

  it("keeps values inside the area", () => {
    const scale = scaleFor(2);
    expect(yOf(0, frame, scale)).toBe(100);
    expect(yOf(-1, frame, scale)).toBe(100);
    expect(yOf(1_000, frame, scale)).toBe(0);
  });

  it("puts the newest at the right edge and breaks the line where there was no picture", () => {
    const samples = [
      { at: 0, seconds: 1 },
      { at: 1_000, seconds: 1 },
      { at: 5_000, seconds: 1 },
      { at: 60_000, seconds: 0 },
    ];
    expect(linePath(samples, 60_000, frame, { top: 2, ticks: [] })).toBe(
      "M0.0 50.0L10.0 50.0M50.0 50.0M600.0 100.0",
    );
    expect(linePath([], 0, frame, scaleFor(1))).toBe("");
  });

  it("thins dense samples, and always at the same places", () => {
    const samples = Array.from({ length: 3_600 }, (_, at) => ({ at: at * 16.7, seconds: 1 }));
    const points = (path: string) => path.split(/[ML]/).length - 1;
    const first = linePath(samples, 60_000, frame, scaleFor(1));
    expect(points(first)).toBeLessThanOrEqual(302);
    const later = linePath(samples.slice(7), 60_000, frame, scaleFor(1));
    expect(first.endsWith(later.slice(20))).toBe(true);
  });
});
