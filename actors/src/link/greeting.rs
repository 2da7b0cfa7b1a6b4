//! The first words on a new connection: who speaks, to whom, in which wire versions; and the answer.
//!
//! They come before anything else, under mutual TLS and a time limit, so that whoever is not welcome
//! is told why by bytes of our own. Their format is the same for ever:
//!
//! ```text
//! greeting   length u16 | "RKLK" | oldest u8, newest u8 | cluster, name | incarnation u64
//!            | name and incarnation of who is meant | routers
//! answer     length u16 | "RKLK" | 0, version u8, routers  or  1, reason u8
//! routers    count u8, count times u64: the actors that take frames
//! ```
//!
//! Text is a length byte and UTF-8. What follows a known part is skipped: later versions may add.

use super::frame::OLDEST_VERSION;
use bytes::{Buf, BufMut};
use std::fmt;

/// Largest greeting or answer in bytes, without its length.
pub const MAX_GREETING_BYTES: usize = 2048;
/// Most routers of a node.
pub const MAX_ROUTERS: usize = 16;
const MAGIC: &[u8; 4] = b"RKLK";

/// What the dialer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Oldest wire version it speaks.
    pub oldest: u8,
    /// Newest wire version it speaks.
    pub newest: u8,
    /// The cluster it belongs to.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Which of its lives.
    pub incarnation: u64,
    /// Whom it means to reach.
    pub to_name: String,
    /// Which life of it.
    pub to_incarnation: u64,
    /// Its actors that take frames.
    pub routers: Vec<u64>,
}

/// What the accepting side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on in this version.
    Welcome {
        /// The newest version that both speak.
        version: u8,
        /// The accepting node's actors that take frames.
        routers: Vec<u64>,
    },
    /// No.
    Refused(Refusal),
}

/// Why a peer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// What it says is no greeting.
    Garbled,
    /// No wire version is spoken by both.
    Version,
    /// It belongs to another cluster.
    Cluster,
    /// Its certificate is for another name than it gives.
    Certificate,
    /// It has this node's own name.
    DuplicateName,
    /// It means another node, or an earlier life of this one.
    NotMe,
    /// It is not in this node's view (yet): it may try again.
    NotInView,
    /// Connections are dialed by the lower name, and it isn't.
    Direction,
    /// A reason that a later version added.
    Other(u8),
}

impl Refusal {
    /// One word for metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Garbled => "garbled",
            Self::Version => "version",
            Self::Cluster => "cluster",
            Self::Certificate => "certificate",
            Self::DuplicateName => "duplicate_name",
            Self::NotMe => "not_me",
            Self::NotInView => "not_in_view",
            Self::Direction => "direction",
            Self::Other(_) => "other",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Garbled => 1,
            Self::Version => 2,
            Self::Cluster => 3,
            Self::Certificate => 4,
            Self::DuplicateName => 5,
            Self::NotMe => 6,
            Self::NotInView => 7,
            Self::Direction => 8,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u8) -> Self {
        const KNOWN: [Refusal; 8] = [
            Refusal::Garbled,
            Refusal::Version,
            Refusal::Cluster,
            Refusal::Certificate,
            Refusal::DuplicateName,
            Refusal::NotMe,
            Refusal::NotInView,
            Refusal::Direction,
        ];
        let known = KNOWN.into_iter().find(|refusal| refusal.number() == number);
        known.unwrap_or(Self::Other(number))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Garbled => "its first words are no greeting",
            Self::Version => "no wire version is spoken by both",
            Self::Cluster => "it belongs to another cluster",
            Self::Certificate => "its certificate is for another name",
            Self::DuplicateName => "both nodes have the same name",
            Self::NotMe => "another node or an earlier life of it was meant",
            Self::NotInView => "the view does not hold the node",
            Self::Direction => "the lower name dials, not the higher",
            Self::Other(_) => "for a reason this version does not know",
        })
    }
}

/// What an accepting node knows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Me<'a> {
    /// Its cluster.
    pub cluster: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Which of its lives.
    pub incarnation: u64,
    /// The newest wire version it speaks.
    pub newest: u8,
}

