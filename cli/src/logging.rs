//! Logs to standard error, as text for people or as one JSON object a line.

use anyhow::Context;
use config::{Log, LogFormat};
use std::io::{IsTerminal, Stderr, Write};
use tracing_subscriber::EnvFilter;

/// Installs the subscriber of this process. `RUST_LOG` wins over the configuration.
pub(crate) fn init(log: &Log) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(filter) => EnvFilter::try_new(&filter)
            .with_context(|| format!("RUST_LOG {filter:?} is no tracing filter; write for example \"info\""))?,
        Err(_) => filter(log)?,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Unfailing(std::io::stderr()))
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => subscriber.with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// The filter of a configuration.
///
/// # Errors
/// If it is none, with what to write instead.
pub(crate) fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    // Pingora calls it an error when a pooled connection is busy for a moment, and opens another. Each attempt at a store that is
    // away is a line of object_store, where the origin has said so once.
    EnvFilter::try_new(format!("object_store=warn,{},pingora_core::connectors=off", log.filter)).with_context(|| {
        format!("log.filter: {:?} is no tracing filter; write for example \"info\" or \"info,edge=debug\"", log.filter)
    })
}

/// Standard error whose reader may go away. The subscriber would complain of a failed write on the same broken standard
/// error, and panic in whatever task logged: a dead log collector must not end a tier.
struct Unfailing(Stderr);

impl Write for Unfailing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(self.0.write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}
