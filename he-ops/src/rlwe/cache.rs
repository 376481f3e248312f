//! Constants that follow from the parameters and are made at first use.

use crate::Result;
use crate::arith::rns::BasisConverter;
use crate::ring::{Division, Eval, TimesP};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Base conversions by (level, primes of the digit, special primes), divisions by level, permutations by Galois element.
#[derive(Default)]
pub(super) struct Cache {
    pub mod_up: HashMap<(usize, Range<usize>, usize), Arc<BasisConverter>>,
    pub mod_down: HashMap<(usize, usize), Arc<Division<TimesP>>>,
    pub mod_down_rescale: HashMap<(usize, usize), Arc<Division<TimesP>>>,
    pub rescale: HashMap<usize, Arc<Division<Eval>>>,
    pub permutations: HashMap<u64, Arc<Vec<u32>>>,
}

/// Looks a value up, or makes and keeps it.
pub(super) fn cached<K: std::hash::Hash + Eq, V>(
    map: &mut HashMap<K, Arc<V>>,
    key: K,
    make: impl FnOnce() -> Result<V>,
) -> Result<Arc<V>> {
    if let Some(found) = map.get(&key) {
        return Ok(found.clone());
    }
    let made = Arc::new(make()?);
    map.insert(key, made.clone());
    Ok(made)
}
