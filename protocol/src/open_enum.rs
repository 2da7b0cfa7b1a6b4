//! Enums that outlive their list: one byte on the wire, unknown values kept instead of refused.
//!
//! A derived bincode enum would refuse the whole frame at a value it doesn't know; a newer peer
//! could then never add one.

/// Defines an enum of one wire byte with an `Other(u8)` variant.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)+
            /// A value this version doesn't know.
            Other(u8),
        }

        impl $name {
            /// The byte on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $value,)+ Self::Other(code) => code }
            }

            /// The value of a byte.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code { $($value => Self::$variant,)+ other => Self::Other(other) }
            }
        }

        impl bincode::Encode for $name {
            fn encode<E: bincode::enc::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), bincode::error::EncodeError> {
                self.code().encode(encoder)
            }
        }

        impl<C> bincode::Decode<C> for $name {
            fn decode<D: bincode::de::Decoder<Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                Ok(Self::from_code(<u8 as bincode::Decode<C>>::decode(decoder)?))
            }
        }

        impl<'de, C> bincode::BorrowDecode<'de, C> for $name {
            fn borrow_decode<D: bincode::de::BorrowDecoder<'de, Context = C>>(
                decoder: &mut D,
            ) -> Result<Self, bincode::error::DecodeError> {
                <Self as bincode::Decode<C>>::decode(decoder)
            }
        }
    };
}

pub(crate) use open_enum;
