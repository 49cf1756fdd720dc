// Thumbnails of a stream: which part of which image shows a moment. Pure but for the fetch.

export interface Thumbnail {
  /** Seconds from the first one there is. */
  from: number;
  to: number;
  url: string;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A list is asked for anew once it is so old. */
const FRESH_MS = 4_000;

/** Reads a WebVTT file whose cues are places in images, seen from its own address. */
export function read(text: string, base: string): Thumbnail[] {
  const cues: Thumbnail[] = [];
  for (const block of text.split("\n\n")) {
    const [times = "", target = ""] = block.trim().split("\n");
    const [from, to] = times.split(" --> ").map(seconds);
    const place = /^(.+)#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec(target);
    if (from === undefined || to === undefined || !(to > from) || !place) continue;
    const [x = 0, y = 0, width = 0, height = 0] = place.slice(2).map(Number);
    cues.push({ from, to, url: new URL(place[1] ?? "", base).href, x, y, width, height });
  }
  return cues;
}

/** The last one that has begun by then; null before the first, and where there is none for long. */
export function at(thumbnails: Thumbnail[], time: number): Thumbnail | null {
  let [low, high] = [0, thumbnails.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((thumbnails[middle]?.from ?? 0) <= time) low = middle + 1;
    else high = middle;
  }
  const found = thumbnails[low - 1];
  return found && time < found.to + (found.to - found.from) ? found : null;
}

function seconds(clock: string): number {
  return clock.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** Those of the stream that is played, kept as long as they are of use. */
export class Thumbnails {
  private list: Thumbnail[] = [];
  private url = "";
  private askedAt = Number.NEGATIVE_INFINITY;
  private missing = false;

  /** The one of a moment so many seconds behind the newest. `playlist` is of a rendition beside them. */
  async behind(playlist: string, behind: number, now: number): Promise<Thumbnail | null> {
    const url = new URL("../thumbs/index.vtt", playlist).href;
    if (url !== this.url) [this.url, this.list, this.missing] = [url, [], false];
    if (!this.missing && now - this.askedAt > FRESH_MS) {
      this.askedAt = now;
      const answer = await fetch(url).catch(() => null);
      if (answer?.ok) this.list = read(await answer.text(), url);
      // Not every stream has them, and none begins to while it is watched.
      else if (answer?.status === 404) this.missing = true;
    }
    const end = this.list.at(-1)?.to ?? 0;
    return at(this.list, Math.max(0, end - Math.max(behind, 0)));
  }
}
