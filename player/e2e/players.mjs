// The stock players that scripts beside this one visit streams with, and what a page knows before it begins to play.

import { CELLS } from "./bar.mjs";

/** The library from npm, and how a page begins to play `url` in `video` with it. */
export const PLAYERS = {
  hls: {
    library: "hls.js/dist/hls.min.js",
    begin: `const drmSystems = { "org.w3.clearkey": { licenseUrl: license } };
      const videoPreference = { videoCodec: prefer.video }, audioPreference = { audioCodec: prefer.audio };
      const player = new Hls({ lowLatencyMode: true, ...(license && { emeEnabled: true, drmSystems }),
        ...(prefer.video && { videoPreference }), ...(prefer.audio && { audioPreference }) });
      player.on(Hls.Events.ERROR, (_, data) => seen.errors.push((data.fatal ? "fatal " : "") + data.details));
      player.loadSource(url);
      player.attachMedia(video);
      seen.latency = () => player.latency;
      seen.chosen = () => {
        const { videoCodec, height, audioCodec } = player.levels[player.currentLevel] ?? {};
        return [videoCodec, height, audioCodec];
      };
      seen.version = Hls.version;
      seen.back = (seconds) => { video.currentTime -= seconds; };
      seen.live = () => { video.currentTime = player.liveSyncPosition; };`,
  },
  dash: {
    library: "dashjs/dist/modern/umd/dash.all.min.js",
    begin: `const player = dashjs.MediaPlayer().create();
      player.on("error", (event) => seen.errors.push(String(event.error?.message ?? event.error)));
      player.initialize();
      if (prefer.video || prefer.audio) {
        player.setCustomInitialTrackSelectionFunction((tracks) => {
          const preferred = tracks.filter(({ type, codec }) => prefer[type] && codec.includes(prefer[type]));
          return preferred.length > 0 ? preferred : tracks;
        });
      }
      player.attachView(video);
      player.setAutoPlay(true);
      player.attachSource(url);
      if (license) player.setProtectionData({ "org.w3.clearkey": { serverURL: license } });
      seen.latency = () => player.getCurrentLiveLatency();
      seen.chosen = () => {
        const [picture, sound] = ["video", "audio"].map((type) => player.getCurrentRepresentationForType(type));
        return [picture?.codecs, picture?.height, sound?.codecs];
      };
      seen.version = player.getVersion();
      seen.back = (seconds) => player.seek(player.timeInDvrWindow() - seconds);
      seen.live = () => player.seekToOriginalLive();`,
  },
  shaka: {
    library: "shaka-player/dist/shaka-player.compiled.js",
    begin: `const player = new shaka.Player();
      if (prefer.video) player.configure("preferredVideo", [{ codec: prefer.video }]);
      if (prefer.audio) player.configure("preferredAudio", [{ codec: prefer.audio }]);
      if (license && url.endsWith(".mpd")) player.configure({ drm: { servers: { "org.w3.clearkey": license } } });
      player.addEventListener("error", ({ detail }) => {
        seen.errors.push(("code " + detail.code + " " + detail.data.map(String).join(" ")).trim().slice(0, 200));
      });
      player.attach(video).then(() => player.load(url)).catch((error) => seen.errors.push("fatal " + error.code));
      seen.latency = () => player.getStats().liveLatency;
      seen.chosen = () => {
        const { videoCodec, height, audioCodec } = player.getVariantTracks().find((track) => track.active) ?? {};
        return [videoCodec, height, audioCodec];
      };
      seen.version = shaka.Player.version;
      seen.back = (seconds) => { video.currentTime -= seconds; };
      seen.live = () => player.goToLive();`,
  },
};

/** The luma in the middle of each cell of the bar, as far as there is a picture. */
export const LUMA = `(() => {
  const [width, height] = [video.videoWidth, video.videoHeight];
  if (!width) return [];
  const canvas = new OffscreenCanvas(width, 1).getContext("2d");
  canvas.drawImage(video, 0, Math.floor(height / 40), width, 1, 0, 0, width, 1);
  const { data } = canvas.getImageData(0, 0, width, 1);
  return Array.from({ length: ${CELLS} }, (_, cell) => data[4 * Math.floor(((2 * cell + 1) * width) / ${2 * CELLS}) + 1]);
})()`;

/**
 * What a page keeps of its player.
 * @param {string | null} license where browsers get clear keys
 * @param {{ video?: string, audio?: string }} [prefer] codecs that the player is to take where it can choose
 */
export const kept = (license, prefer = {}) => `const license = ${JSON.stringify(license)};
      const prefer = ${JSON.stringify(prefer)};
      const seen = { errors: [], stalls: 0, began: false, latency: () => null, chosen: () => [] };
      video.addEventListener("playing", () => { seen.began = true; });
      video.addEventListener("waiting", () => { if (seen.began) seen.stalls += 1; });`;
