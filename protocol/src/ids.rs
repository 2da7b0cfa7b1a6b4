//! Identifiers: 64-bit opaque numbers, and the client's message id (UUIDv7).
//!
//! Sixty-four bits keep store keys under 32 bytes. Ids are random; whoever creates one guards in
//! the store that it is free.

use bincode::{Decode, Encode};
use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Encode, Decode)]
        pub struct $name(pub u64);

        impl $name {
            /// The id's big-endian bytes, as store keys hold it.
            #[must_use]
            pub fn to_be_bytes(self) -> [u8; 8] {
                self.0.to_be_bytes()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:016x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
    };
}

id!(
    /// A user account.
    UserId
);
id!(
    /// One device of a user: what a log-in creates.
    DeviceId
);
id!(
    /// A conversation, one-to-one or group.
    ConversationId
);
id!(
    /// One session of a device: from its first hello until it expires unresumed.
    SessionId
);

/// The client's own id of a message: the 16 bytes of a UUIDv7. It makes a retry return the first
/// answer, so it must be made once for a message and kept for all of its retries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Encode, Decode)]
pub struct ClientMsgId(pub [u8; 16]);

impl ClientMsgId {
    /// Builds a UUIDv7 (RFC 9562, section 5.7) from Unix milliseconds and ten random bytes.
    #[must_use]
    pub fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
        let t = unix_ms.to_be_bytes();
        let [.., t0, t1, t2, t3, t4, t5] = t;
        let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9] = random;
        Self([
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            0x70 | (r0 & 0x0f),
            r1,
            0x80 | (r2 & 0x3f),
            r3,
            r4,
            r5,
            r6,
            r7,
            r8,
            r9,
        ])
    }

    /// The Unix time in milliseconds that the id carries in its first 48 bits.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Whether version and variant bits say UUIDv7.
    #[must_use]
    pub fn is_v7(self) -> bool {
        let [_, _, _, _, _, _, version, _, variant, ..] = self.0;
        version >> 4 == 7 && variant >> 6 == 0b10
    }
}

impl fmt::Debug for ClientMsgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for b in self.0 {
            write!(f, "{b:02x}")?;
        }
        Ok(())
    }
}
