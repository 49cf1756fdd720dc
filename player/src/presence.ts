// Finds out whether a stream exists, has ended, or cannot be reached. The reading of playlists is pure.

export type Presence =
  | { is: "live" }
  /** The server does not know the stream. */
  | { is: "absent" }
  /** The playlist says that nothing more will come. */
  | { is: "ended" }
  /** No answer, or an answer that says nothing about the stream; `status` is 0 where none came. */
  | { is: "unreachable"; status: number };

const DEADLINE_MS = 4_000;

/** The URI of the first variant of a multivariant playlist; null in a media playlist. */
export function firstVariant(playlist: string): string | null {
  const lines = playlist.split(/\r?\n/);
  const tag = lines.findIndex((line) => line.startsWith("#EXT-X-STREAM-INF"));
  if (tag < 0) return null;
  const uri = lines.slice(tag + 1).find((line) => line !== "" && !line.startsWith("#"));
  return uri?.trim() ?? null;
}

/** A media playlist that will not grow any more. */
export function hasEnded(playlist: string): boolean {
  return /^#EXT-X-ENDLIST\s*$/m.test(playlist);
}

/** Asks the server of `src`, a multivariant or a media playlist. Ends within twice the deadline. */
export async function look(src: string, cancel: AbortSignal): Promise<Presence> {
  const multivariant = await load(src, cancel);
  if (typeof multivariant !== "string") return multivariant;
  const variant = firstVariant(multivariant);
  if (variant === null) return { is: hasEnded(multivariant) ? "ended" : "live" };
  const media = await load(new URL(variant, src).href, cancel);
  if (typeof media === "string") return { is: hasEnded(media) ? "ended" : "live" };
  // The first variant may lie on a CDN that is down while others play: only "not found" is a word on the stream.
  return media.is === "absent" ? media : { is: "live" };
}

async function load(url: string, cancel: AbortSignal): Promise<string | Presence> {
  const own = new AbortController();
  const giveUp = () => own.abort();
  const timer = setTimeout(giveUp, DEADLINE_MS);
  cancel.addEventListener("abort", giveUp);
  try {
    const answer = await fetch(url, { signal: own.signal, cache: "no-store" });
    if (answer.status === 404 || answer.status === 410) return { is: "absent" };
    if (!answer.ok) return { is: "unreachable", status: answer.status };
    return await answer.text();
  } catch {
    return { is: "unreachable", status: 0 };
  } finally {
    clearTimeout(timer);
    cancel.removeEventListener("abort", giveUp);
  }
}
