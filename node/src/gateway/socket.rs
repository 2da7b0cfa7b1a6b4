//! One WebSocket: messages in, chunks of frames out, both at the same time.
//!
//! Why a message is written as WebSocket fragments: the library keeps the buffer it writes from, and
//! the buffer grows to the largest thing ever written. A page of history would leave each idle
//! connection with a quarter of a megabyte. Fragments keep it at a few kilobytes.
//!
//! Safety: a message begun is ended before another begins; control frames may stand between its
//! fragments. Liveness: reading goes on while writing is blocked, for as long as the caller wants
//! to read.

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use rookery_protocol::limits::{
    MAX_CLIENT_MESSAGE_BYTES, MAX_FRAMES_PER_MESSAGE, MAX_SERVER_MESSAGE_BYTES,
};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Bytes read at a time: most messages of a client are far smaller.
const READ_BYTES: usize = 1024;
/// Most bytes of a fragment, and so nearly all that the write buffer ever holds.
const FRAGMENT_BYTES: usize = 4096;
/// Room for a fragment, its header and a control frame.
const WRITE_BUFFER_BYTES: usize = 2 * FRAGMENT_BYTES;
/// Chunks for which the list of what is to be written stays allocated.
const KEPT_CHUNKS: usize = 4;

/// What came from a socket.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A binary message.
    Message(Bytes),
    /// A text message, which nobody may send.
    Text,
    /// Over the limit of a message.
    TooLarge,
    /// Not WebSocket.
    Broken,
    /// A ping or pong of the WebSocket itself.
    Control,
    /// Everything that was to be written is with the kernel.
    Written,
    /// The other end closed, with this code if it gave one.
    Closed(Option<u16>),
    /// The connection is lost.
    Lost,
}

