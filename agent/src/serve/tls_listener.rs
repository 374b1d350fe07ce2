//! The metrics' listener: plain, or with TLS as the web config says. Handshakes have places and a deadline of their
//! own, so that a client in the middle of one keeps no other client from being accepted.

use super::places::{PlaceRules, Places};
use crate::config::web::WebAccess;
use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A handshake takes two round trips; one of a client that has been safe for that long can be broken off.
const PLACES: PlaceRules = PlaceRules { n: 128, to_ask: Duration::from_millis(250), to_take: None };
/// Also where nobody else needs the place.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The two addresses of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionEnds {
    /// The client's.
    pub(super) peer: SocketAddr,
    /// Ours.
    pub(super) local: SocketAddr,
}

impl Connected<IncomingStream<'_, super::client_limits::Guard<TlsListener>>> for ConnectionEnds {
    fn connect_info(stream: IncomingStream<'_, super::client_limits::Guard<TlsListener>>) -> Self {
        *stream.remote_addr()
    }
}

/// A listener whose connections have their handshake behind them.
#[derive(Debug)]
pub(super) struct TlsListener {
    arrivals: mpsc::Receiver<(MaybeTls, ConnectionEnds)>,
    accepting: JoinHandle<()>,
    ends: ConnectionEnds,
}

impl TlsListener {
    pub(super) fn new(listener: std::net::TcpListener, web: Arc<WebAccess>) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let (ready, arrivals) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, web, ready));
        Ok(Self { arrivals, accepting, ends: ConnectionEnds { peer: local, local } })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = MaybeTls;
    type Addr = ConnectionEnds;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            // The task accepts for as long as this value lives.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.ends)
    }
}

async fn accept(
    mut listener: TcpListener,
    web: Arc<WebAccess>,
    ready: mpsc::Sender<(MaybeTls, ConnectionEnds)>,
) {
    let places = Places::new(PLACES);
    loop {
        // axum's own: it waits where descriptors are short.
        let (stream, peer) = Listener::accept(&mut listener).await;
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let ends = ConnectionEnds { peer, local };
        let Some(tls) = web.now().tls.clone() else {
            if ready.send((MaybeTls::Plain(stream), ends)).await.is_err() {
                return;
            }
            continue;
        };
        let mut place = places.enter().await;
        let ready = ready.clone();
        tokio::spawn(async move {
            let greeted = async {
                // What failed is the client's to know: it gets an alert.
                if let Ok(Ok(stream)) =
                    timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream)).await
                {
                    ready.send((MaybeTls::Tls(Box::new(stream)), ends)).await.ok();
                }
            };
            tokio::select! {
                () = greeted => {}
                () = place.cut() => {}
            }
        });
    }
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub(super) enum MaybeTls {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for MaybeTls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for MaybeTls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
