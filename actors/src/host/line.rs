//! A connection as a host sees it, and a session's hold on one. Pure.

use crate::effect::ConnId;
use bytes::Bytes;
use rookery_protocol::CloseCode;

/// The way to a client.
pub trait Line {
    /// Whose.
    fn conn(&self) -> ConnId;
    /// Frames to write.
    fn push(&self, frames: Bytes);
    /// Say goodbye and end.
    fn close(&self, code: CloseCode);
    /// The session wanted can't be resumed.
    fn refuse(&self);
    /// The session was lost.
    fn lost(&self);
}

/// A session's hold on its connection: dropped without an orderly end, the connection is told
/// that its session is lost.
pub struct Attached<L: Line>(Option<L>);

impl<L: Line> Attached<L> {
    /// A session holds a line from now on.
    pub fn new(line: L) -> Self {
        Self(Some(line))
    }

    pub(super) fn conn(&self) -> Option<ConnId> {
        self.0.as_ref().map(Line::conn)
    }

    pub(super) fn push(&self, frames: Bytes) {
        if let Some(line) = &self.0 {
            line.push(frames);
        }
    }

    /// Lets go of the connection without calling the session lost.
    pub fn release(mut self) -> Option<L> {
        self.0.take()
    }
}

impl<L: Line> Drop for Attached<L> {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.lost();
        }
    }
}
