//! Expanded evaluation keys in memory, least recently used first out.

use super::store::KeyId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

struct Entry<T> {
    id: KeyId,
    /// Two models may use different subsets of one ring's keys, so a set is expanded for a model.
    model: String,
    bytes: u64,
    value: Arc<T>,
}

/// A few hundred megabytes per client: the cache is bounded by bytes, and an evaluation in progress keeps its own
/// handle, so that eviction never waits.
pub(crate) struct KeyCache<T> {
    limit: u64,
    /// Oldest use first; a handful of entries, so a list is enough.
    entries: Mutex<Vec<Entry<T>>>,
    /// Held while a set is expanded: two requests for one cold set must not double its memory.
    loading: Mutex<()>,
}

impl<T> KeyCache<T> {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            entries: Mutex::new(Vec::new()),
            loading: Mutex::new(()),
        }
    }

    /// The set `id` for `model`, expanded by `load` if it is not here. The flag tells whether it was.
    pub(crate) fn get_or_load<E>(
        &self,
        id: KeyId,
        model: &str,
        bytes: u64,
        load: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Arc<T>, bool), E> {
        if let Some(value) = self.touch(id, model) {
            return Ok((value, true));
        }
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.touch(id, model) {
            return Ok((value, true));
        }
        let make_room = |entries: &mut Vec<Entry<T>>| {
            while !entries.is_empty() && entries.iter().map(|e| e.bytes).sum::<u64>() + bytes > self.limit {
                let old = entries.remove(0);
                tracing::info!(
                    key_id = old.id.short(),
                    bytes = old.bytes,
                    "expanded keys evicted"
                );
            }
        };
        make_room(&mut self.lock());
        let value = Arc::new(load()?);
        self.lock().push(Entry {
            id,
            model: model.to_owned(),
            bytes,
            value: Arc::clone(&value),
        });
        Ok((value, false))
    }

    /// Forgets a set that was deleted.
    pub(crate) fn remove(&self, id: KeyId) {
        self.lock().retain(|e| e.id != id);
    }

    fn touch(&self, id: KeyId, model: &str) -> Option<Arc<T>> {
        let mut entries = self.lock();
        let at = entries.iter().position(|e| e.id == id && e.model == model)?;
        let entry = entries.remove(at);
        let value = Arc::clone(&entry.value);
        entries.push(entry);
        Some(value)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_set_goes_first() {
        let cache = KeyCache::new(100);
        let id = |n| KeyId::new([n; 32]);
        let get = |n: u8| cache.get_or_load(id(n), "m", 40, || Ok::<u8, ()>(n)).unwrap();
        assert_eq!((*get(1).0, get(1).1), (1, true));
        assert!(!get(2).1);
        assert!(get(1).1);
        assert!(!get(3).1);
        assert!(get(1).1, "used after 2, so 2 had to go");
        assert!(!get(2).1);
        cache.remove(id(2));
        assert!(!get(2).1);
        assert_eq!(
            cache
                .get_or_load(id(9), "m", 40, || Err::<u8, _>("bad"))
                .unwrap_err(),
            "bad"
        );
    }
}