impl Greeting {
    /// Whether to go on, and in which version. `certified`: the peer's certificate is for the name it
    /// gives, in this node's cluster.
    ///
    /// # Errors
    /// [`Refusal`], first the reasons that an operator must see.
    pub fn judge(&self, me: Me<'_>, certified: bool) -> Result<u8, Refusal> {
        let version = self.newest.min(me.newest);
        if self.cluster != me.cluster {
            Err(Refusal::Cluster)
        } else if !certified {
            Err(Refusal::Certificate)
        } else if self.name == me.name {
            Err(Refusal::DuplicateName)
        } else if version < self.oldest.max(OLDEST_VERSION) {
            Err(Refusal::Version)
        } else if self.to_name != me.name || self.to_incarnation != me.incarnation {
            Err(Refusal::NotMe)
        } else if self.name.as_str() > me.name {
            Err(Refusal::Direction)
        } else {
            Ok(version)
        }
    }

    /// The bytes on the wire, length included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = MAGIC.to_vec();
        body.extend([self.oldest, self.newest]);
        put_text(&mut body, &self.cluster);
        put_text(&mut body, &self.name);
        body.put_u64(self.incarnation);
        put_text(&mut body, &self.to_name);
        body.put_u64(self.to_incarnation);
        put_routers(&mut body, &self.routers);
        framed(&body)
    }

    /// Reads the bytes that follow the length.
    ///
    /// # Errors
    /// [`Refusal::Garbled`].
    pub fn decode(mut body: &[u8]) -> Result<Self, Refusal> {
        let body = &mut body;
        get_magic(body)?;
        Ok(Self {
            oldest: get_u8(body)?,
            newest: get_u8(body)?,
            cluster: get_text(body)?,
            name: get_text(body)?,
            incarnation: get_u64(body)?,
            to_name: get_text(body)?,
            to_incarnation: get_u64(body)?,
            routers: get_routers(body)?,
        })
    }
}

impl Answer {
    /// The bytes on the wire, length included.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = MAGIC.to_vec();
        match self {
            Self::Welcome { version, routers } => {
                body.extend([0, *version]);
                put_routers(&mut body, routers);
            }
            Self::Refused(refusal) => body.extend([1, refusal.number()]),
        }
        framed(&body)
    }

    /// Reads the bytes that follow the length; `newest` is the newest version this node spoke of.
    ///
    /// # Errors
    /// [`Refusal::Garbled`]; [`Refusal::Version`] when the answer picks a version not spoken here.
    pub fn decode(mut body: &[u8], newest: u8) -> Result<Self, Refusal> {
        let body = &mut body;
        get_magic(body)?;
        match get_u8(body)? {
            0 => {
                let version = get_u8(body)?;
                if !(OLDEST_VERSION..=newest).contains(&version) {
                    return Err(Refusal::Version);
                }
                Ok(Self::Welcome { version, routers: get_routers(body)? })
            }
            1 => Ok(Self::Refused(Refusal::from_number(get_u8(body)?))),
            _ => Err(Refusal::Garbled),
        }
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + body.len());
    bytes.put_u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    // Names are at most 63 bytes where they come from; a longer one would be refused as unknown.
    let text = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
    body.put_u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
    body.extend_from_slice(text);
}

fn put_routers(body: &mut Vec<u8>, routers: &[u64]) {
    let routers = routers.get(..MAX_ROUTERS).unwrap_or(routers);
    body.put_u8(u8::try_from(routers.len()).unwrap_or(0));
    for router in routers {
        body.put_u64(*router);
    }
}

fn get_magic(body: &mut &[u8]) -> Result<(), Refusal> {
    let (magic, rest) = body.split_at_checked(MAGIC.len()).ok_or(Refusal::Garbled)?;
    *body = rest;
    if magic == MAGIC { Ok(()) } else { Err(Refusal::Garbled) }
}

fn get_u8(body: &mut &[u8]) -> Result<u8, Refusal> {
    body.try_get_u8().map_err(|_| Refusal::Garbled)
}

fn get_u64(body: &mut &[u8]) -> Result<u64, Refusal> {
    body.try_get_u64().map_err(|_| Refusal::Garbled)
}

fn get_text(body: &mut &[u8]) -> Result<String, Refusal> {
    let length = usize::from(get_u8(body)?);
    let (text, rest) = body.split_at_checked(length).ok_or(Refusal::Garbled)?;
    *body = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Refusal::Garbled)
}

