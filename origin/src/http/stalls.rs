//! Clients that take nothing of their answers: what these hold is given back after a while.
//!
//! An answer over HTTP/2 whose window the client keeps shut is not polled by hyper any more, so that its body cannot end it.
//! Here each answer has a task that hyper is given as its executor, and that ends with it. Over HTTP/1.1 it is the connection
//! that does not take a write.

use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// How long a client may take nothing, and who counts that.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    pub(super) stalled: IntCounter,
}

/// Since when a piece of the answer waits to be taken; `None` while the answer is what is waited for.
#[derive(Debug, Default)]
struct Progress(Mutex<Option<Instant>>);

tokio::task_local! {
    static PROGRESS: Arc<Progress>;
}

/// Runs the tasks of HTTP/2 connections: each request's is broken off where its answer stalls.
impl<F> Executor<F> for Patience
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let (progress, Self { limit, stalled }) = (Arc::<Progress>::default(), self.clone());
        let task = PROGRESS.scope(Arc::clone(&progress), task);
        tokio::spawn(async move {
            tokio::select! {
                _ = task => {}
                () = progress.stalls(limit) => stalled.inc(),
            }
        });
    }
}

impl Progress {
    /// Returns once a piece has waited for so long.
    async fn stalls(&self, limit: Duration) {
        loop {
            let since = *self.0.lock();
            match since {
                Some(since) if since.elapsed() >= limit => return,
                Some(since) => sleep_until(since + limit).await,
                None => sleep(limit).await,
            }
        }
    }
}

/// A body that says how it gets on, where it is sent by a task that listens.
pub(super) struct Watched<B> {
    body: B,
    progress: Option<Arc<Progress>>,
}

impl<B: Body> Watched<B> {
    /// Within the task that sends it.
    pub(super) fn new(body: B) -> Self {
        let progress = PROGRESS.try_with(Arc::clone).ok().filter(|_| !body.is_end_stream());
        Self { body, progress }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(progress) = &self.progress {
            // Who asks for more has sent what it had.
            *progress.0.lock() = None;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(progress) = self.progress.as_ref().filter(|_| frame.is_some()) {
            *progress.0.lock() = Some(Instant::now());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // The last piece is to be taken as well, while there is a task that sees to it.
        self.progress.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose writes fail once the client has taken nothing for so long.
pub(super) struct Taken<Io> {
    io: Io,
    patience: Patience,
    until: Option<Pin<Box<Sleep>>>,
}

impl<Io> Taken<Io> {
    pub(super) fn new(io: Io, patience: Patience) -> Self {
        Self { io, patience, until: None }
    }

    /// What came of a write: one that waits does so until its time is over.
    fn within<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.until = None;
            return written;
        }
        let limit = self.patience.limit;
        ready!(self.until.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        self.until = None;
        self.patience.stalled.inc();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Taken<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Taken<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.within(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.within(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
