// Remembers what happened during a visit: the page shows it, and tests read it as `window.vivid`.
// Pure: the caller brings the clock (ms since navigation).

/** Something that happened, and when. */
export interface Entry {
  at: number;
  what:
    | "state"
    | "first-frame"
    | "stall"
    | "cdn"
    | "rendition"
    | "error"
    | "left-pathway"
    | "jump"
    | "restart"
    | "seek";
  [detail: string]: unknown;
}

/** A CDN that delivered media: the name the playlist gives it, and the host. */
export interface Cdn {
  pathway: string;
  host: string;
}

/** A rendition as it was shown. */
export interface Rendition {
  height: number;
  bitrate: number;
}

/** Enough for an hour of trouble; the oldest go first. */
const MOST_ENTRIES = 2_000;

export class Journal {
  readonly entries: Entry[] = [];
  readonly cdns: (Cdn & { at: number })[] = [];
  readonly renditions: (Rendition & { at: number })[] = [];
  restarts = 0;

  note(at: number, what: Entry["what"], detail: Record<string, unknown> = {}): void {
    this.entries.push({ at: Math.round(at), what, ...detail });
    if (this.entries.length > MOST_ENTRIES) this.entries.shift();
    if (what === "restart") this.restarts++;
  }

  /** Media arrived from a CDN; noted when it is another than before. */
  delivered(at: number, cdn: Cdn): void {
    const before = this.cdns.at(-1);
    if (before?.pathway === cdn.pathway && before.host === cdn.host) return;
    bounded(this.cdns, { at: Math.round(at), ...cdn });
    this.note(at, "cdn", { ...cdn });
  }

  /** A rendition is on the screen; noted when it is another than before. */
  shown(at: number, rendition: Rendition): void {
    const before = this.renditions.at(-1);
    if (before?.height === rendition.height && before.bitrate === rendition.bitrate) return;
    bounded(this.renditions, { at: Math.round(at), ...rendition });
    this.note(at, "rendition", { ...rendition });
  }
}

function bounded<T>(list: T[], item: T): void {
  list.push(item);
  if (list.length > MOST_ENTRIES) list.shift();
}
