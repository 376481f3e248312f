//! Where a request stands, for a client that asks while it waits.

use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Counters of one request; written by its worker, read by anybody who knows its id.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicUsize,
    total: AtomicUsize,
    /// Place in the order of arrival, from 1; 0 until queued.
    ticket: AtomicU64,
}

impl Progress {
    pub(crate) fn step(&self, done: usize, total: usize) {
        self.done.store(done, Relaxed);
        self.total.store(total, Relaxed);
    }

    pub(crate) fn queued(&self, ticket: u64) {
        self.ticket.store(ticket, Relaxed);
    }
}

/// Answer of `GET /v1/requests/{id}`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// `receiving`, `queued` or `evaluating`.
    pub state: &'static str,
    /// Requests that are served before it, while it is queued.
    pub ahead: u64,
    /// Steps done.
    pub done: usize,
    /// Steps of the plan; 0 until the evaluation starts.
    pub total: usize,
}

/// Requests in progress by the id that their client chose.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    requests: Mutex<HashMap<String, Arc<Progress>>>,
    /// Jobs that a worker has taken so far.
    taken: AtomicU64,
}

impl Registry {
    /// Registers a request; `None` when the id is in use. It is forgotten when the guard drops.
    pub(crate) fn register(self: &Arc<Self>, id: &str) -> Option<Registered> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.contains_key(id) {
            return None;
        }
        let progress = Arc::new(Progress::default());
        requests.insert(id.to_owned(), Arc::clone(&progress));
        Some(Registered {
            id: id.to_owned(),
            progress,
            registry: Arc::clone(self),
        })
    }

    /// Notes that a worker took the next job.
    pub(crate) fn taken(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    pub(crate) fn standing(&self, id: &str) -> Option<Standing> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = requests.get(id)?;
        let (ticket, taken) = (progress.ticket.load(Relaxed), self.taken.load(Relaxed));
        let (done, total) = (progress.done.load(Relaxed), progress.total.load(Relaxed));
        let ahead = ticket.saturating_sub(taken + 1);
        let state = match ticket {
            0 => "receiving",
            t if t > taken => "queued",
            _ => "evaluating",
        };
        Some(Standing {
            state,
            ahead,
            done,
            total,
        })
    }
}

/// Keeps a request in the registry until it is dropped.
pub(crate) struct Registered {
    id: String,
    /// The counters, for the worker.
    pub progress: Arc<Progress>,
    registry: Arc<Registry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_can_be_followed_until_it_is_done() {
        let registry = Arc::new(Registry::default());
        let request = registry.register("a").unwrap();
        assert!(registry.register("a").is_none());
        assert_eq!(registry.standing("a").unwrap().state, "receiving");
        request.progress.queued(2);
        assert_eq!(
            registry.standing("a").unwrap(),
            Standing {
                state: "queued",
                ahead: 1,
                done: 0,
                total: 0
            }
        );
        registry.taken();
        registry.taken();
        request.progress.step(3, 9);
        assert_eq!(
            registry.standing("a").unwrap(),
            Standing {
                state: "evaluating",
                ahead: 0,
                done: 3,
                total: 9
            }
        );
        drop(request);
        assert_eq!(registry.standing("a"), None);
    }
}
