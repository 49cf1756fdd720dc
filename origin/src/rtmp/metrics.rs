//! What RTMP ingest counts.

use crate::Refusal;
use crate::rtmp::session::Dropped;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Registered once per listener.
pub(super) struct Metrics {
    pub(super) connections: IntGauge,
    pub(super) bytes_in: IntCounter,
    connections_refused: IntCounterVec,
    connections_closed: IntCounterVec,
    publishes: IntCounterVec,
    messages_dropped: IntCounterVec,
    frames_in: IntCounterVec,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let connections = IntGauge::new("vivid_origin_rtmp_connections", "RTMP connections that are open.")?;
        registry.register(Box::new(connections.clone()))?;
        let bytes_in = IntCounter::new("vivid_origin_rtmp_received_bytes_total", "Bytes read from RTMP connections.")?;
        registry.register(Box::new(bytes_in.clone()))?;
        Ok(Self {
            connections,
            bytes_in,
            connections_refused: counters(
                "vivid_origin_rtmp_connections_refused_total",
                "RTMP connections closed unread, by the bound that bit.",
                "reason",
            )?,
            connections_closed: counters(
                "vivid_origin_rtmp_connections_closed_total",
                "RTMP connections that ended, by why they did.",
                "reason",
            )?,
            publishes: counters(
                "vivid_origin_rtmp_publishes_total",
                "Requests to publish, by result: accepted, or why not.",
                "result",
            )?,
            messages_dropped: counters(
                "vivid_origin_rtmp_messages_dropped_total",
                "RTMP messages passed over while their connection lived on, by why they were.",
                "reason",
            )?,
            frames_in: counters("vivid_origin_frames_in_total", "Frames taken from publishers, by medium.", "kind")?,
        })
    }

    pub(super) fn connection_refused(&self, reason: &str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    pub(super) fn connection_closed(&self, reason: &str) {
        self.connections_closed.with_label_values(&[reason]).inc();
    }

    pub(super) fn publish(&self, result: Result<(), Refusal>) {
        self.publishes.with_label_values(&[result.map_or_else(Refusal::label, |()| "accepted")]).inc();
    }

    pub(super) fn message_dropped(&self, reason: Dropped) {
        self.messages_dropped.with_label_values(&[reason.label()]).inc();
    }

    pub(super) fn frame(&self, kind: media::TrackKind) {
        let kind = match kind {
            media::TrackKind::Video => "video",
            media::TrackKind::Audio => "audio",
        };
        self.frames_in.with_label_values(&[kind]).inc();
    }
}
