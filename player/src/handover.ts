// Makes a change of CDN invisible: what the old one delivered is not asked for again, and decoding goes on where it was.
//
// The playlist of a new pathway brings new objects for the same media, all marked as not loaded. hls.js then
// loads the segment in progress once more from its beginning, initialization included. That overwrites the
// frames being decoded, and the browser shows nothing until the next random access point, up to a whole
// segment later. When the buffer ends on a segment boundary it is worse: hls.js finds the segment among those
// it has and its parts among those it lacks, and waits for ever. The same name means the same bytes on every
// CDN, so the cure is to tell hls.js which of the new objects it has.
//
// The other way round after a change of rendition: hls.js remembers parts it loaded before it left a rendition,
// goes on after them when it returns within the same segment, and the decoder drops everything up to the next
// segment, because the initialization in between needs an independent part after it. There the cure is to forget.

import type Hls from "hls.js";
import { Events, type Fragment, type LevelDetails, type Part } from "hls.js";

/** The newest playlist of a rendition, with what of it is loaded. */
interface Known {
  rendition: number;
  details: LevelDetails;
}

/** Corrects what `hls` believes to have, at every playlist and before it chooses what to load next. */
export function easeHandover(hls: Hls): void {
  let video: Known | null = null;
  let audio: Known | null = null;
  let audioBefore: LoadedParts | null = null;
  let decoding: number | null = null;
  let switched = false;

  hls.on(Events.FRAG_LOADED, (_event, { frag }) => {
    if (frag.type === "main" && frag.sn !== "initSegment") decoding = frag.level;
  });
  hls.on(Events.LEVEL_SWITCHING, () => {
    switched = true;
  });
  hls.on(Events.LEVELS_UPDATED, () => {
    // The pathway is about to change, and with it the audio track: hls.js then clears the marks of the segment
    // in progress, although all of it stays in the buffer.
    if (audio) audioBefore = loadedParts(audio.details);
  });
  hls.on(Events.BUFFER_FLUSHING, () => {
    audioBefore = null;
  });
  hls.on(Events.MEDIA_DETACHED, () => {
    video = null;
    audio = null;
    audioBefore = null;
    decoding = null;
  });
  hls.on(Events.LEVEL_UPDATED, (_event, { details, level }) => {
    if (switched && decoding !== null && level !== decoding) forget(details);
    switched = false;
    // Without the same initialization decoding could not go on in the middle of a segment.
    if (video?.rendition === level && carryInit(video.details, details)) {
      carryParts(loadedParts(video.details), details);
    }
    video = { rendition: level, details };
  });
  hls.on(Events.AUDIO_TRACK_UPDATED, (_event, { details, id }) => {
    // Every audio frame can be decoded alone: a new initialization does no harm.
    if (audio?.rendition === id) carryParts(audioBefore ?? loadedParts(audio.details), details);
    audioBefore = null;
    audio = { rendition: id, details };
  });
}

/** Replaces initializations that are loaded already by the loaded ones; false where there is none in common. */
function carryInit(from: LevelDetails, to: LevelDetails): boolean {
  const loaded = new Map<string, Fragment>();
  for (const { initSegment } of withHint(from)) {
    if (initSegment?.data && initSegment.relurl) loaded.set(initSegment.relurl, initSegment);
  }
  let common = false;
  for (const fragment of withHint(to)) {
    // Relative, as the playlist has it: the host is what differs between CDNs.
    const twin = loaded.get(fragment.initSegment?.relurl ?? "");
    if (!twin) continue;
    fragment.initSegment = twin;
    common = true;
  }
  return common;
}

/** What is known of each loaded part, by its relative name. */
type LoadedParts = ReadonlyMap<string, Part["elementaryStreams"]>;

/** A copy: hls.js clears such records in place. */
function loadedParts({ partList }: LevelDetails): LoadedParts {
  const loaded = (partList ?? []).filter((part) => part.loaded);
  return new Map(loaded.map((part) => [part.relurl, { ...part.elementaryStreams }]));
}

/** Marks as loaded what is loaded under the same name. */
function carryParts(loaded: LoadedParts, { partList }: LevelDetails): void {
  for (const part of partList ?? []) {
    const streams = loaded.get(part.relurl);
    if (streams && !part.loaded) part.elementaryStreams = { ...streams };
  }
}

/** Lets a rendition that is returned to begin at an independent part: parts of unfinished segments count as not loaded. */
function forget(details: LevelDetails): void {
  const parts = details.partList ?? [];
  const unfinished = new Set(parts.filter((part) => !part.loaded).map((part) => part.fragment));
  if (details.fragmentHint) unfinished.add(details.fragmentHint);
  for (const part of parts) {
    if (unfinished.has(part.fragment)) part.elementaryStreams.video = null;
  }
}

function withHint({ fragments, fragmentHint }: LevelDetails): Fragment[] {
  return fragmentHint ? [...fragments, fragmentHint] : fragments;
}
