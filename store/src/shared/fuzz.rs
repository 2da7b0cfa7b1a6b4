//! The wire's decoders, for `crate::fuzz`.

use super::message::{Answer, Request};
use super::wire::{self, Frames, LENGTH_BYTES, Verdict};

/// A stream as it comes from a socket.
pub(crate) fn stream(mut bytes: &[u8]) {
    if let Some((greeting, rest)) = bytes.split_first_chunk::<{ wire::GREETING_BYTES }>()
        && wire::greeted(greeting).is_some()
    {
        let code = rest.first().copied().unwrap_or_default();
        if let Some(verdict) = Verdict::of_code(code) {
            assert_eq!(verdict.greeting().last(), Some(&code));
        }
        bytes = rest;
    }
    let mut frames = Frames::default();
    while matches!(frames.fill(&mut bytes), Ok(1..)) {
        loop {
            match frames.next() {
                Ok(Some(frame)) => read(frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// A frame as either side reads it. What it says is compared, not its bytes: text is made UTF-8.
fn read(frame: &[u8]) {
    if let Ok(request) = Request::decode(frame) {
        let again = request.encode();
        let again = again.get(LENGTH_BYTES..).unwrap_or_default();
        assert_eq!(Request::decode(again).as_ref(), Ok(&request));
    }
    if let Ok(answer) = Answer::decode(frame) {
        let again = answer.encode();
        let again = again.get(LENGTH_BYTES..).unwrap_or_default();
        // Replacing what is not UTF-8 makes text longer; it must still be read.
        assert_eq!(Answer::decode(again).as_ref(), Ok(&answer));
    }
}
