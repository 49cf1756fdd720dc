// Decides when a failed request condemns a CDN, and for how long. Pure: `failover.ts` puts it into hls.js.

/** A request that hls.js gave up on. */
export interface Failure {
  what: "playlist" | "fragment";
  /** HTTP status; 0 where the connection failed. */
  status: number;
  timeout: boolean;
  /** The request carried delivery directives: the server may have held it rightly. */
  blocking: boolean;
  /** hls.js would allow one more try. */
  mayRetry: boolean;
  /** The pathway whose host was asked, null where the host is not known as one. */
  pathway: string | null;
  /** The pathway in use. */
  current: string | null;
  /** There is another pathway to go to. */
  alternatives: boolean;
}

export type Verdict =
  /** hls.js' own choice stands. */
  | "as-is"
  /** Ask the same server without holding: a live one answers at once. */
  | "ask-plainly"
  /** Go to the next pathway now, at the same rendition. */
  | "leave"
  /** The request belongs to a pathway that was already left: it says nothing about the new one. */
  | "stale";

/** What a failed request means. */
export function judge(failure: Failure): Verdict {
  if (failure.pathway !== null && failure.pathway !== failure.current) return "stale";
  if (failure.timeout && failure.what === "playlist" && failure.blocking && failure.mayRetry) {
    return "ask-plainly";
  }
  // A 4xx is an answer about the object, and another CDN would say the same; the rest is about the server.
  const serverFault = failure.timeout || failure.status === 0 || failure.status >= 500;
  return serverFault && failure.alternatives ? "leave" : "as-is";
}

/**
 * hls.js keeps a penalty for 300 s. The steering server measures CDNs every few seconds: from this age on its
 * word counts again.
 */
export const PENALTY_MS = 10_000;

/** A penalty younger than this belongs to the same incident: going back would be a tight loop between two dead CDNs. */
export const FRESH_PENALTY_MS = 2_000;

/** Pathways whose penalty has been served when a steering document arrives. */
export function served(penalties: Readonly<Record<string, number>>, now: number): string[] {
  return Object.keys(penalties).filter((id) => now - (penalties[id] ?? 0) >= PENALTY_MS);
}

/**
 * The pathway to pardon because `failing` is about to be condemned too and nothing would be left: one that was
 * left only for its silence, else the one condemned longest ago unless even that is fresh. Null where a pathway
 * is free, or none may be pardoned.
 */
export function pardoned(
  penalties: Readonly<Record<string, number>>,
  suspects: ReadonlySet<string>,
  pathways: readonly string[],
  failing: string,
  now: number,
): string | null {
  const others = pathways.filter((id) => id !== failing);
  if (others.some((id) => !(id in penalties))) return null;
  const suspect = others.find((id) => suspects.has(id));
  if (suspect !== undefined) return suspect;
  const oldest = others.sort((a, b) => (penalties[a] ?? 0) - (penalties[b] ?? 0))[0];
  if (oldest === undefined || now - (penalties[oldest] ?? 0) < FRESH_PENALTY_MS) return null;
  return oldest;
}
