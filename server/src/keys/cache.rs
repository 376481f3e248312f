//! Expanded evaluation keys in memory, least recently used first out.

use super::store::KeyId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct Entry<T> {
    id: KeyId,
    /// Two models may use different subsets of one ring's keys, so a set is expanded for a model.
    model: String,
    bytes: u64,
    value: Arc<T>,
    /// Deleted by its owner: kept for the count while it is used, and given to nobody.
    removed: bool,
}

/// How long to wait before looking for room again; evaluations take seconds.
const WAIT: Duration = Duration::from_millis(20);

/// Hundreds of megabytes per client, gigabytes for deep models: the cache is bounded by bytes, those that an evaluation
/// in progress uses included. A set that finds no room waits for one of them to end.
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
        while !self.make_room(bytes) {
            std::thread::sleep(WAIT);
        }
        let value = Arc::new(load()?);
        self.lock().push(Entry {
            id,
            model: model.to_owned(),
            bytes,
            value: Arc::clone(&value),
            removed: false,
        });
        Ok((value, false))
    }

    /// Evicts sets that nobody uses, the oldest first, until there is room. False when those in use leave none; a set that
    /// is larger than the whole cache has room when nothing else is there.
    fn make_room(&self, bytes: u64) -> bool {
        let mut entries = self.lock();
        let used = |entries: &[Entry<T>]| entries.iter().map(|e| e.bytes).sum::<u64>();
        while used(&entries).saturating_add(bytes) > self.limit {
            // Handles are only made under this lock, so one that is alone stays alone.
            let Some(at) = entries.iter().position(|e| Arc::strong_count(&e.value) == 1) else {
                return entries.is_empty();
            };
            let old = entries.remove(at);
            tracing::info!(
                key_id = old.id.short(),
                bytes = old.bytes,
                "expanded keys evicted"
            );
        }
        true
    }

    /// Forgets a set that was deleted; an evaluation that uses it still counts.
    pub(crate) fn remove(&self, id: KeyId) {
        self.lock()
            .iter_mut()
            .filter(|e| e.id == id)
            .for_each(|e| e.removed = true);
        self.lock()
            .retain(|e| !e.removed || Arc::strong_count(&e.value) > 1);
    }

    fn touch(&self, id: KeyId, model: &str) -> Option<Arc<T>> {
        let mut entries = self.lock();
        let at = entries
            .iter()
            .position(|e| e.id == id && e.model == model && !e.removed)?;
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
        // One in use is not evicted, and one that is removed meanwhile is not given out again.
        let (held, _) = get(3);
        get(4);
        assert!(get(3).1);
        cache.remove(id(3));
        assert!(!cache.make_room(80) && cache.make_room(60));
        drop(held);
        assert!(!get(3).1);
        assert_eq!(
            cache
                .get_or_load(id(9), "m", 40, || Err::<u8, _>("bad"))
                .unwrap_err(),
            "bad"
        );
    }
}
