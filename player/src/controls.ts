// The buttons under and over the picture, their keys, and the way around a browser that refuses sound.

import { element, write } from "./dom";
import type { Session } from "./session";
import { Thumbnails } from "./thumbnails";
import { bar, clock } from "./timeline";
import { rendition } from "./words";

const PAUSE = "M7 5h4v14H7zM13 5h4v14h-4z";
const PLAY = "M8 5v14l11-7z";
const LOUD = "M4 9v6h4l5 4V5L8 9zM15.5 8.5a5 5 0 0 1 0 7l1.2 1.2a6.7 6.7 0 0 0 0-9.4z";
const MUTED =
  "M4 9v6h4l5 4V5L8 9zM20 9.4 18.6 8 16.5 10.1 14.4 8 13 9.4l2.1 2.1-2.1 2.1 1.4 1.4 2.1-2.1 2.1 2.1 1.4-1.4-2.1-2.1z";

/** What an arrow key goes back or on. */
const STEP_S = 10;

export class Controls {
  private readonly video = element("video", HTMLVideoElement);
  private readonly begin = element("begin", HTMLButtonElement);
  private readonly unmute = element("unmute", HTMLButtonElement);
  private readonly playButton = element("play", HTMLButtonElement);
  private readonly muteButton = element("mute", HTMLButtonElement);
  private readonly quality = element("quality", HTMLSelectElement);
  private readonly live = element("live", HTMLButtonElement);
  private readonly seekBar = element("seek", HTMLInputElement);
  private readonly behind = element("behind", HTMLOutputElement);
  private readonly thumbnail = element("thumbnail", HTMLDivElement);
  private readonly thumbnails = new Thumbnails();
  private seeking = false;
  private readonly session: () => Session;
  private offered = "";

  constructor(session: () => Session) {
    this.session = session;
    const { video } = this;
    this.begin.addEventListener("click", () => void this.play());
    this.unmute.addEventListener("click", () => this.setMuted(false));
    this.playButton.addEventListener("click", () => this.toggle());
    this.muteButton.addEventListener("click", () => this.setMuted(!video.muted));
    this.live.addEventListener("click", () => this.toLive());
    this.seekBar.addEventListener("input", () => {
      this.seeking = true;
      this.say(-this.seekBar.valueAsNumber);
    });
    this.seekBar.addEventListener("change", () => {
      this.seeking = false;
      session().seek(-this.seekBar.valueAsNumber);
    });
    this.seekBar.addEventListener("pointermove", (event) => void this.preview(event.clientX));
    this.seekBar.addEventListener("pointerleave", () => {
      this.thumbnail.hidden = true;
    });
    this.quality.addEventListener("change", () => session().choose(Number(this.quality.value)));
    element("full", HTMLButtonElement).addEventListener("click", () => void this.fullScreen());
    for (const event of ["play", "pause", "volumechange"]) {
      video.addEventListener(event, () => this.show());
    }
    video.addEventListener("click", () => this.toggle());
    document.addEventListener("keydown", (event) => this.onKey(event));
    this.show();
  }

  /** Plays with sound, without it where the browser refuses, and offers a button where it refuses that too. */
  async play(): Promise<void> {
    const { video } = this;
    this.begin.hidden = true;
    if (await started(video)) return;
    if (!video.muted) {
      video.muted = true;
      this.unmute.hidden = false;
      if (await started(video)) return;
    }
    this.unmute.hidden = true;
    this.begin.hidden = false;
  }

  /** Offers the renditions there are and shows the one in use. */
  update(): void {
    const session = this.session();
    const { renditions } = session;
    const shown = renditions[session.rendition];
    const auto = shown && shown.height > 0 ? `Auto (${shown.height}p)` : "Auto";
    const names = [auto, ...renditions.map(({ height, bitrate }) => rendition(height, bitrate))];
    const chosen = session.automatic ? -1 : session.rendition;
    const key = names.join("|");
    // A list that is rebuilt while it is open closes under the viewer's finger.
    if (key !== this.offered && document.activeElement !== this.quality) {
      this.offered = key;
      this.quality.replaceChildren(
        ...names.map((name, at) => new Option(name, String(at - 1), false, at - 1 === chosen)),
      );
    } else if (document.activeElement !== this.quality && session.automatic) {
      this.quality.value = "-1";
    }
    const target = session.targetLatency ?? 0;
    const distance = session.edgeDistance ?? Number.POSITIVE_INFINITY;
    this.live.dataset["atEdge"] = String(distance < target + 1.5);
    this.updateSeekBar();
  }

