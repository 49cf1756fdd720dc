//! What is counted of what players say of themselves. Labels are tokens of CTA-5004: whatever else they send makes no series.

use super::{Label, Make};
use cmcd::{Cmcd, Event, Format, ObjectType, State, StreamType};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, exponential_buckets};

label!(
    /// How a report came.
    Mode { Query = "query", Headers = "headers", Event = "event" }
);
label!(
    /// How fast a player plays; one that says nothing plays in real time.
    Rate { Stopped = "stopped", Slow = "slow", Normal = "normal", Fast = "fast" }
);

/// Everything that players report.
pub struct Reports {
    reports: Vec<IntCounter>,
    /// By stream and object type.
    objects: Vec<IntCounter>,
    starved: Vec<IntCounter>,
    startup: Vec<IntCounter>,
    formats: Vec<IntCounter>,
    states: Vec<IntCounter>,
    events: Vec<IntCounter>,
    rates: Vec<IntCounter>,
    malformed: IntCounter,
    stalled_ms: Vec<IntCounter>,
    buffer: Vec<Histogram>,
    throughput: Vec<Histogram>,
    latency: Vec<Histogram>,
    start_delay: Vec<Histogram>,
}

/// Reports of a version that is not known are read as the newest.
const VERSIONS: [&str; 2] = ["1", "2"];
/// Nothing was said.
const NONE: &str = "none";

impl Reports {
    pub(super) fn new(make: &mut Make<'_>) -> prometheus::Result<Self> {
        let streams = words(StreamType::ALL, StreamType::word);
        let modes: Vec<_> = Mode::VALUES.iter().map(|(_, word)| *word).collect();
        // Low-latency players hold a second or less, others up to minutes: factor 2 from 0.1 s to 51 s.
        let buffered = exponential_buckets(0.1, 2.0, 10)?;
        // From the poorest audio rendition to what a home has: factor 2 from 125 kbit/s to 512 Mbit/s.
        let rates = exponential_buckets(125_000.0, 2.0, 13)?;
        // Factor 1.5 from 0.25 s to 49 s tells 1.8 s from 2.4 s.
        let seconds = exponential_buckets(0.25, 1.5, 14)?;
        Ok(Self {
            reports: make.pairs(
                ("vivid_edge_cmcd_reports_total", "Reports of players (CMCD), by how they came and their version."),
                ("mode", &modes),
                ("version", &VERSIONS),
            )?,
            objects: make
                .by_object(("vivid_edge_cmcd_objects_total", "Requests with CMCD, by stream and object type."))?,
            starved: make.by_object((
                "vivid_edge_cmcd_starved_total",
                "Reports that a player ran dry, by stream and object type.",
            ))?,
            startup: make.by_object((
                "vivid_edge_cmcd_urgent_total",
                "Requests needed at once: at a start, after a seek or a stall.",
            ))?,
            formats: make.words(
                ("vivid_edge_cmcd_formats_total", "Reports of players by streaming format."),
                "format",
                &words(Format::ALL, Format::word),
            )?,
            states: make.words(
                ("vivid_edge_cmcd_states_total", "Reports of players by what they were doing."),
                "state",
                &words(State::ALL, State::word),
            )?,
            events: make.words(
                ("vivid_edge_cmcd_events_total", "Events that players reported."),
                "event",
                &words(Event::ALL, Event::word),
            )?,
            rates: make.set::<Rate>(
                "vivid_edge_cmcd_playback_rates_total",
                "Reports of players that do not play in real time, by how fast they play.",
                "rate",
            )?,
            malformed: make.register(IntCounter::new(
                "vivid_edge_cmcd_malformed_total",
                "Values of CMCD that are none of their key's, or that nobody can mean, and reports that say nothing.",
            )?)?,
            stalled_ms: make.words(
                ("vivid_edge_cmcd_stalled_milliseconds_total", "Time that players reported to have been dry."),
                "stream",
                &streams,
            )?,
            buffer: make.histograms(
                ("vivid_edge_cmcd_buffer_seconds", "Media that a player had buffered when it asked."),
                &buffered,
            )?,
            throughput: make.histograms(
                ("vivid_edge_cmcd_throughput_bits_per_second", "Throughput as players measure it."),
                &rates,
            )?,
            latency: make.histograms(
                ("vivid_edge_cmcd_latency_seconds", "How far players are behind the live edge."),
                &seconds,
            )?,
            start_delay: make.histograms(
                ("vivid_edge_cmcd_start_delay_seconds", "From the wish to play to the first picture."),
                &seconds,
            )?,
        })
    }

