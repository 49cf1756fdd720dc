// Reads the test picture's bar code: the wall clock of the machine that drew the frame, off the frame itself.
//
// A bar of 40 cells lies across the picture. Cell 0 is white and cell 1 black (references), cells 2 to 33
// hold the low 32 bits of Unix milliseconds, most significant bit first, white = 1, and cells 34 to 39 a
// CRC-6 of those bits. Pure: takes pixels and clocks, returns readings.

/** Cells across the picture. */
export const CELLS = 40;

/** Height of the bar as a share of the picture's height. */
export const BAR_HEIGHT = 1 / 20;

/** What one look at a bar gave. Only `ms` may enter a statistic. */
export type Reading =
  | { kind: "clock"; ms: number }
  /** The references do not differ: the picture carries no bar. */
  | { kind: "none" }
  /** There are references, and the bits do not match their check: a damaged bar or a picture like one. */
  | { kind: "parity" };

const DATA_FIRST = 2;
const CHECK_FIRST = 34;
const TWO_32 = 2 ** 32;

/** Half the distance between luma 16 and 235: any decoder's rounding stays far from it, most pictures do not reach it. */
const LEAST_CONTRAST = 110;

/** The bar holds 49.7 days: a difference beyond these bounds is a picture that looks like a bar, not a latency. */
const EARLIEST_MS = -1_000;
/** Viewers go back as far as the window reaches; a day is more than any. */
const LATEST_MS = 86_400_000;

/** CRC-6 of 32 bits: polynomial x^6 + x + 1, initial value 0, most significant bit first. */
export function crc6(word: number): number {
  let crc = 0;
  for (let bit = 31; bit >= 0; bit--) {
    const out = ((crc >> 5) ^ (word >>> bit)) & 1;
    crc = ((crc << 1) & 0x3f) ^ (out ? 0x03 : 0);
  }
  return crc;
}

/** The 40 cells of a clock, 1 = white; the inverse of `readCells`. */
export function cellsOf(ms: number): number[] {
  const word = ms >>> 0;
  const bits = (value: number, count: number) =>
    Array.from({ length: count }, (_, at) => (value >>> (count - 1 - at)) & 1);
  return [1, 0, ...bits(word, 32), ...bits(crc6(word), 6)];
}

/** Reads 40 mean lumas, 0 to 255. */
export function readCells(luma: ArrayLike<number>): Reading {
  const white = luma[0] ?? 0;
  const black = luma[1] ?? 0;
  if (luma.length !== CELLS || white - black < LEAST_CONTRAST) return { kind: "none" };
  const middle = (white + black) / 2;
  const number = (first: number, end: number) => {
    let value = 0;
    for (let cell = first; cell < end; cell++)
      value = value * 2 + ((luma[cell] ?? 0) > middle ? 1 : 0);
    return value;
  };
  const ms = number(DATA_FIRST, CHECK_FIRST);
  return crc6(ms) === number(CHECK_FIRST, CELLS) ? { kind: "clock", ms } : { kind: "parity" };
}

/** Mean luma of the middle half of each cell, in both directions: block edges and scaling smear the borders. */
export function averageCells(rgba: ArrayLike<number>, width: number, height: number): Float32Array {
  const means = new Float32Array(CELLS);
  const cell = width / CELLS;
  const top = Math.floor(height / 4);
  const bottom = Math.max(top + 1, Math.ceil((height * 3) / 4));
  for (let index = 0; index < CELLS; index++) {
    const left = Math.floor((index + 0.25) * cell);
    const right = Math.max(left + 1, Math.ceil((index + 0.75) * cell));
    let sum = 0;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const at = (y * width + x) * 4;
        // Weights of BT.709 in 256ths; the bar is grey, so the choice of matrix does not matter.
        sum += (rgba[at] ?? 0) * 54 + (rgba[at + 1] ?? 0) * 183 + (rgba[at + 2] ?? 0) * 19;
      }
    }
    means[index] = sum / (256 * (bottom - top) * (right - left));
  }
  return means;
}

/**
 * Milliseconds from the drawing of a frame to its display, or null where the two cannot belong together.
 *
 * `presentedMs` is Unix time, `barMs` its low 32 bits at the source; the difference is taken modulo 2^32.
 */
export function glassToGlassMs(presentedMs: number, barMs: number): number | null {
  const forward = (((presentedMs - barMs) % TWO_32) + TWO_32) % TWO_32;
  const signed = forward >= TWO_32 / 2 ? forward - TWO_32 : forward;
  return signed >= EARLIEST_MS && signed <= LATEST_MS ? signed : null;
}
