// What the page reads from outside and what it says to people.
import { describe, expect, it } from "vitest";
import { readOpinions, readProcesses, rtmpPort } from "../src/developer";
import { firstVariant, hasEnded } from "../src/presence";
import { sourceOf } from "../src/source";
import {
  isStreamName,
  messageFor,
  publishCommand,
  rendition,
  seconds,
  shownOf,
} from "../src/words";

describe("source", () => {
  const read = (query: string) => sourceOf(new URL(`http://cdn.example:8080/${query}`));

  it("is the demo stream of the same host unless the address says otherwise", () => {
    expect(read("")).toEqual({
      src: "http://cdn.example:8080/live/demo/index.m3u8",
      stream: "demo",
      foreign: false,
    });
    expect(read("?stream=my_show-1").src).toBe("http://cdn.example:8080/live/my_show-1/index.m3u8");
  });

  it("takes any playlist by http", () => {
    expect(read("?src=http://127.0.0.1:8080/live/x/index.m3u8")).toEqual({
      src: "http://127.0.0.1:8080/live/x/index.m3u8",
      stream: "x",
      foreign: true,
    });
    expect(read("?src=/live/y/index.m3u8").src).toBe("http://cdn.example:8080/live/y/index.m3u8");
    expect(read("?src=https://o.example/a.m3u8").stream).toBe("o.example");
  });

  it("does not follow what could be harmful or no origin accepts", () => {
    for (const query of ["?src=javascript:alert(1)", "?stream=a/b", "?stream=", "?src=http://"]) {
      expect(read(query).src).toBe("http://cdn.example:8080/live/demo/index.m3u8");
    }
    expect(isStreamName("a".repeat(65))).toBe(false);
  });

  it("tells a name that no stream can have from one that is only not live", () => {
    expect(read("?stream=a b").misnamed).toBe("a b");
    for (const query of ["", "?stream=", "?stream=a-b", "?src=/live/y/index.m3u8"]) {
      expect(read(query).misnamed).toBeUndefined();
    }
    const told = messageFor({ is: "misnamed", name: "a b" }, "demo", "ffmpeg");
    expect(told?.title).toBe("No stream can be named a b");
    expect(told?.command).toBeUndefined();
  });
});

describe("playlists", () => {
  it("name their first variant", () => {
    const text = "#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\n\r\n# note\r\n720p/index.m3u8\r\n";
    expect(firstVariant(text)).toBe("720p/index.m3u8");
    expect(firstVariant("#EXTM3U\n#EXTINF:2,\na.m4s\n")).toBeNull();
    expect(firstVariant("#EXT-X-STREAM-INF:BANDWIDTH=1")).toBeNull();
  });

  it("end only with the tag for it", () => {
    expect(hasEnded("#EXTM3U\n#EXT-X-ENDLIST\n")).toBe(true);
    expect(hasEnded("#EXTM3U\n#EXT-X-ENDLIST-NOT\n")).toBe(false);
  });
});

describe("answers of the developer's endpoints", () => {
  it("are read with tolerance", () => {
    const process = { name: "cdn-a", pid: 7, url: "http://127.0.0.1:8083", state: "running" };
    expect(readProcesses({ processes: [process, { pid: 3 }, null, 5, { name: "x" }] })).toEqual([
      process,
      { name: "x", pid: null, url: null, state: "unknown" },
    ]);
    for (const junk of [null, 3, "", [], { processes: {} }])
      expect(readProcesses(junk)).toEqual([]);
  });

  it("give the router's opinions, where it has any", () => {
    const cdns = [
      { id: "cdn-a", state: "down", reason: "does not answer", loss: 0.2 },
      { id: "cdn-b", state: "unknown" },
      { id: 5, state: "good" },
    ];
    expect(readOpinions({ cdns })).toEqual([
      { name: "cdn-a", state: "down", reason: "does not answer" },
    ]);
    expect(readOpinions({ cdns: 3 })).toEqual([]);
  });

  it("tell the port for publishers by the test source", () => {
    const source = {
      name: "source",
      pid: 1,
      url: "rtmp://127.0.0.1:24085/live/demo",
      state: "running",
    };
    expect(rtmpPort([{ ...source, url: "http://127.0.0.1:8081" }, source])).toBe(24085);
    expect(rtmpPort([])).toBeNull();
  });
});

describe("words", () => {
  it("tell how to publish when a stream is not live", () => {
    const command = publishCommand("x", "127.0.0.1", 1935);
    expect(command).toBe("ffmpeg -re -i FILE -c copy -f flv rtmp://127.0.0.1:1935/live/x");
    expect(messageFor({ is: "absent" }, "x", command)).toEqual({
      title: "No stream named x is live",
      text: "The page starts by itself as soon as it is. Publish with:",
      command,
    });
    expect(messageFor({ is: "playing" }, "x", command)).toBeNull();
    expect(messageFor({ is: "standing" }, "x", command)?.title).toBe("Waiting for the stream");
  });

  it("tell a picture that stands from the last one there is", () => {
    expect(shownOf({ is: "playing" }, -1, false)).toEqual({ is: "playing" });
    expect(shownOf({ is: "playing" }, 1, false)).toEqual({ is: "standing" });
    expect(shownOf({ is: "playing" }, 1, true)).toEqual({ is: "ended" });
    expect(shownOf({ is: "recovering" }, 1, false)).toEqual({ is: "recovering" });
  });

  it("give figures with their units", () => {
    expect(seconds(0.8666)).toBe("0.87 s");
    expect(seconds(null)).toBe("–");
    expect(rendition(720, 2_640_000)).toBe("720p · 2.6 Mbit/s");
    expect(rendition(0, 128_000)).toBe("128 kbit/s");
  });
});
