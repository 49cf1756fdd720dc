// Shows the tiers of `vivid dev` and breaks or mends its CDNs; stays hidden elsewhere.

import { ask, type Opinion, type Process, readOpinions, readProcesses, tell } from "./developer";
import { element, write } from "./dom";
import type { Cdn } from "./journal";

const POLL_MS = 1_000;
/** What the page offers to break, under the name people use for it. */
const BREAKABLE: Readonly<Record<string, string>> = { "cdn-a": "CDN A", "cdn-b": "CDN B" };

/** What the tiers panel needs of its page. */
export interface TiersListener {
  cdn(): Cdn | null;
  /** The processes, at every round. */
  seen(processes: readonly Process[]): void;
}

export class Tiers {
  private readonly card = element("tiers", HTMLElement);
  private readonly list = this.card.querySelector("ul") ?? document.createElement("ul");
  private readonly note = element("tiers-note", HTMLElement);
  private readonly page: TiersListener;
  private drawn = "";

  constructor(page: TiersListener) {
    this.page = page;
  }

  /** Asks once; where `vivid dev` answers, goes on asking. */
  async start(): Promise<void> {
    const answer = await ask("dev");
    if (answer === null) return;
    this.card.hidden = false;
    const round = async (): Promise<void> => {
      const [dev, router] = await Promise.all([ask("dev"), ask("router")]);
      if (dev !== null) {
        const processes = readProcesses(dev);
        this.page.seen(processes);
        this.show(processes, readOpinions(router));
      }
      window.setTimeout(() => void round(), POLL_MS);
    };
    await round();
  }

  private show(processes: Process[], opinions: Opinion[]): void {
    const cdn = this.page.cdn();
    const key = JSON.stringify([processes, opinions, cdn]);
    // Rebuilding the list would take the focus from its buttons.
    if (key === this.drawn) return;
    this.drawn = key;
    const focused = document.activeElement?.id;
    this.list.replaceChildren(
      ...processes.map((process) => row(process, opinions, cdn, this.note)),
    );
    if (focused?.startsWith("switch-")) document.getElementById(focused)?.focus();
  }
}

function row(process: Process, opinions: Opinion[], cdn: Cdn | null, note: Element): HTMLLIElement {
  const made = document.createElement("li");
  const up = process.state === "running";
  made.dataset["up"] = String(up);
  made.dataset["serving"] = String(up && cdn?.pathway === process.name);
  const name = document.createElement("b");
  name.textContent = process.name;
  const details = document.createElement("small");
  const opinion = opinions.find((entry) => entry.name === process.name);
  details.textContent = process.state;
  made.title = [
    process.url,
    process.pid === null ? null : `pid ${process.pid}`,
    opinion
      ? `the router says: ${opinion.state}${opinion.reason ? `, ${opinion.reason}` : ""}`
      : null,
  ]
    .filter((part) => part !== null)
    .join("; ");
  made.append(document.createElement("i"), name, details);
  const label = BREAKABLE[process.name];
  if (label) made.append(button(process.name, label, up, note));
  return made;
}

function button(name: string, label: string, up: boolean, note: Element): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.id = `switch-${name}`;
  made.textContent = `${up ? "Break" : "Mend"} ${label}`;
  made.addEventListener("click", async () => {
    made.disabled = true;
    const done = await tell(name, up ? "break" : "mend");
    made.disabled = false;
    write(note, done ? "" : `${label} could not be ${up ? "broken" : "mended"}.`);
  });
  return made;
}
