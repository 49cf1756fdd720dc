// Reads from the page's address what to play. Pure.

import { isStreamName } from "./words";

export interface Source {
  /** Absolute address of a playlist. */
  src: string;
  /** The name to show and to report. */
  stream: string;
  /** Given by `?src=` instead of a stream's name. */
  foreign: boolean;
  /** What was asked for, where no stream can have that name. */
  misnamed?: string;
}

const DEFAULT_STREAM = "demo";

/** `?src=` wins over `?stream=`; without either it is the default. */
export function sourceOf(page: URL): Source {
  const given = page.searchParams.get("src");
  if (given && URL.canParse(given, page.href)) {
    const src = new URL(given, page.href);
    if (src.protocol === "http:" || src.protocol === "https:") {
      return { src: src.href, stream: nameIn(src), foreign: true };
    }
  }
  const wanted = page.searchParams.get("stream") || DEFAULT_STREAM;
  const stream = isStreamName(wanted) ? wanted : DEFAULT_STREAM;
  const source = { src: new URL(`/live/${stream}/index.m3u8`, page).href, stream, foreign: false };
  return stream === wanted ? source : { ...source, misnamed: wanted };
}

/** The stream's name in an address of ours, else the host. */
function nameIn(src: URL): string {
  const name = src.pathname.match(/\/(?:live|archive)\/([^/]+)\//)?.[1];
  return name && isStreamName(name) ? name : src.host;
}
