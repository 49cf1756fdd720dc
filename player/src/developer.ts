// Asks `vivid dev` which tiers run, and breaks or mends a CDN. Elsewhere the endpoint does not exist and nothing is shown.

/** One tier as `vivid dev` started it. */
export interface Process {
  name: string;
  pid: number | null;
  url: string | null;
  state: string;
}

/** What the router thinks of a CDN; whatever else it says is left aside. */
export interface Opinion {
  name: string;
  state: string;
  reason: string | null;
}

const DEADLINE_MS = 2_000;

/** Reads the list of processes; unknown fields are ignored, entries without a name dropped. */
export function readProcesses(answer: unknown): Process[] {
  return listOf(answer, "processes").flatMap((entry) => {
    const { name, pid, url, state } = entry;
    if (typeof name !== "string") return [];
    return {
      name,
      pid: typeof pid === "number" ? pid : null,
      url: typeof url === "string" ? url : null,
      state: typeof state === "string" ? state : "unknown",
    };
  });
}

/** Reads the router's CDNs; one of which it knows nothing yet is left out. */
export function readOpinions(answer: unknown): Opinion[] {
  return listOf(answer, "cdns").flatMap(({ id, state, reason }) => {
    if (typeof id !== "string" || typeof state !== "string" || state === "unknown") return [];
    return { name: id, state, reason: typeof reason === "string" ? reason : null };
  });
}

/** The port publishers use, when the test source is among the processes. */
export function rtmpPort(processes: readonly Process[]): number | null {
  const port = processes.map(({ url }) => url?.match(/^rtmp:\/\/[^/]*:(\d+)\//)?.[1]).find(Boolean);
  return port === undefined ? null : Number(port);
}

/** The JSON at an endpoint below `/_vivid/`, or null where there is none. */
export async function ask(path: string): Promise<unknown> {
  try {
    const answer = await fetch(`/_vivid/${path}`, {
      signal: AbortSignal.timeout(DEADLINE_MS),
      cache: "no-store",
    });
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Breaks or mends a tier; false where that did not work. */
export async function tell(name: string, action: "break" | "mend"): Promise<boolean> {
  try {
    const answer = await fetch(`/_vivid/dev/${encodeURIComponent(name)}/${action}`, {
      method: "POST",
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    return answer.ok;
  } catch {
    return false;
  }
}

function listOf(answer: unknown, key: string): Record<string, unknown>[] {
  if (typeof answer !== "object" || answer === null) return [];
  const list: unknown = (answer as Record<string, unknown>)[key];
  if (!Array.isArray(list)) return [];
  return list.filter((entry): entry is Record<string, unknown> => {
    return typeof entry === "object" && entry !== null;
  });
}