fn get_routers(body: &mut &[u8]) -> Result<Vec<u64>, Refusal> {
    let count = usize::from(get_u8(body)?);
    if count == 0 || count > MAX_ROUTERS {
        return Err(Refusal::Garbled);
    }
    (0..count).map(|_| get_u64(body)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::frame::NEWEST_VERSION;
    use super::*;
    use proptest::prelude::*;

    const ME: Me<'_> = Me { cluster: "chat", name: "b", incarnation: 7, newest: NEWEST_VERSION };

    fn greeting() -> Greeting {
        Greeting {
            oldest: OLDEST_VERSION,
            newest: NEWEST_VERSION,
            cluster: "chat".into(),
            name: "a".into(),
            incarnation: 3,
            to_name: "b".into(),
            to_incarnation: 7,
            routers: vec![11, 12],
        }
    }

    #[test]
    fn each_reason_to_refuse_is_found() {
        let judged = |change: &dyn Fn(&mut Greeting)| {
            let mut greeting = greeting();
            change(&mut greeting);
            greeting.judge(ME, true)
        };
        assert_eq!(judged(&|_| ()), Ok(NEWEST_VERSION));
        assert_eq!(judged(&|g| g.cluster = "other".into()), Err(Refusal::Cluster));
        assert_eq!(greeting().judge(ME, false), Err(Refusal::Certificate));
        assert_eq!(judged(&|g| g.oldest = 200), Err(Refusal::Version));
        assert_eq!(judged(&|g| (g.oldest, g.newest) = (0, 0)), Err(Refusal::Version));
        assert_eq!(judged(&|g| g.to_incarnation = 6), Err(Refusal::NotMe));
        assert_eq!(judged(&|g| g.to_name = "c".into()), Err(Refusal::NotMe));
        let twin = Greeting { name: "b".into(), ..greeting() };
        assert_eq!(twin.judge(ME, true), Err(Refusal::DuplicateName));
        let higher = Greeting { name: "c".into(), ..greeting() };
        assert_eq!(higher.judge(ME, true), Err(Refusal::Direction));
    }

    #[test]
    fn a_newer_node_and_an_older_one_speak_the_older_version() {
        let newer = Greeting { newest: NEWEST_VERSION + 1, ..greeting() };
        assert_eq!(newer.judge(ME, true), Ok(NEWEST_VERSION));
        let former = Me { newest: OLDEST_VERSION, ..ME };
        assert_eq!(greeting().judge(former, true), Ok(OLDEST_VERSION));
        // One that speaks nothing older than what this node does not speak yet.
        let later = Greeting { oldest: NEWEST_VERSION, ..greeting() };
        assert_eq!(later.judge(former, true), Err(Refusal::Version));
    }

    #[test]
    fn words_come_back_as_they_were_and_additions_are_skipped() {
        let mut bytes = greeting().encode();
        bytes.extend(b"what a later version adds");
        assert_eq!(Greeting::decode(&bytes[2..]), Ok(greeting()));
        let refusals = (0..=9).map(|number| Answer::Refused(Refusal::from_number(number)));
        let welcome = Answer::Welcome { version: NEWEST_VERSION, routers: vec![1] };
        for answer in refusals.chain([welcome]) {
            assert_eq!(Answer::decode(&answer.encode()[2..], NEWEST_VERSION), Ok(answer));
        }
        let unknown = Answer::Welcome { version: 99, routers: vec![1] };
        let decoded = Answer::decode(&unknown.encode()[2..], NEWEST_VERSION);
        assert_eq!(decoded, Err(Refusal::Version));
        let newest = Answer::Welcome { version: NEWEST_VERSION, routers: vec![1] };
        let decoded = Answer::decode(&newest.encode()[2..], OLDEST_VERSION);
        assert_eq!(decoded, Err(Refusal::Version), "a version that was not offered");
    }

    proptest! {
        #[test]
        fn arbitrary_words_never_panic(tail in prop::collection::vec(any::<u8>(), 0..100)) {
            for body in [tail.clone(), [MAGIC.as_slice(), &tail].concat()] {
                drop(Greeting::decode(&body));
                drop(Answer::decode(&body, NEWEST_VERSION));
            }
        }
    }
}
