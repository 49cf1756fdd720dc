import { describe, expect, it } from "vitest";
import { between, clockOf, told } from "../e2e/bar.mjs";
import { cellsOf } from "../src/barcode";

const luma = (ms: number) => cellsOf(ms).map((cell) => (cell ? 235 : 16));

describe("bar", () => {
  it("is read as the page reads it", () => {
    for (const ms of [0, 1, 0x12345678, 0xdeadbeef, 0xffffffff]) expect(clockOf(luma(ms))).toBe(ms);
    const wrong = luma(7);
    wrong[10] = 235;
    expect(clockOf(wrong)).toBeNull();
    expect(clockOf(new Array(40).fill(128))).toBeNull();
    expect(clockOf([])).toBeNull();
  });

  it("counts on when its 32 bits begin anew", () => {
    expect(between(0xffffffff, 1)).toBe(2);
    expect(between(1, 0xffffffff)).toBe(-2);
  });

  it("tells how far behind pictures are, and how far a seek went", () => {
    const visit = (clock: number, wall: number) => [
      { clock: null, wall },
      { clock, wall },
      { clock: clock + 5000, wall: wall + 5000 },
    ];
    expect(told(visit(10_000, 12_000))).toEqual({ pictures: 2, behind: [2, 2], played: 5 });
    expect(told(visit(2_000, 20_000), visit(10_000, 12_000))).toEqual({
      pictures: 2,
      behind: [18, 18],
      played: 5,
      moved: -8,
    });
    expect(told([{ clock: null, wall: 0 }])).toEqual({ pictures: 0 });
  });
});