/// A WebSocket of the server's side.
pub(crate) struct Socket<S> {
    ws: WebSocketStream<S>,
    /// What is to be written, from the `written`th chunk on.
    chunks: Vec<Bytes>,
    written: usize,
    /// Bytes of the message under way that are not in a fragment yet.
    left: usize,
    /// Whether the next fragment is a message's first.
    first: bool,
    writing: bool,
    /// Fragments handed over so far: how the caller sees progress.
    fragments: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket whose handshake is done; `read` came together with it.
    pub(crate) async fn new(stream: S, read: Bytes) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(MAX_CLIENT_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_CLIENT_MESSAGE_BYTES));
        let ws = if read.is_empty() {
            WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
        } else {
            let read = read.to_vec();
            WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await
        };
        Self {
            ws,
            chunks: Vec::new(),
            written: 0,
            left: 0,
            first: true,
            writing: false,
            fragments: 0,
        }
    }

    /// Where chunks of whole frames are put, while nothing is being written; [`Self::write`]
    /// begins.
    pub(crate) fn chunks(&mut self) -> &mut Vec<Bytes> {
        &mut self.chunks
    }

    /// Begins to write the chunks; returns how many bytes are to be written.
    pub(crate) fn write(&mut self) -> usize {
        let bytes = self.unwritten().iter().map(Bytes::len).sum();
        self.writing = bytes > 0 || self.writing;
        bytes
    }

    /// Whether something is being written.
    pub(crate) fn writing(&self) -> bool {
        self.writing
    }

    /// Rises with every bit of progress that writing makes.
    pub(crate) fn progress(&self) -> u32 {
        self.fragments
    }

    /// The stream below.
    pub(crate) fn stream(&mut self) -> &mut S {
        self.ws.get_mut()
    }

    /// Writes what there is to write and, if `read`, reads a message.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Incoming> {
        if self.writing {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {
                    self.writing = false;
                    return Poll::Ready(Incoming::Written);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Incoming::Lost),
                Poll::Pending => {}
            }
        }
        if read { self.poll_read(cx) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        let Poll::Ready(item) = Pin::new(&mut self.ws).poll_next(cx) else { return Poll::Pending };
        Poll::Ready(match item {
            Some(Ok(Message::Binary(bytes))) => Incoming::Message(bytes),
            Some(Ok(Message::Text(_)) | Err(Error::Utf8(_))) => Incoming::Text,
            Some(Ok(Message::Close(frame))) => Incoming::Closed(frame.map(|f| f.code.into())),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::Control,
            Some(Err(Error::Capacity(_))) => Incoming::TooLarge,
            Some(Err(Error::Protocol(reset))) if is_loss(&reset) => Incoming::Lost,
            Some(Err(Error::Protocol(_))) => Incoming::Broken,
            Some(Err(_)) | None => Incoming::Lost,
        })
    }

    /// Writes all chunks and flushes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            match Pin::new(&mut self.ws).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            let Some(fragment) = self.next_fragment() else { break };
            Pin::new(&mut self.ws).start_send(Message::Frame(fragment))?;
            self.fragments = self.fragments.wrapping_add(1);
        }
        if self.chunks.capacity() > KEPT_CHUNKS {
            self.chunks = Vec::new();
        }
        Pin::new(&mut self.ws).poll_flush(cx)
    }

    /// Puts a close frame behind everything; [`Self::poll_write`] has returned before.
    pub(crate) fn start_close(&mut self, code: u16, reason: &'static str) -> Result<(), Error> {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        Pin::new(&mut self.ws).start_send(Message::Close(Some(frame)))
    }

    /// Flushes what the library itself has to say.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.ws).poll_flush(cx)
    }

    fn unwritten(&self) -> &[Bytes] {
        self.chunks.get(self.written..).unwrap_or_default()
    }

    /// The next fragment; `None` when everything was handed over.
    fn next_fragment(&mut self) -> Option<Frame> {
        if self.left == 0 {
            self.left = message_bytes(self.unwritten());
            self.first = true;
        }
        if self.left == 0 {
            self.chunks.clear();
            self.written = 0;
            return None;
        }
        let payload = self.take(self.left.min(FRAGMENT_BYTES));
        self.left -= payload.len().min(self.left);
        let kind = if self.first { Data::Binary } else { Data::Continue };
        self.first = false;
        Some(Frame::message(payload, OpCode::Data(kind), self.left == 0))
    }

    /// Takes so many bytes off the chunks; copies only to join small ones.
    fn take(&mut self, bytes: usize) -> Bytes {
        let mut joined = BytesMut::new();
        while let Some(chunk) = self.chunks.get_mut(self.written) {
            let part = chunk.split_to(chunk.len().min(bytes - joined.len()));
            if chunk.is_empty() {
                self.written += 1;
            }
            if part.len() == bytes {
                return part;
            }
            if joined.is_empty() {
                joined.reserve(bytes);
            }
            joined.extend_from_slice(&part);
            if joined.len() == bytes {
                break;
            }
        }
        joined.freeze()
    }
}

/// Whether an error of the library says no more than that the connection is lost.
fn is_loss(error: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError;
    matches!(error, ProtocolError::ResetWithoutClosingHandshake)
}

/// Bytes of the chunks that go into one message: as many whole frames as a message may hold, and
/// at least one.
fn message_bytes(chunks: &[Bytes]) -> usize {
    let (mut bytes, mut frames) = (0, 0);
    for chunk in chunks {
        let mut rest = chunk.as_ref();
        while !rest.is_empty() {
            let (frame, after) = rest.split_at_checked(frame_bytes(rest)).unwrap_or((rest, &[]));
            let full = bytes + frame.len() > MAX_SERVER_MESSAGE_BYTES;
            if frames > 0 && (full || frames == MAX_FRAMES_PER_MESSAGE) {
                return bytes;
            }
            bytes += frame.len();
            frames += 1;
            rest = after;
        }
    }
    bytes
}

