//! Limits between a listener and the server: places, bytes of a request, and time that a client may take. What clients
//! do costs the agent neither memory nor descriptors, and keeps other clients waiting for a moment at most.

use super::places::{Place, PlaceRules, Places};
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
    time::{Sleep, sleep},
};

/// How much a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerLimits {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub(super) places: PlaceRules,
    /// Bytes that a request may have, headers included, give or take one read.
    pub(super) request_bytes: usize,
    /// Until the request is complete, also where nobody else needs the place.
    pub(super) request: Duration,
    /// Until the client has taken the next part of the answer.
    pub(super) answer: Duration,
}

/// A listener that keeps to its limits.
#[derive(Debug)]
pub(super) struct Guard<L> {
    listener: L,
    places: Arc<Places>,
    limits: ServerLimits,
}

impl<L> Guard<L> {
    pub(super) fn new(listener: L, limits: ServerLimits) -> Self {
        Self { listener, places: Places::new(limits.places), limits }
    }
}

impl<L: Listener> Listener for Guard<L> {
    type Io = Guarded<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, addr) = self.listener.accept().await;
        let place = self.places.enter().await;
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
    place: Place,
}

impl<I> Guarded<I> {
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let is_late = self.deadline.as_mut().poll(cx).is_ready();
        if is_late || self.place.poll_cut(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }

    /// Passes on what a write came to. Only what the client takes buys it more time.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.deadline.set(sleep(self.answer));
            self.place.has_taken();
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
        self.check_time(cx)?;
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
        self.check_time(cx)?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS writes here what it took from a write.
        self.check_time(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
