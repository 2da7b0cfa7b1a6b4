//! A stream that ractor_cluster uses and this side can end.
//!
//! ractor_cluster offers no way to end a connection that does no harm: its sessions are actors of its
//! own. Ending the stream beneath is what it must bear anyway.

use futures_util::task::AtomicWaker;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Shared {
    fn ended(&self, waker: &AtomicWaker, context: &Context<'_>) -> bool {
        // Registered before the look, so that an end in between wakes.
        waker.register(context.waker());
        self.ended.load(Ordering::Acquire)
    }
}

/// Ends a [`Pipe`]. Clones end the same one.
#[derive(Clone)]
pub(super) struct PipeEnd(Arc<Shared>);

impl PipeEnd {
    /// From now on reads find the end and writes fail.
    pub(super) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.reader.wake();
        self.0.writer.wake();
    }
}

/// A stream with a label, by which the session over it is known.
pub(super) struct Pipe<S> {
    stream: S,
    label: String,
    shared: Arc<Shared>,
}

impl<S> Pipe<S> {
    pub(super) fn new(stream: S, label: String) -> (Self, PipeEnd) {
        let shared = Arc::new(Shared::default());
        let end = PipeEnd(Arc::clone(&shared));
        (Self { stream, label, shared }, end)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> ClusterBidiStream for Pipe<S> {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (read, write) = tokio::io::split(self.stream);
        let reader = Reader { read, shared: Arc::clone(&self.shared) };
        (Box::new(reader), Box::new(Writer { write, shared: self.shared }))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

struct Reader<S> {
    read: ReadHalf<S>,
    shared: Arc<Shared>,
}

impl<S: AsyncRead> AsyncRead for Reader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.shared.ended(&self.shared.reader, context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.read).poll_read(context, buffer)
    }
}

struct Writer<S> {
    write: WriteHalf<S>,
    shared: Arc<Shared>,
}

impl<S> Writer<S> {
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        if self.shared.ended(&self.shared.writer, context) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
}

impl<S: AsyncWrite> AsyncWrite for Writer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.write).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.write).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_end_wakes_a_reader_and_fails_a_writer() {
        let (ours, mut theirs) = tokio::io::duplex(8);
        let (pipe, end) = Pipe::new(ours, "x".to_owned());
        let (mut read, mut write) = Box::new(pipe).split();
        write.write_all(b"1234").await.unwrap();
        let mut four = [0; 4];
        theirs.read_exact(&mut four).await.unwrap();
        let reading = tokio::spawn(async move { read.read(&mut [0; 8]).await });
        let writing = tokio::spawn(async move { write.write_all(&[0; 64]).await });
        tokio::task::yield_now().await;
        end.end();
        assert_eq!(reading.await.unwrap().unwrap(), 0);
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