/// Bytes of the first frame, by its header; everything when there is no whole header.
fn frame_bytes(bytes: &[u8]) -> usize {
    match *bytes {
        [_, length @ 0..=250, ..] => 2 + usize::from(length),
        [_, 251, a, b, ..] => 4 + usize::from(u16::from_le_bytes([a, b])),
        [_, 252, a, b, c, d, ..] => {
            let length = usize::try_from(u32::from_le_bytes([a, b, c, d]));
            length.unwrap_or(usize::MAX).saturating_add(6)
        }
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;
    use rookery_protocol::codec::encode_frame;
    use rookery_protocol::number;
    use std::future::poll_fn;
    use tokio::io::DuplexStream;

    /// What the client's side receives when these chunks are written.
    async fn received(chunks: Vec<Bytes>, messages: usize) -> Vec<Bytes> {
        let (server, client) = tokio::io::duplex(1000);
        let mut socket: Socket<DuplexStream> = Socket::new(server, Bytes::new()).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        *socket.chunks() = chunks;
        assert!(socket.write() > 0);
        let writing = async {
            poll_fn(|cx| socket.poll_write(cx)).await.unwrap();
            assert!(socket.chunks().is_empty());
        };
        let reading = async {
            let mut received = Vec::new();
            while received.len() < messages {
                received.push(client.next().await.unwrap().unwrap().into_data());
            }
            received
        };
        tokio::join!(writing, reading).1
    }

    /// A frame with a payload of this length.
    fn chunk(byte: u8, length: usize) -> Bytes {
        let mut bytes = Vec::new();
        encode_frame(number::PONG, &vec![byte; length], &mut bytes);
        bytes.into()
    }

    #[test]
    fn the_length_of_a_frame_is_read_from_its_header() {
        for length in [0, 1, 200, 300, 65_000, 70_000] {
            let frame = chunk(1, length);
            assert_eq!(frame_bytes(&frame), frame.len());
            assert_eq!(
                frame_bytes(&[&frame, &chunk(2, 9)].map(Bytes::as_ref).concat()),
                frame.len()
            );
        }
        for cut in [&[1][..], &[1, 251, 0], &[1, 252, 0, 0, 0], &[1, 253]] {
            assert_eq!(frame_bytes(cut), cut.len());
        }
    }

    #[tokio::test]
    async fn chunks_that_wait_become_one_message() {
        let chunks = vec![chunk(1, 3), Bytes::new(), chunk(2, 5000), chunk(3, 4090), chunk(4, 1)];
        let whole = chunks.concat();
        assert_eq!(received(chunks, 1).await, [whole]);
    }

    #[tokio::test]
    async fn a_message_over_its_bytes_is_split_between_frames() {
        let half = MAX_SERVER_MESSAGE_BYTES / 2;
        let joined = [chunk(3, 1), chunk(4, half), chunk(5, 9)].concat();
        let chunks = vec![chunk(1, half), chunk(2, half), joined.into()];
        let messages = [
            chunk(1, half).to_vec(),
            [chunk(2, half), chunk(3, 1)].concat(),
            [chunk(4, half), chunk(5, 9)].concat(),
        ];
        assert_eq!(received(chunks, 3).await, messages);
    }

    #[tokio::test]
    async fn a_message_over_its_number_of_frames_is_split() {
        let frames = vec![chunk(1, 1); MAX_FRAMES_PER_MESSAGE + 1].concat();
        let (first, second) = frames.split_at(frames.len() - chunk(1, 1).len());
        let (first, second) = (first.to_vec(), second.to_vec());
        assert_eq!(received(vec![frames.into()], 2).await, [first, second]);
    }

    #[tokio::test]
    async fn reading_goes_on_while_writing_is_blocked() {
        use futures_util::SinkExt;
        let (server, client) = tokio::io::duplex(1000);
        let mut socket: Socket<DuplexStream> = Socket::new(server, Bytes::new()).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        socket.chunks().push(chunk(7, 100_000));
        socket.write();
        client.send(Message::binary(&b"here"[..])).await.unwrap();
        let incoming = poll_fn(|cx| socket.poll(cx, true)).await;
        assert!(matches!(&incoming, Incoming::Message(bytes) if bytes == "here"), "{incoming:?}");
        assert!(socket.writing());
    }
}
