//! Limits between a listener and the server: connections at a time, bytes of a request, and time that a
//! client may take. What clients do costs the agent neither memory nor descriptors.

use axum::serve::Listener;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// How much a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerLimits {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub(super) n_connections: usize,
    /// Bytes that a request may have, headers included, give or take one read.
    pub(super) request_bytes: usize,
    /// Until the request is complete.
    pub(super) request: Duration,
    /// Until the client has taken the next part of the answer.
    pub(super) answer: Duration,
}

/// A listener that keeps to its limits.
#[derive(Debug)]
pub(super) struct Guard<L> {
    listener: L,
    places: Arc<Semaphore>,
    limits: ServerLimits,
}

impl<L> Guard<L> {
    pub(super) fn new(listener: L, limits: ServerLimits) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(limits.n_connections)), limits }
    }
}

impl<L: Listener> Listener for Guard<L> {
    type Io = Guarded<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // It is never closed, so there always is one in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (io, addr) = self.listener.accept().await;
        let ServerLimits { request_bytes, request, answer, .. } = self.limits;
        let deadline = Box::pin(sleep(request));
        (Guarded { io, deadline, answer, rest_bytes: request_bytes, place }, addr)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its client is too slow or says too much.
#[derive(Debug)]
pub(super) struct Guarded<I> {
    io: I,
    deadline: Pin<Box<Sleep>>,
    answer: Duration,
    rest_bytes: usize,
    #[expect(dead_code, reason = "the place is taken for as long as the connection is open")]
    place: Option<OwnedSemaphorePermit>,
}

impl<I> Guarded<I> {
    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Passes on what a write came to. Only what the client takes buys it more time.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.deadline.set(sleep(self.answer));
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_deadline(cx)?;
        if self.rest_bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let n_before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.rest_bytes = self.rest_bytes.saturating_sub(buf.filled().len() - n_before);
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_deadline(cx)?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_deadline(cx)?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.wrote(written)
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
