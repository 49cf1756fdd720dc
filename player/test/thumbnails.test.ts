// Which thumbnail shows a moment.
import { describe, expect, it } from "vitest";
import { at, read } from "../src/thumbnails";

const FILE = `WEBVTT

NOTE 00:00:00.000 is 2026-11-21T02:00:00.500Z

00:00:00.000 --> 00:00:01.000
e/7.jpg#xywh=0,0,160,90

00:00:01.000 --> 00:00:02.000
e/7.jpg#xywh=160,0,160,90

01:00:00.000 --> 01:00:01.000
e/9.jpg#xywh=0,90,160,90
`;

describe("thumbnails", () => {
  const list = read(FILE, "http://cdn/live/a/thumbs/index.vtt");

  it("are places in images", () => {
    expect(list.map(({ from, x, y }) => [from, x, y])).toEqual([
      [0, 0, 0],
      [1, 160, 0],
      [3600, 0, 90],
    ]);
    expect(list[0]?.url).toBe("http://cdn/live/a/thumbs/e/7.jpg");
    expect(read("no such file", "http://cdn/")).toEqual([]);
    expect(read("00:01 --> 00:00\na.jpg#xywh=0,0,1,1", "http://cdn/")).toEqual([]);
  });

  it("are found by their time", () => {
    expect(at(list, 0.5)).toBe(list[0]);
    expect(at(list, 1)).toBe(list[1]);
    expect(at(list, 2.5)).toBe(list[1]);
    expect(at(list, 100)).toBeNull();
    expect(at(list, 3600)).toBe(list[2]);
    expect(at([], 1)).toBeNull();
  });
});
