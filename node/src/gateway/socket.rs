//! One WebSocket: messages in, chunks of frames out, both at the same time.
//!
//! An idle socket holds no buffer: bytes are read into a buffer of the thread and only what was read
//! is kept (`websocket`); chunks are written from where they lie, several of them in one call.
//!
//! Until its client is known, a socket takes only as many bytes as a greeting needs: memory is not for
//! strangers.
//!
//! Safety: a message begun is ended before anything else is written; pongs and the close frame stand
//! between messages. Liveness: reading goes on while writing is blocked, for as long as the caller
//! wants to read.

use super::websocket::{self, Read, Reader};
use bytes::{Buf, Bytes};
use rookery_protocol::limits::{MAX_FRAMES_PER_MESSAGE, MAX_SERVER_MESSAGE_BYTES};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes taken from a client that has not said who it is: a `Hello` of the greatest length, with room
/// for frames of newer versions beside it.
const GREETING_BYTES: usize = 16 * 1024;
/// Bytes read at a time, into a buffer that all connections of a thread share.
const READ_BYTES: usize = 16 * 1024;
/// Most chunks written in one call.
const WRITE_CHUNKS: usize = 16;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

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
    stream: S,
    reader: Reader,
    /// Bytes that are still taken; the greatest number stands for no limit.
    allowance: usize,
    /// What is to be written, from the `written`th chunk on.
    chunks: Vec<Bytes>,
    written: usize,
    /// What the chunks wait for: the header of the message under way, or whole control frames.
    before: Bytes,
    /// Bytes of the message under way that are in chunks still.
    left: usize,
    /// The answer to the client's newest ping, or the close frame.
    control: Bytes,
    writing: bool,
    /// Rises whenever the kernel took something: how the caller sees progress.
    progress: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// A socket whose handshake is done; `read` came together with it.
    pub(crate) fn new(stream: S, read: &[u8]) -> Self {
        let mut reader = Reader::default();
        reader.feed(read);
        Self {
            stream,
            reader,
            allowance: GREETING_BYTES.saturating_sub(read.len()),
            chunks: Vec::new(),
            written: 0,
            before: Bytes::new(),
            left: 0,
            control: Bytes::new(),
            writing: false,
            progress: 0,
        }
    }

    /// The client is known: from now on it may send as much as it likes.
    pub(crate) fn trust(&mut self) {
        self.allowance = usize::MAX;
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
        self.progress
    }

    /// The stream below.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Writes what there is to write and, if `read`, reads a message.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Incoming> {
        if self.writing || !self.control.is_empty() || !self.before.is_empty() {
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) if self.writing => {
                    self.writing = false;
                    return Poll::Ready(Incoming::Written);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Incoming::Lost),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if read { self.poll_read(cx) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if let Some(read) = self.reader.next() {
                return Poll::Ready(self.incoming(read));
            }
            if self.allowance == 0 {
                return Poll::Ready(Incoming::TooLarge);
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Incoming::Lost),
                Ok(bytes) if self.allowance < usize::MAX => {
                    self.allowance = self.allowance.saturating_sub(bytes);
                }
                Ok(_) => {}
            }
        }
    }

    /// Gives the reader what the kernel has; how many bytes that was.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            self.reader.feed(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    fn incoming(&mut self, read: Read) -> Incoming {
        match read {
            Read::Message(bytes) => Incoming::Message(bytes),
            Read::Text => Incoming::Text,
            Read::TooLarge => Incoming::TooLarge,
            Read::Broken => Incoming::Broken,
            Read::Pong => Incoming::Control,
            // Only the newest needs an answer (RFC 6455, section 5.5.3): a client that pings and
            // takes nothing fills no memory.
            Read::Ping(payload) => {
                self.control = websocket::pong(&payload).into();
                Incoming::Control
            }
            Read::Close(code) => {
                self.control = websocket::close_frame(code, "").into();
                Incoming::Closed(code)
            }
        }
    }

    /// Writes all chunks and what stands between messages, and flushes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.prepare() {
            let mut slices = [IoSlice::new(&[]); WRITE_CHUNKS];
            let unwritten = self.chunks.get(self.written..).unwrap_or_default();
            let count = gather(&self.before, unwritten, self.left, &mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.progress = self.progress.wrapping_add(1);
            self.took(written);
        }
        // An idle socket keeps no list.
        self.chunks = Vec::new();
        self.written = 0;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Puts a close frame behind everything; [`Self::poll_write`] has returned before.
    pub(crate) fn start_close(&mut self, code: u16, reason: &str) {
        self.control = websocket::close_frame(Some(code), reason).into();
    }

    /// Forgets what waits to be written, but for the rest of a message that has begun: without its
    /// end nothing after it could be understood.
    pub(crate) fn forget_chunks(&mut self) {
        let mut left = self.left;
        for chunk in self.chunks.iter_mut().skip(self.written) {
            chunk.truncate(left);
            left -= chunk.len();
        }
    }

    fn unwritten(&self) -> &[Bytes] {
        self.chunks.get(self.written..).unwrap_or_default()
    }

    /// Whether there is something to write; what comes next is begun if nothing is under way.
    fn prepare(&mut self) -> bool {
        if self.left == 0 && self.before.is_empty() {
            self.before = std::mem::take(&mut self.control);
            if self.before.is_empty() {
                self.left = message_bytes(self.unwritten());
                if self.left > 0 {
                    self.before = websocket::message_header(self.left).into();
                }
            }
        }
        self.left > 0 || !self.before.is_empty()
    }

    /// So many bytes left.
    fn took(&mut self, mut bytes: usize) {
        let of_before = bytes.min(self.before.len());
        self.before.advance(of_before);
        bytes -= of_before;
        self.left = self.left.saturating_sub(bytes);
        while let Some(chunk) = self.chunks.get_mut(self.written) {
            let part = bytes.min(chunk.len());
            chunk.advance(part);
            bytes -= part;
            if !chunk.is_empty() {
                break;
            }
            *chunk = Bytes::new();
            self.written += 1;
        }
    }
}

