//! One keep-alive connection of a tool that asks one thing after another.

use crate::http1::Answer;
use crate::sys;
use anyhow::{Context, ensure};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any server under test holds a request.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Link {
    server: SocketAddr,
    stream: TcpStream,
    answer: Answer,
    buffer: Vec<u8>,
}

/// A whole answer of status 200.
pub(crate) struct Got<'a> {
    pub(crate) body: &'a [u8],
    /// CLOCK_MONOTONIC after the read that completed it.
    pub(crate) done_ns: u64,
}

impl Link {
    pub(crate) async fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { server, stream, answer: Answer::default(), buffer: vec![0; 64 << 10] })
    }

    pub(crate) async fn get(&mut self, target: &str) -> anyhow::Result<Got<'_>> {
        self.answer.clear();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.server);
        self.stream.write_all(request.as_bytes()).await?;
        loop {
            let count =
                timeout(PATIENCE, self.stream.read(&mut self.buffer)).await.context("no whole answer in time")??;
            ensure!(count > 0, "connection closed");
            if self.answer.push(&self.buffer[..count])? {
                break;
            }
        }
        let done_ns = sys::monotonic_ns();
        ensure!(self.answer.status() == 200, "status {}", self.answer.status());
        Ok(Got { body: self.answer.body(), done_ns })
    }
}
