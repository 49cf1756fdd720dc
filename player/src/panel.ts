// Shows the figures: four times a second, from a snapshot, with no measuring of its own.

import { type Frame, linePath, scaleFor, yOf } from "./chart";
import { element, write } from "./dom";
import { type Sample, summarize } from "./latency";
import type { Snapshot } from "./snapshot";
import { rendition, seconds } from "./words";

const CHART: Frame = { width: 320, height: 96, spanMs: 60_000 };

const KINDS = {
  glass: "glass to glass, read off the bar code in the picture",
  edge: "behind the live edge, by the player’s own account; the picture carries no bar code",
};

export class Panel {
  private readonly card = document.querySelector<HTMLElement>(".latency");
  private readonly grid = element("grid", SVGGElement);
  private readonly ticks = element("ticks", HTMLDivElement);
  private top = 0;

  show(now: Snapshot, chart: readonly Sample[]): void {
    const kind = now.latency?.kind;
    if (this.card) this.card.dataset["kind"] = kind ?? "none";
    text("latency", seconds(now.latency?.seconds ?? null));
    const none = now.presented > 0 ? "the picture stands" : "waiting for the first picture";
    text("latency-kind", kind ? KINDS[kind] : none);
    this.drawChart(now.at, chart);
    const shown = now.rendition;
    text("rendition", shown ? rendition(shown.height, shown.bitrate) : "–");
    text(
      "cdn",
      now.cdn ? `${now.cdn.pathway === "." ? "" : `${now.cdn.pathway} · `}${now.cdn.host}` : "–",
    );
    const played = (figure: string) => (now.presented > 0 ? figure : "–");
    const stalls = `${now.stallCount} · ${seconds(now.stallSeconds, 1)}`;
    text("buffer", played(seconds(now.bufferSeconds)));
    text("speed", played(`${now.playbackRate.toFixed(2)} ×`));
    text("first", now.firstFrameMs === null ? "–" : seconds(now.firstFrameMs / 1000));
    text("stalls", played(now.stallCount === 0 ? "none" : stalls));
    text("dropped", played(`${now.dropped} of ${now.presented + now.dropped}`));
  }

  private drawChart(now: number, samples: readonly Sample[]): void {
    const summary = summarize(samples.map((sample) => sample.seconds));
    const scale = scaleFor(summary.max ?? 0);
    const line = linePath(samples, now, CHART, scale);
    element("line", SVGPathElement).setAttribute("d", line);
    element("area", SVGPathElement).setAttribute("d", filled(line));
    text(
      "spread",
      summary.count === 0 ? "" : `median ${seconds(summary.p50)} · 95 % ${seconds(summary.p95)}`,
    );
    if (scale.top === this.top) return;
    this.top = scale.top;
    const lines = [0, ...scale.ticks].map((tick) => {
      const drawn = document.createElementNS("http://www.w3.org/2000/svg", "line");
      const y = yOf(tick, CHART, scale).toFixed(1);
      const ends = { x1: "0", x2: String(CHART.width), y1: y, y2: y };
      for (const [name, value] of Object.entries(ends)) drawn.setAttribute(name, value);
      return drawn;
    });
    this.grid.replaceChildren(...lines);
    this.ticks.replaceChildren(
      ...scale.ticks.map((tick) => {
        const label = document.createElement("span");
        label.textContent = `${tick} s`;
        label.style.top = `${yOf(tick, CHART, scale)}px`;
        return label;
      }),
    );
  }
}

/** Closes each piece of a line down to the axis. */
function filled(line: string): string {
  return line
    .split("M")
    .filter((piece) => piece !== "")
    .map((piece) => {
      const points = piece.split("L");
      const first = points[0]?.split(" ")[0] ?? "0";
      const last = points.at(-1)?.split(" ")[0] ?? "0";
      return `M${piece}L${last} ${CHART.height}L${first} ${CHART.height}Z`;
    })
    .join("");
}

function text(id: string, value: string): void {
  write(element(id, Element as unknown as new () => Element), value);
}