    /// Counts one report.
    pub fn count(&self, mode: Mode, said: &Cmcd) {
        let version = usize::from(said.version.is_some_and(|version| version > 1));
        self.reports[mode.index() * VERSIONS.len() + version].inc();
        let stream = said.stream.map_or(0, |stream| stream as usize + 1);
        let object = said.object.map_or(0, |object| object as usize + 1);
        let both = stream * (ObjectType::ALL.len() + 1) + object;
        if mode != Mode::Event {
            self.objects[both].inc();
        }
        if said.starved {
            self.starved[both].inc();
        }
        if said.startup {
            self.startup[both].inc();
        }
        self.formats[said.format.map_or(0, |format| format as usize + 1)].inc();
        if let Some(state) = said.state {
            self.states[state as usize + 1].inc();
        }
        if let Some(event) = said.event {
            self.events[event as usize + 1].inc();
        }
        if let Some(percent) = said.rate_percent {
            self.rates[Rate::of(percent).index()].inc();
        }
        self.malformed.inc_by(said.malformed.into());
        self.stalled_ms[stream].inc_by(said.starved_ms.unwrap_or(0).into());
        let seconds = |ms: u32| f64::from(ms) / 1000.0;
        for (histograms, value) in [
            (&self.buffer, said.buffer_ms.map(seconds)),
            (&self.throughput, said.throughput_kbps.map(|kbps| f64::from(kbps) * 1000.0)),
            (&self.latency, said.latency_ms.map(seconds)),
            (&self.start_delay, said.start_delay_ms.map(seconds)),
        ] {
            if let Some(value) = value {
                histograms[stream].observe(value);
            }
        }
    }

    /// A report that says nothing that is known, or is no text.
    pub fn nonsense(&self) {
        self.malformed.inc();
    }
}

impl Rate {
    fn of(percent: u32) -> Self {
        match percent {
            0 => Self::Stopped,
            1..=99 => Self::Slow,
            100 => Self::Normal,
            _ => Self::Fast,
        }
    }
}

/// The words of a token's label; nothing said goes first.
fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    std::iter::once(NONE).chain(all.iter().map(|value| word(*value))).collect()
}

impl Make<'_> {
    fn words(
        &mut self,
        (name, help): (&str, &str),
        label: &str,
        words: &[&str],
    ) -> prometheus::Result<Vec<IntCounter>> {
        let counters = self.register(IntCounterVec::new(Opts::new(name, help), &[label])?)?;
        Ok(words.iter().map(|word| counters.with_label_values(&[*word])).collect())
    }

    fn pairs(
        &mut self,
        (name, help): (&str, &str),
        (one, ones): (&str, &[&str]),
        (two, twos): (&str, &[&str]),
    ) -> prometheus::Result<Vec<IntCounter>> {
        let counters = self.register(IntCounterVec::new(Opts::new(name, help), &[one, two])?)?;
        let pairs = ones.iter().flat_map(|one| twos.iter().map(move |two| [*one, *two]));
        Ok(pairs.map(|pair| counters.with_label_values(&pair)).collect())
    }

    fn by_object(&mut self, named: (&str, &str)) -> prometheus::Result<Vec<IntCounter>> {
        let (streams, objects) = (words(StreamType::ALL, StreamType::word), words(ObjectType::ALL, ObjectType::word));
        self.pairs(named, ("stream", &streams), ("object", &objects))
    }

    fn histograms(&mut self, (name, help): (&str, &str), buckets: &[f64]) -> prometheus::Result<Vec<Histogram>> {
        let streams = words(StreamType::ALL, StreamType::word);
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histograms = self.register(HistogramVec::new(options, &["stream"])?)?;
        Ok(streams.iter().map(|stream| histograms.with_label_values(&[*stream])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};

    #[test]
    fn a_report_counts_under_what_it_says() {
        let registry = Registry::new();
        let reports = Reports::new(&mut Make { registry: &registry }).unwrap();
        let said = |text: &str| Cmcd::from_headers([text]);
        reports.count(Mode::Query, &said("bl=1200,bs,mtp=4200,ot=v,pr=1.1,sf=h,st=ll,su"));
        reports.count(Mode::Event, &said("bsd=(300 200),e=ps,ltc=2000,msd=500,ot=v,sta=r,st=v,v=2,sf=d"));
        reports.count(Mode::Headers, &said("ot=zz,st=\"x\",br=1e9"));
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "reports_total{mode=\"query\",version=\"1\"} 1",
            "reports_total{mode=\"event\",version=\"2\"} 1",
            "objects_total{object=\"video\",stream=\"low_latency\"} 1",
            "objects_total{object=\"none\",stream=\"none\"} 1",
            "objects_total{object=\"video\",stream=\"vod\"} 0",
            "starved_total{object=\"video\",stream=\"low_latency\"} 1",
            "urgent_total{object=\"video\",stream=\"low_latency\"} 1",
            "formats_total{format=\"hls\"} 1",
            "formats_total{format=\"none\"} 1",
            "states_total{state=\"rebuffering\"} 1",
            "events_total{event=\"play_state\"} 1",
            "playback_rates_total{rate=\"fast\"} 1",
            "malformed_total 3",
            "stalled_milliseconds_total{stream=\"vod\"} 500",
            "buffer_seconds_sum{stream=\"low_latency\"} 1.2",
            "throughput_bits_per_second_sum{stream=\"low_latency\"} 4200000",
            "latency_seconds_sum{stream=\"vod\"} 2",
            "start_delay_seconds_sum{stream=\"vod\"} 0.5",
        ] {
            assert!(text.contains(&format!("\nvivid_edge_cmcd_{line}\n")), "{line} in {text}");
        }
    }
}
