// Turns latencies into the lines of a small chart. Pure: numbers in, path data out.

import type { Sample } from "./latency";

/** The drawing area in user units, and the time it spans. */
export interface Frame {
  width: number;
  height: number;
  spanMs: number;
}

/** The vertical scale: 0 at the bottom, `top` seconds at the top, a line at each of `ticks`. */
export interface Scale {
  top: number;
  ticks: number[];
}

/** Scales a viewer reads without arithmetic: top in seconds and the step between the lines. */
const SCALES: readonly [top: number, step: number][] = [
  [1, 0.5],
  [2, 1],
  [3, 1],
  [4, 2],
  [6, 2],
  [10, 5],
  [20, 10],
  [30, 10],
  [60, 20],
  [120, 60],
];

/** Samples further apart than this are not joined: there was no picture in between. */
const GAP_MS = 1_500;

/** Points per line: more than a screen's columns cannot be seen. */
const MOST_POINTS = 300;

/** The least scale that holds `peak` seconds with a little air. */
export function scaleFor(peak: number): Scale {
  const last: [number, number] = [120, 60];
  const [top, step] = SCALES.find(([top]) => peak * 1.05 <= top) ?? last;
  const ticks = [];
  for (let tick = step; tick <= top; tick += step) ticks.push(tick);
  return { top, ticks };
}

/** SVG path data of the samples, newest at the right edge; empty where there are none. */
export function linePath(
  samples: readonly Sample[],
  now: number,
  frame: Frame,
  scale: Scale,
): string {
  const stride = Math.max(1, Math.ceil(samples.length / MOST_POINTS));
  let path = "";
  let before: number | null = null;
  // Whole strides from the start of the list would make every point jump as the list slides: choose by time.
  let slot = Number.NaN;
  const slotMs = frame.spanMs / MOST_POINTS;
  for (const sample of samples) {
    const mine = Math.floor(sample.at / slotMs);
    if (stride > 1 && mine === slot) continue;
    slot = mine;
    const x = frame.width * (1 - (now - sample.at) / frame.spanMs);
    const y = yOf(sample.seconds, frame, scale);
    const joined: boolean = before !== null && sample.at - before <= GAP_MS;
    path += `${joined ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    before = sample.at;
  }
  return path;
}

/** The height of a value in the drawing area, held inside it. */
export function yOf(seconds: number, frame: Frame, scale: Scale): number {
  const share = Math.min(1, Math.max(0, seconds / scale.top));
  return frame.height * (1 - share);
}
