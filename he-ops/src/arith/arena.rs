//! Recycled, 64-byte aligned buffers: a limb costs no page fault after the first use of its size.

use aligned_vec::{AVec, ConstAlign};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{LazyLock, Mutex};

type Raw = AVec<u64, ConstAlign<64>>;

/// Words that idle buffers may hold in all; what has been idle longest is freed.
const MAX_IDLE_WORDS: usize = 64 << 20;

#[derive(Default)]
struct Pool {
    idle_words: usize,
    /// Buffers given back so far: the age of a buffer is the count when it came.
    returned: u64,
    /// Buffers of a length with their ages, oldest first.
    by_len: BTreeMap<usize, Vec<(u64, Raw)>>,
}

impl Pool {
    /// Frees the buffer that has been idle longest; false when there is none.
    fn evict(&mut self) -> bool {
        let oldest = self.by_len.iter_mut().filter(|(_, list)| !list.is_empty());
        let Some((&len, list)) = oldest.min_by_key(|(_, list)| list.first().map(|(age, _)| *age)) else {
            return false;
        };
        list.remove(0);
        self.idle_words -= len;
        true
    }
}

static POOL: LazyLock<Mutex<Pool>> = LazyLock::new(Mutex::default);

/// A buffer of words that goes back to the pool when dropped. Buffers with secrets are zeroized by their owners first.
pub struct Buffer {
    raw: Raw,
    /// Words in use: a recycled buffer may be a little longer.
    len: usize,
}

/// A buffer of `len` words with whatever an earlier user left in it.
#[must_use]
pub fn take(len: usize) -> Buffer {
    let recycled = POOL.lock().ok().and_then(|mut pool| {
        // Levels differ by a limb or two, so their buffers serve each other.
        let (&found, list) = pool
            .by_len
            .range_mut(len..=len + len / 4)
            .find(|(_, list)| !list.is_empty())?;
        let (_, buffer) = list.pop()?;
        pool.idle_words -= found;
        Some(buffer)
    });
    let raw = recycled.unwrap_or_else(|| {
        let mut raw = Raw::with_capacity(64, len);
        raw.resize(len, 0);
        raw
    });
    Buffer { raw, len }
}

/// A buffer of `len` zeros.
#[must_use]
pub fn take_zeroed(len: usize) -> Buffer {
    let mut buffer = take(len);
    buffer.fill(0);
    buffer
}

impl Deref for Buffer {
    type Target = [u64];
    #[expect(
        clippy::indexing_slicing,
        reason = "a buffer is never shorter than what is in use"
    )]
    fn deref(&self) -> &[u64] {
        &self.raw[..self.len]
    }
}

impl DerefMut for Buffer {
    #[expect(
        clippy::indexing_slicing,
        reason = "a buffer is never shorter than what is in use"
    )]
    fn deref_mut(&mut self) -> &mut [u64] {
        &mut self.raw[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let raw = std::mem::replace(&mut self.raw, Raw::new(64));
        let len = raw.len();
        if len == 0 || len > MAX_IDLE_WORDS {
            return;
        }
        if let Ok(mut pool) = POOL.lock() {
            // Other lengths are of other levels or other work: those in use now must not be freed and faulted in again.
            while pool.idle_words + len > MAX_IDLE_WORDS && pool.evict() {}
            pool.idle_words += len;
            pool.returned += 1;
            let age = pool.returned;
            pool.by_len.entry(len).or_default().push((age, raw));
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = take(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_recycled_and_cleared_on_request() {
        let len = 12_345;
        let mut a = take(len);
        assert_eq!(a.as_ptr() as usize % 64, 0);
        a.fill(9);
        drop(a);
        assert!(take_zeroed(len).iter().all(|&v| v == 0));
    }
}
