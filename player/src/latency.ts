// Keeps the last minute of latencies and says their percentiles. Pure: the caller brings the clock.

/** One latency in seconds, seen at `at` (ms on any monotonic clock). */
export interface Sample {
  at: number;
  seconds: number;
}

/** What a set of latencies looks like; seconds. */
export interface Summary {
  count: number;
  p50: number | null;
  p95: number | null;
  max: number | null;
}

/** A window over time with a bound on its length, oldest out first. */
export class Recent {
  private readonly kept: Sample[] = [];
  private readonly spanMs: number;
  private readonly most: number;

  constructor(spanMs: number, most: number) {
    this.spanMs = spanMs;
    this.most = most;
  }

  push(sample: Sample): void {
    this.kept.push(sample);
    this.trim(sample.at);
  }

  /** The samples no older than the span at `now`, oldest first. */
  samples(now: number): readonly Sample[] {
    this.trim(now);
    return this.kept;
  }

  clear(): void {
    this.kept.length = 0;
  }

  private trim(now: number): void {
    let stale = Math.max(0, this.kept.length - this.most);
    while ((this.kept[stale]?.at ?? Number.POSITIVE_INFINITY) < now - this.spanMs) stale++;
    if (stale > 0) this.kept.splice(0, stale);
  }
}

/** The nearest-rank percentile of ascending values; null where there are none. `share` lies in 0..=1. */
export function percentile(ascending: readonly number[], share: number): number | null {
  const rank = Math.max(1, Math.ceil(share * ascending.length));
  return ascending[rank - 1] ?? null;
}

/** Count, median, 95th percentile and maximum. */
export function summarize(seconds: readonly number[]): Summary {
  const ascending = [...seconds].sort((a, b) => a - b);
  return {
    count: ascending.length,
    p50: percentile(ascending, 0.5),
    p95: percentile(ascending, 0.95),
    max: percentile(ascending, 1),
  };
}
