//! Libraries that speak over tokio's I/O traits, in a simulated world.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use penstock_env::{Chunk, Env, SendBuf, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::env::SimEnv;
use super::stream::SimStream;

/// tokio's I/O traits over a simulated stream.
pub struct Io(pub SimEnv, pub SimStream);

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut chunk) = ready!(self.1.poll_recv(context))? {
            let count = chunk.len().min(into.remaining());
            into.put_slice(&chunk[..count]);
            chunk.advance(count);
            if !chunk.is_empty() {
                self.1.unread(chunk);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.1.poll_sent(context))?;
        let mut out = SendBuf::new(self.0.buffer());
        slices.iter().for_each(|slice| out.push(slice));
        let count = out.len();
        self.1.start_send(out);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