  /** Moves the bar along, unless the viewer has hold of it. */
  private updateSeekBar(): void {
    const place = bar(this.session().reach, this.video.currentTime);
    const box = this.seekBar.parentElement;
    if (box) box.hidden = place === null;
    if (this.seeking) return;
    if (place !== null) {
      this.seekBar.min = String(place.min);
      this.seekBar.valueAsNumber = place.value;
    }
    this.say(-(place?.value ?? 0));
  }

  /** Shows what is under the pointer, where there is a picture of it. */
  private async preview(clientX: number): Promise<void> {
    const { left, width } = this.seekBar.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (clientX - left) / width));
    const behind = -Number(this.seekBar.min) * (1 - share);
    const { playlist } = this.session();
    const box = this.thumbnail;
    box.hidden = false;
    const found = playlist && (await this.thumbnails.behind(playlist, behind, performance.now()));
    // The pointer may have left meanwhile.
    if (box.hidden) return;
    box.style.visibility = found ? "visible" : "hidden";
    if (!found) return;
    const { url, x, y } = found;
    box.style.width = `${found.width}px`;
    box.style.height = `${found.height}px`;
    box.style.background = `url("${url}") -${x}px -${y}px`;
    const middle = this.seekBar.offsetLeft + share * width - found.width / 2;
    const last = this.seekBar.offsetLeft + width - found.width;
    box.style.left = `${Math.max(0, Math.min(last, middle))}px`;
  }

  private say(behind: number): void {
    const words = behind > 0 ? `${clock(behind)} behind live` : "live";
    this.seekBar.setAttribute("aria-valuetext", words);
    write(this.behind, behind > 0 ? `−${clock(behind)}` : "");
    const min = -Number(this.seekBar.min);
    this.seekBar.style.setProperty("--at", String(min > 0 ? 1 - behind / min : 1));
  }

  private toggle(): void {
    if (this.video.paused) {
      this.session().resume();
      void this.play();
    } else {
      this.video.pause();
    }
  }

  /** So many seconds back. */
  private step(seconds: number): void {
    if (bar(this.session().reach, this.video.currentTime) === null) return;
    this.session().seek(-this.seekBar.valueAsNumber + seconds);
  }

  private toLive(): void {
    this.session().toLive();
    void this.play();
  }

  private setMuted(muted: boolean): void {
    this.video.muted = muted;
    this.unmute.hidden = true;
  }

  private async fullScreen(): Promise<void> {
    const screen = element("screen", HTMLDivElement);
    if (document.fullscreenElement) await document.exitFullscreen();
    // A phone may refuse for any element but a video: then there is nothing to do and nothing broken.
    else await screen.requestFullscreen?.().catch(() => {});
  }

  private show(): void {
    const { paused, muted } = this.video;
    draw(this.playButton, paused ? PLAY : PAUSE, paused ? "Play" : "Pause", "k");
    draw(this.muteButton, muted ? MUTED : LOUD, muted ? "Turn sound on" : "Mute", "m");
    if (!muted) this.unmute.hidden = true;
  }

  private onKey(event: KeyboardEvent): void {
    const { target } = event;
    const typing =
      (target instanceof HTMLInputElement && target !== this.seekBar) ||
      target instanceof HTMLSelectElement;
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys: Record<string, () => void> = {
      k: () => this.toggle(),
      m: () => this.setMuted(!this.video.muted),
      f: () => void this.fullScreen(),
      l: () => this.toLive(),
      arrowleft: () => this.step(STEP_S),
      arrowright: () => this.step(-STEP_S),
    };
    // The space bar belongs to a focused button.
    if (!(event.target instanceof HTMLButtonElement)) keys[" "] = () => this.toggle();
    const act = keys[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

async function started(video: HTMLVideoElement): Promise<boolean> {
  try {
    await video.play();
    return true;
  } catch (error) {
    // A new source interrupts the promise; only a refusal asks for another way.
    return !(error instanceof DOMException && error.name === "NotAllowedError");
  }
}

function draw(button: HTMLButtonElement, path: string, label: string, key: string): void {
  button.querySelector("path")?.setAttribute("d", path);
  button.setAttribute("aria-label", label);
  button.title = `${label} (${key})`;
  for (const text of button.querySelectorAll("span")) write(text, label);
}
