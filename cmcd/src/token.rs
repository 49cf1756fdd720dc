//! The closed sets of tokens that keys of CMCD take.

macro_rules! tokens {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $token:literal $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn token(self) -> &'static str {
                match self { $(Self::$variant => $token),+ }
            }

            /// What it means, as a label says it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(crate) fn from_token(token: &str) -> Option<Self> {
                match token { $($token => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

tokens!(
    /// What a request was for (`ot`).
    ObjectType {
        Manifest = "m" "manifest", Audio = "a" "audio", Video = "v" "video", Muxed = "av" "muxed", Init = "i" "init",
        Caption = "c" "caption", TimedText = "tt" "timed_text", Key = "k" "key", Other = "o" "other",
    }
);
tokens!(
    /// How the segments of a stream become available (`st`).
    StreamType { Vod = "v" "vod", Live = "l" "live", LowLatency = "ll" "low_latency" }
);
tokens!(
    /// The streaming format (`sf`).
    Format { Dash = "d" "dash", Hls = "h" "hls", Hesp = "e" "hesp", Smooth = "s" "smooth", Other = "o" "other" }
);
tokens!(
    /// What a player is doing (`sta`, version 2).
    State {
        Starting = "s" "starting", Playing = "p" "playing", Seeking = "k" "seeking", Rebuffering = "r" "rebuffering",
        Paused = "a" "paused", Waiting = "w" "waiting", Ended = "e" "ended", Failed = "f" "failed", Quit = "q" "quit",
        Preloading = "d" "preloading",
    }
);
tokens!(
    /// Why a player reports (`e`, version 2, event mode).
    Event {
        PlayState = "ps" "play_state", Error = "e" "error", Interval = "t" "interval", Response = "rr" "response",
        Bitrate = "bc" "bitrate", Content = "c" "content", Rate = "pr" "playback_rate", Host = "h" "host",
        Background = "b" "background", Mute = "m" "mute", Unmute = "um" "unmute", Expand = "pe" "expand",
        Collapse = "pc" "collapse", AdStart = "as" "ad_start", AdEnd = "ae" "ad_end", BreakStart = "abs" "break_start",
        BreakEnd = "abe" "break_end", Skip = "sk" "skip", Custom = "ce" "custom",
    }
);
