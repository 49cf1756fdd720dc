// Which streams need keys that this page cannot get. Pure.

/** A segment as hls.js has read it: what it is encrypted with, by format. */
export interface Keyed {
  levelkeys?: Partial<Record<string, { method: string }>> | undefined;
}

/** Whether the newest segment has its samples encrypted: only a browser's key system could play it. */
export function needsKeySystem(fragments: readonly Keyed[]): boolean {
  const keys = Object.values(fragments.at(-1)?.levelkeys ?? {});
  return keys.some((key) => key?.method.startsWith("SAMPLE-AES") ?? false);
}
