// The bar code: its check, its bits, and reading it through noise and scaling.
import { describe, expect, it } from "vitest";
import { averageCells, CELLS, cellsOf, crc6, glassToGlassMs, readCells } from "../src/barcode";

/** A seeded generator (mulberry32), so that a failing picture can be made again. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** RGBA rows of a bar, each cell `cell` pixels wide, blurred over one pixel and with noise of +-`noise`. */
function picture(ms: number, cell: number, height: number, noise: number, random: () => number) {
  const width = CELLS * cell;
  const luma = cellsOf(ms).flatMap((bit) => Array<number>(cell).fill(bit ? 235 : 16));
  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const near = [luma[Math.max(0, x - 1)], luma[x], luma[Math.min(width - 1, x + 1)]];
      const blurred = near.reduce<number>((sum, value) => sum + (value ?? 0), 0) / 3;
      const value = blurred + (random() * 2 - 1) * noise;
      rgba.fill(value, (y * width + x) * 4, (y * width + x) * 4 + 3);
      rgba[(y * width + x) * 4 + 3] = 255;
    }
  }
  return { rgba, width, height };
}

/** CRC-6 the long way: polynomial division of the word followed by six zero bits by x^6 + x + 1. */
function divided(word: number): number {
  let rest = BigInt(word >>> 0) << 6n;
  for (let bit = 37n; bit >= 6n; bit--) {
    if ((rest >> bit) & 1n) rest ^= 0b1000011n << (bit - 6n);
  }
  return Number(rest);
}

describe("crc6", () => {
  it("gives the vectors that the drawing side uses", () => {
    const vectors: [number, number][] = [
      [0x00000000, 0x00],
      [0x00000001, 0x03],
      [0x80000000, 0x2c],
      [0xffffffff, 0x08],
      [0x12345678, 0x1f],
      [0xdeadbeef, 0x1a],
    ];
    for (const [word, crc] of vectors) expect([word, crc6(word)]).toEqual([word, crc]);
  });

  it("is the remainder of the polynomial division", () => {
    const random = generator(1);
    for (let round = 0; round < 2_000; round++) {
      const word = Math.floor(random() * 2 ** 32);
      expect(crc6(word)).toBe(divided(word));
    }
  });

  it("finds every single and every double bit error", () => {
    const bits = (ms: number): number[] => cellsOf(ms).map((bit) => (bit ? 235 : 16));
    for (let first = 2; first < CELLS; first++) {
      for (let second = first; second < CELLS; second++) {
        const luma = bits(0x9a3c51e7);
        luma[first] = 251 - (luma[first] ?? 0);
        if (second !== first) luma[second] = 251 - (luma[second] ?? 0);
        expect(readCells(luma)).toEqual({ kind: "parity" });
      }
    }
  });
});

describe("reading", () => {
  it("reads every clock through blur, noise and small cells", () => {
    const random = generator(2);
    for (let round = 0; round < 300; round++) {
      const ms = Math.floor(random() * 2 ** 32);
      const cell = 8 + Math.floor(random() * 25);
      const { rgba, width, height } = picture(ms, cell, 8, 60, random);
      expect(readCells(averageCells(rgba, width, height))).toEqual({ kind: "clock", ms });
    }
  });

  it("says that a picture without references carries no bar", () => {
    expect(readCells(new Float32Array(CELLS).fill(120))).toEqual({ kind: "none" });
    expect(readCells(new Float32Array(3))).toEqual({ kind: "none" });
    const swapped = cellsOf(5).map((bit) => (bit ? 16 : 235));
    expect(readCells(swapped)).toEqual({ kind: "none" });
  });

  it("never counts what it cannot check, whatever the pixels", () => {
    const random = generator(3);
    let clocks = 0;
    for (let round = 0; round < 5_000; round++) {
      const luma = Float32Array.from({ length: CELLS }, () => random() * 255);
      luma[0] = 235;
      luma[1] = 16;
      if (readCells(luma).kind === "clock") clocks++;
    }
    // Six check bits let one of 64 random bars through; the plausibility of the clock stops those.
    expect(clocks).toBeLessThan(5_000 / 32);
  });
});

describe("glass to glass", () => {
  const now = Date.UTC(2026, 10, 20, 12, 0, 0);

  it("is the display time minus the drawing time", () => {
    expect(glassToGlassMs(now, (now - 870) >>> 0)).toBe(870);
    expect(glassToGlassMs(now + 0.5, (now - 870) >>> 0)).toBeCloseTo(870.5);
  });

  it("survives the turn of the 32-bit clock", () => {
    const turn = Math.ceil(now / 2 ** 32) * 2 ** 32;
    expect(glassToGlassMs(turn + 400, (turn - 300) % 2 ** 32)).toBe(700);
  });

  it("accepts a source clock that runs a little ahead, and nothing absurd", () => {
    expect(glassToGlassMs(now, (now + 200) % 2 ** 32)).toBe(-200);
    expect(glassToGlassMs(now, (now + 5_000) % 2 ** 32)).toBeNull();
    expect(glassToGlassMs(now, (now - 7_200_000) % 2 ** 32)).toBe(7_200_000);
    expect(glassToGlassMs(now, (now - 100_000_000) % 2 ** 32)).toBeNull();
  });
});
