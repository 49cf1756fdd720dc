// That the places where `failover.ts` reaches into hls.js are there in the pinned version, and work together.
import Hls, { type ErrorData, ErrorDetails, ErrorTypes, Events } from "hls.js";
import { beforeAll, describe, expect, it } from "vitest";
import { Errors, hostOf, Steering, steeringOf } from "../src/failover";

beforeAll(() => {
  // hls.js asks for these when it is made, and does nothing with them here.
  Object.assign(globalThis, { self: globalThis });
});

/** An error that hls.js raises, at the point where it has chosen what to do. */
function failure(details: ErrorDetails, url: string, chosen: object): ErrorData {
  return {
    type: ErrorTypes.NETWORK_ERROR,
    details,
    fatal: false,
    error: new Error("refused"),
    url,
    response: { url, data: undefined, code: 0 },
    errorAction: chosen,
  } as unknown as ErrorData;
}

/** The controllers on an emitter with two pathways, the first in use. */
function player() {
  const listeners: { event: string; run: (data: unknown) => void }[] = [];
  const hls = {
    logger: { log() {}, warn() {}, error() {}, debug() {}, info() {}, trace() {} },
    on: (event: string, run: (event: string, data: unknown) => void, self: unknown) =>
      listeners.push({ event, run: (data) => run.call(self, event, data) }),
    off() {},
    pathways: ["cdn-a", "cdn-b"],
    pathwayPriority: null as string[] | null,
    loadLevelObj: { pathwayId: "cdn-a" },
  };
  const trigger = (event: string, data: unknown) => {
    for (const listener of listeners) if (listener.event === event) listener.run(data);
  };
  const made = hls as unknown as Hls;
  const steering = new Steering(made);
  // Only the correction under test: hls.js' own choice is given with the error.
  const own = listeners.length;
  new Errors(made);
  const first = listeners.slice(own).findIndex(({ event }) => event === Events.ERROR);
  listeners.splice(own + first, 1);
  trigger(Events.LEVEL_SWITCHING, { uri: "http://a:1/v.m3u8", attrs: { "PATHWAY-ID": "cdn-a" } });
  return { hls, made, steering, trigger };
}

describe("in hls.js as pinned", () => {
  it("the controllers can be replaced, and the table of penalties is where it was", () => {
    expect(Hls.version).toBe("1.7.4");
    expect(Hls.DefaultConfig).toHaveProperty("errorController");
    expect(Hls.DefaultConfig).toHaveProperty("contentSteeringController");
    expect(player().steering.penalties()).toEqual({});
  });

  it("a refused part moves the whole playback to the other CDN instead of another rendition", () => {
    const { trigger } = player();
    const chosen = { action: 2, flags: 0, nextAutoLevel: 0 };
    trigger(Events.ERROR, failure(ErrorDetails.FRAG_LOAD_ERROR, "http://a:1/7.1.m4s", chosen));
    expect(chosen).toEqual({ action: 2, flags: 1 });
  });

  it("a late failure of the CDN that was left does not touch the new one", () => {
    const { hls, trigger } = player();
    hls.loadLevelObj.pathwayId = "cdn-b";
    const chosen = { action: 2, flags: 0, nextAutoLevel: 0 };
    trigger(Events.ERROR, failure(ErrorDetails.FRAG_LOAD_ERROR, "http://a:1/7.1.m4s", chosen));
    expect(chosen).toEqual({ action: 2, flags: 0, resolved: true });
  });

  it("leaving a pathway puts it last and penalizes it until the steering server has had time", () => {
    const { hls, made, steering, trigger } = player();
    steeringOf(made)?.leave("cdn-a", "cdn-b");
    expect(hls.pathwayPriority).toEqual(["cdn-b", "cdn-a"]);
    expect(Object.keys(steering.penalties())).toEqual(["cdn-a"]);
    trigger(Events.STEERING_MANIFEST_LOADED, {});
    expect(Object.keys(steering.penalties())).toEqual(["cdn-a"]);
    steering.penalties()["cdn-a"] = performance.now() - 60_000;
    trigger(Events.STEERING_MANIFEST_LOADED, {});
    expect(steering.penalties()).toEqual({});
  });
});

describe("a suspicion", () => {
  it("is dropped at once when the refuge fails", () => {
    const { hls, made, steering, trigger } = player();
    steeringOf(made)?.leave("cdn-a", "cdn-b");
    hls.loadLevelObj.pathwayId = "cdn-b";
    const url = "http://b:2/v.m3u8";
    trigger(Events.LEVEL_SWITCHING, { uri: url, attrs: { "PATHWAY-ID": "cdn-b" } });
    const chosen = { action: 2, flags: 0 };
    trigger(Events.ERROR, failure(ErrorDetails.LEVEL_LOAD_ERROR, url, chosen));
    expect(chosen).toEqual({ action: 2, flags: 1 });
    expect(steering.penalties()).not.toHaveProperty("cdn-a");
  });
});

describe("host", () => {
  it("is that of the address, or the text itself", () => {
    expect(hostOf("http://127.0.0.1:8083/live/x")).toBe("127.0.0.1:8083");
    expect(hostOf("not an address")).toBe("not an address");
  });
});
