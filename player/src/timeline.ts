// Where a viewer may go in a live stream, and how that is said. Pure: seconds in, places and words out.

/** What can be seen now, in seconds of media time. */
export interface Reach {
  start: number;
  /** Where a live viewer should be. */
  live: number;
}

/** A shorter one is no use to go back in. */
const LEAST_S = 20;
/** Nearer to the live edge than this, a viewer is live: the player itself catches up. */
const LIVE_WITHIN_S = 3;
/** The oldest segment goes while it is asked for. */
const MARGIN_S = 6;

/** The seek bar: seconds behind the live edge, negative as on a number line; null where there is nothing to go back to. */
export function bar(reach: Reach | null, at: number): { min: number; value: number } | null {
  if (reach === null || reach.live - reach.start < LEAST_S) return null;
  const min = -Math.floor(reach.live - reach.start - MARGIN_S);
  const behind = Math.round(reach.live - at);
  return { min, value: behind < LIVE_WITHIN_S ? 0 : Math.max(min, -behind) };
}

/** The place so many seconds behind the live edge, within what can be seen; null is the live edge itself. */
export function place(reach: Reach, behind: number): number | null {
  if (behind < LIVE_WITHIN_S) return null;
  return Math.max(reach.start + MARGIN_S, reach.live - behind);
}

/** Whether a viewer who paused here can go on here. */
export function canResume(reach: Reach | null, at: number): boolean {
  if (reach === null || bar(reach, at) === null) return false;
  return at >= reach.start + MARGIN_S && reach.live - at >= LIVE_WITHIN_S;
}

/** `0:07`, `12:34`, `1:02:03`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
