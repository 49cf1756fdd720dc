// What counts as the same media on two CDNs, against a fake of hls.js' events and objects.
import type Hls from "hls.js";
import { Events } from "hls.js";
import { describe, expect, it } from "vitest";
import { easeHandover } from "../src/handover";

/** The part of hls.js that is used: events in, the objects of playlists changed in place. */
function fake() {
  const listeners = new Map<string, (event: string, data: unknown) => void>();
  const hls = {
    on: (event: string, listener: (event: string, data: unknown) => void) =>
      listeners.set(event, listener),
  };
  easeHandover(hls as unknown as Hls);
  return (event: string, data: object = {}) => listeners.get(event)?.(event, data);
}

/** A playlist from one CDN: one segment of three parts, the first `count` of them loaded. */
function playlist(epoch: string, count = 0) {
  const initSegment = { relurl: `${epoch}/init.mp4`, data: count > 0 ? new Uint8Array(1) : null };
  const fragment = { initSegment, sn: 7 };
  const partList = [0, 1, 2].map((index) => ({
    relurl: `${epoch}/7.${index}.m4s`,
    fragment,
    elementaryStreams: { audio: null, video: index < count ? { startPTS: index } : null },
    get loaded() {
      return this.elementaryStreams.video !== null;
    },
  }));
  return { fragments: [fragment], fragmentHint: undefined, partList };
}

const loaded = ({ partList }: ReturnType<typeof playlist>) => partList.map((part) => part.loaded);

describe("a change of pathway", () => {
  function change(from: ReturnType<typeof playlist>, to: ReturnType<typeof playlist>) {
    const trigger = fake();
    trigger(Events.LEVEL_UPDATED, { details: from, level: 1 });
    trigger(Events.FRAG_LOADED, { frag: { type: "main", sn: 7, level: 1 } });
    trigger(Events.LEVEL_SWITCHING);
    trigger(Events.LEVEL_UPDATED, { details: to, level: 1 });
    return trigger;
  }

  it("goes on after the last part, with the initialization the decoder has", () => {
    const [a, b] = [playlist("m1x", 2), playlist("m1x")];
    change(a, b);
    expect(loaded(b)).toEqual([true, true, false]);
    expect(b.fragments[0]?.initSegment).toBe(a.fragments[0]?.initSegment);
  });

  it("takes nothing for loaded in another epoch", () => {
    const b = playlist("m2y");
    change(playlist("m1x", 2), b);
    expect(loaded(b)).toEqual([false, false, false]);
  });

  it("carries nothing across a new media source", () => {
    const b = playlist("m1x");
    const trigger = change(playlist("m1x", 2), playlist("m1x"));
    trigger(Events.MEDIA_DETACHED);
    trigger(Events.LEVEL_UPDATED, { details: b, level: 1 });
    expect(loaded(b)).toEqual([false, false, false]);
  });

  it("carries audio by name alone, as it was before hls.js cleared its marks", () => {
    const trigger = fake();
    const [a, b] = [playlist("m1x", 3), playlist("m1x")];
    trigger(Events.AUDIO_TRACK_UPDATED, { details: a, id: 0 });
    trigger(Events.LEVELS_UPDATED);
    for (const part of a.partList) part.elementaryStreams.video = null;
    trigger(Events.AUDIO_TRACK_UPDATED, { details: b, id: 0 });
    expect(loaded(b)).toEqual([true, true, true]);
  });
});

describe("a change of rendition", () => {
  function thereAndBack(details: ReturnType<typeof playlist>, loadedBetween: boolean) {
    const trigger = fake();
    trigger(Events.LEVEL_UPDATED, { details, level: 1 });
    trigger(Events.FRAG_LOADED, { frag: { type: "main", sn: 7, level: 1 } });
    trigger(Events.LEVEL_SWITCHING);
    trigger(Events.LEVEL_UPDATED, { details: playlist("m1x"), level: 0 });
    if (loadedBetween) trigger(Events.FRAG_LOADED, { frag: { type: "main", sn: 7, level: 0 } });
    trigger(Events.LEVEL_SWITCHING);
    trigger(Events.LEVEL_UPDATED, { details, level: 1 });
    return loaded(details);
  }

  it("begins an unfinished segment anew on return", () => {
    expect(thereAndBack(playlist("m1x", 2), true)).toEqual([false, false, false]);
  });

  it("keeps a finished segment", () => {
    expect(thereAndBack(playlist("m1x", 3), true)).toEqual([true, true, true]);
  });

  it("goes on where nothing of the other rendition came between", () => {
    expect(thereAndBack(playlist("m1x", 2), false)).toEqual([true, true, false]);
  });

  it("takes nothing of another rendition for loaded", () => {
    const trigger = fake();
    const other = playlist("m1x");
    trigger(Events.LEVEL_UPDATED, { details: playlist("m1x", 2), level: 1 });
    trigger(Events.LEVEL_SWITCHING);
    trigger(Events.LEVEL_UPDATED, { details: other, level: 0 });
    expect(loaded(other)).toEqual([false, false, false]);
  });
});
