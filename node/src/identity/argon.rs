//! One argon2id hash, in memory that is given back to the operating system.
//!
//! The crate's own buffer was measured to be a leak in effect: 1,300 log-ins left a node at 13 GB.
//! Its blocks are aligned to 64 bytes, and glibc before 2.38 does not find the chunk it just freed
//! when the next aligned request of the same size comes from another thread's arena. So the
//! buffer is ours: [`Scratch`] asks for more address space than the largest size that glibc ever
//! serves from an arena, touches only what a hash needs, and returns to the system when dropped.

use super::password::PasswordError;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// What a hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// 19 MiB, two passes, one lane: OWASP's first choice for argon2id.
    Full,
    /// 64 KiB, one pass: for load tests that make thousands of accounts. Never for real users.
    Low,
}

impl Cost {
    /// Reads `ROOKERY_DEV_PASSWORD_COST`: only `low` changes anything.
    #[must_use]
    pub fn from_environment() -> Self {
        match std::env::var("ROOKERY_DEV_PASSWORD_COST").as_deref() {
            Ok("low") => Self::Low,
            _ => Self::Full,
        }
    }

    fn params(self) -> Result<Params, PasswordError> {
        let (memory_kib, passes) = match self {
            Self::Full => (19 * 1024, 2),
            Self::Low => (64, 1),
        };
        Params::new(memory_kib, passes, 1, None).map_err(failed)
    }
}

/// The blocks a hash works in.
#[derive(Debug)]
pub(super) struct Scratch {
    blocks: Vec<Block>,
}

impl Scratch {
    /// Blocks of address space: over 32 MiB, the largest threshold above which glibc maps an
    /// allocation of its own (and unmaps it when it is freed).
    const MAPPED_BLOCKS: usize = 33 * 1024;

    pub(super) fn new() -> Self {
        Self { blocks: Vec::with_capacity(Self::MAPPED_BLOCKS) }
    }

    /// So many blocks, whatever they hold: a hash overwrites each before it reads it.
    fn first(&mut self, count: usize) -> Result<&mut [Block], PasswordError> {
        if self.blocks.len() < count {
            self.blocks.resize(count, Block::new());
        }
        self.blocks.get_mut(..count).ok_or(PasswordError::Failed)
    }
}

/// The hash of a password under a salt, as text that carries salt and cost.
pub(super) fn hash(
    cost: Cost,
    password: &[u8],
    salt: &[u8; 16],
    scratch: &mut Scratch,
) -> Result<String, PasswordError> {
    let params = cost.params()?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    compute(&params, password, salt, &mut output, scratch)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(failed)?,
        salt: Some(Salt::new(salt).map_err(failed)?),
        hash: Some(Output::new(&output).map_err(failed)?),
    };
    Ok(hash.to_string())
}

/// Whether the password fits a stored hash, at the cost the hash was made with.
pub(super) fn verify(
    password: &[u8],
    stored: &str,
    scratch: &mut Scratch,
) -> Result<bool, PasswordError> {
    let stored = PasswordHash::new(stored).map_err(failed)?;
    let ours = stored.algorithm == Algorithm::Argon2id.ident()
        && stored.version == Some(Version::V0x13.into());
    let (Some(salt), Some(expected), true) = (&stored.salt, &stored.hash, ours) else {
        return Err(PasswordError::Failed);
    };
    let params = Params::try_from(&stored).map_err(failed)?;
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..expected.as_bytes().len()).ok_or(PasswordError::Failed)?;
    compute(&params, password, salt, output, scratch)?;
    // `Output` compares in constant time.
    Ok(Output::new(output).map_err(failed)? == *expected)
}

fn compute(
    params: &Params,
    password: &[u8],
    salt: &[u8],
    output: &mut [u8],
    scratch: &mut Scratch,
) -> Result<(), PasswordError> {
    let blocks = scratch.first(params.block_count())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password, salt, output, blocks)
        .map_err(failed)
}

/// Drops what the hasher says: it could describe a password.
fn failed<E>(_: E) -> PasswordError {
    PasswordError::Failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordHasher;

    #[test]
    fn a_hash_is_the_one_the_crate_makes_also_in_used_memory() {
        let mut scratch = Scratch::new();
        for (cost, password, salt) in [
            (Cost::Full, "correct horse", [1; 16]),
            (Cost::Low, "correct horse", [2; 16]),
            (Cost::Full, "battery staple", [3; 16]),
        ] {
            let ours = hash(cost, password.as_bytes(), &salt, &mut scratch).unwrap();
            let theirs: PasswordHash =
                Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params().unwrap())
                    .hash_password_with_salt(password.as_bytes(), &salt)
                    .unwrap();
            assert_eq!(ours, theirs.to_string());
            assert_eq!(verify(password.as_bytes(), &ours, &mut scratch), Ok(true));
            assert_eq!(verify(b"wrong", &ours, &mut scratch), Ok(false));
        }
    }

    #[test]
    fn a_stored_text_that_is_no_hash_of_ours_is_a_failure_and_not_a_refusal() {
        let mut scratch = Scratch::new();
        for stored in [
            "",
            "x",
            "$argon2id$v=19$m=64,t=1,p=1",
            "$argon2i$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=16$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(verify(b"x", stored, &mut scratch), Err(PasswordError::Failed), "{stored}");
        }
    }
}
