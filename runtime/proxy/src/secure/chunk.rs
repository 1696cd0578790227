//! What a stream received: the shard's own buffer, or one with what was decrypted.

use std::ops::Deref;

use penstock_env::{Chunk, Env, Part, SendBuf, Stream};

/// Received bytes, in the clear.
pub struct SecureChunk<E: Env>(pub(crate) Bytes<E>);

pub(crate) enum Bytes<E: Env> {
    /// As they came.
    Lent(<E::Stream as Stream>::Chunk),
    /// Decrypted. Boxed: a chunk is moved often, and most are lent ones.
    Opened(Box<Opened<E>>),
}

/// Decrypted bytes in a buffer of the shard's pool.
pub(crate) struct Opened<E: Env> {
    env: E,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<E: Env> SecureChunk<E> {
    pub(crate) fn opened(env: &E, buffer: Vec<u8>) -> SecureChunk<E> {
        let end = buffer.len();
        let opened = Opened { env: env.clone(), buffer, start: 0, end };
        SecureChunk(Bytes::Opened(Box::new(opened)))
    }
}

impl<E: Env> Drop for Opened<E> {
    fn drop(&mut self) {
        self.env.recycle(std::mem::take(&mut self.buffer));
    }
}

impl<E: Env> Deref for SecureChunk<E> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Lent(chunk) => chunk,
            Bytes::Opened(opened) => &opened.buffer[opened.start..opened.end],
        }
    }
}

impl<E: Env> Chunk for SecureChunk<E> {
    #[inline]
    fn advance(&mut self, count: usize) {
        match &mut self.0 {
            Bytes::Lent(chunk) => chunk.advance(count),
            Bytes::Opened(opened) => {
                assert!(count <= opened.end - opened.start, "more than there is");
                opened.start += count;
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match &mut self.0 {
            Bytes::Lent(chunk) => chunk.truncate(len),
            Bytes::Opened(opened) => opened.end = opened.end.min(opened.start + len),
        }
    }
}

/// A send as the plain stream below takes it: what was decrypted is copied, what was lent stays.
pub(crate) fn lower<E: Env>(
    data: SendBuf<SecureChunk<E>>,
) -> SendBuf<<E::Stream as Stream>::Chunk> {
    let (bytes, parts) = data.into_parts();
    if parts.is_empty() {
        return SendBuf::of(bytes);
    }
    let opened =
        |part: &Part<SecureChunk<E>>| matches!(part, Part::Chunk(SecureChunk(Bytes::Opened(_))));
    if !parts.iter().any(opened) {
        let lent = parts.into_iter().filter_map(|part| match part {
            Part::Own(count) => Some(Part::Own(count)),
            Part::Chunk(SecureChunk(Bytes::Lent(chunk))) => Some(Part::Chunk(chunk)),
            // There is none, as was seen above.
            Part::Chunk(SecureChunk(Bytes::Opened(_))) => None,
        });
        return SendBuf::of_parts(bytes, lent.collect());
    }
    let (mut out, mut at) = (SendBuf::new(Vec::with_capacity(bytes.len())), 0);
    for part in parts {
        match part {
            Part::Own(count) => {
                out.push(&bytes[at..at + count]);
                at += count;
            }
            Part::Chunk(SecureChunk(Bytes::Lent(chunk))) => out.push_chunk(chunk),
            Part::Chunk(opened) => out.push(&opened),
        }
    }
    out
}
