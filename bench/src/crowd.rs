//! `bench crowd`: connections that are held or idle, over TLS too, for whoever measures what they cost the server.

use crate::stream;
use crate::tls;
use crate::viewers::Waiting;
use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Serialize;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// What a connection goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
pub(crate) enum Way {
    Plain,
    Tls,
    Http2,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
pub(crate) enum State {
    /// Waits for the next playlist.
    Held,
    /// Has had an answer, and asks for nothing.
    Idle,
}

#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) server: SocketAddr,
    pub(crate) viewers: usize,
    pub(crate) way: Way,
    pub(crate) state: State,
    /// Of the server, in PEM.
    pub(crate) certificate: PathBuf,
}

/// Connections opened at once: below the backlog of every server under test.
const OPENING_MAX: usize = 64;

/// Opens all connections, tells `waiting`, and keeps them until it is ended.
pub(crate) async fn run(crowd: &Crowd, waiting: impl FnOnce(Waiting) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let protocol: &[u8] = if crowd.way == Way::Http2 { b"h2" } else { b"http/1.1" };
    let connector = match crowd.way {
        Way::Plain => None,
        Way::Tls | Way::Http2 => Some(TlsConnector::from(Arc::new(tls::client(&crowd.certificate, protocol)?))),
    };
    let target: Arc<str> = match crowd.state {
        State::Held => stream::blocking_target(stream::FIRST).into(),
        State::Idle => stream::PLAYLIST.into(),
    };
    let (mut open, mut opening) = (Vec::with_capacity(crowd.viewers), JoinSet::<anyhow::Result<Box<dyn Kept>>>::new());
    for begun in 0..crowd.viewers + OPENING_MAX {
        if begun >= OPENING_MAX.min(crowd.viewers)
            && let Some(opened) = opening.join_next().await
        {
            open.push(opened?.context("a connection could not be opened")?);
        }
        if begun < crowd.viewers {
            opening.spawn(connect(crowd.clone(), connector.clone(), target.clone()));
        }
    }
    ensure!(open.len() == crowd.viewers, "{} of {} connections are open", open.len(), crowd.viewers);
    waiting(Waiting { waiting: open.len() })?;
    pending().await
}

/// Whatever keeps a connection open.
trait Kept: Send {}
impl<T: Send> Kept for T {}

async fn connect(crowd: Crowd, connector: Option<TlsConnector>, target: Arc<str>) -> anyhow::Result<Box<dyn Kept>> {
    let stream = TcpStream::connect(crowd.server).await?;
    let over_tls = async |stream| {
        let connector = connector.as_ref().context("there is no TLS")?;
        anyhow::Ok(connector.connect(ServerName::try_from("localhost")?, stream).await?)
    };
    Ok(match crowd.way {
        Way::Plain => Box::new(ask(stream, &crowd, &target).await?),
        Way::Tls => Box::new(ask(over_tls(stream).await?, &crowd, &target).await?),
        Way::Http2 => Box::new(ask_http2(over_tls(stream).await?, &crowd, &target).await?),
    })
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, crowd: &Crowd, target: &str) -> anyhow::Result<S> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", crowd.server);
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    if crowd.state == State::Idle {
        let (mut answer, mut buffer) = (crate::http1::Answer::default(), vec![0; 16 << 10]);
        loop {
            let count = stream.read(&mut buffer).await?;
            ensure!(count > 0, "connection closed");
            if answer.push(&buffer[..count])? {
                break;
            }
        }
        ensure!(answer.status() == 200, "status {}", answer.status());
    }
    Ok(stream)
}

async fn ask_http2<S>(stream: S, crowd: &Crowd, target: &str) -> anyhow::Result<Box<dyn Kept>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut client, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    poll_fn(|cx| client.poll_ready(cx)).await?;
    let request = http::Request::get(format!("https://{}{target}", crowd.server)).body(())?;
    let (answer, _) = client.send_request(request, true)?;
    if crowd.state == State::Held {
        return Ok(Box::new((client, driver, answer)));
    }
    let answer = answer.await?;
    ensure!(answer.status() == 200, "status {}", answer.status());
    let mut body = answer.into_body();
    while let Some(bytes) = body.data().await {
        body.flow_control().release_capacity(bytes?.len())?;
    }
    Ok(Box::new((client, driver)))
}