/// What is to be written next, as parts, `left` bytes of the chunks at most; how many parts.
fn gather<'a>(
    before: &'a [u8],
    chunks: &'a [Bytes],
    mut left: usize,
    slices: &mut [IoSlice<'a>; WRITE_CHUNKS],
) -> usize {
    let of_message = chunks.iter().map(|chunk| {
        let part = chunk.get(..chunk.len().min(left)).unwrap_or_default();
        left -= part.len();
        part
    });
    let parts = std::iter::once(before).chain(of_message).filter(|part| !part.is_empty());
    let mut count = 0;
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
        count += 1;
    }
    count
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
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    /// What the client's side receives when these chunks are written.
    async fn received(chunks: Vec<Bytes>, messages: usize) -> Vec<Bytes> {
        let (server, client) = tokio::io::duplex(1000);
        let mut socket: Socket<DuplexStream> = Socket::new(server, &[]);
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
    async fn a_stranger_is_read_no_further_than_a_greeting() {
        use futures_util::SinkExt;
        let (server, client) = tokio::io::duplex(1 << 20);
        let mut socket: Socket<DuplexStream> = Socket::new(server, &[]);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        client.send(Message::binary(vec![0; 100_000])).await.unwrap();
        let incoming = poll_fn(|cx| socket.poll(cx, true)).await;
        assert!(matches!(incoming, Incoming::TooLarge), "{incoming:?}");
        socket.trust();
        let incoming = poll_fn(|cx| socket.poll(cx, true)).await;
        assert!(matches!(&incoming, Incoming::Message(bytes) if bytes.len() == 100_000));
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
        let mut socket: Socket<DuplexStream> = Socket::new(server, &[]);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        socket.chunks().push(chunk(7, 100_000));
        socket.write();
        client.send(Message::binary(&b"here"[..])).await.unwrap();
        let incoming = poll_fn(|cx| socket.poll(cx, true)).await;
        assert!(matches!(&incoming, Incoming::Message(bytes) if bytes == "here"), "{incoming:?}");
        assert!(socket.writing());
    }
}
