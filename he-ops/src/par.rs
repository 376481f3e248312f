//! Loops over independent limbs and blocks: on the current rayon pool, or in order where threads are switched off.
//! The result never depends on the number of threads.

/// Runs `f(index, item)` for every item.
#[cfg(feature = "parallel")]
pub(crate) fn for_each<T: Send>(items: Vec<T>, f: impl Fn(usize, T) + Sync + Send) {
    use rayon::prelude::*;
    if rayon::current_num_threads() == 1 || items.len() < 2 {
        items.into_iter().enumerate().for_each(|(i, item)| f(i, item));
    } else {
        items
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .for_each(|(i, item)| f(i, item));
    }
}

/// Runs `f(index, item)` for every item.
#[cfg(not(feature = "parallel"))]
pub(crate) fn for_each<T>(items: Vec<T>, f: impl Fn(usize, T)) {
    items.into_iter().enumerate().for_each(|(i, item)| f(i, item));
}

/// `f(item)` of every item in their order, or an error of one of them.
#[cfg(feature = "parallel")]
pub(crate) fn try_map<T: Send, U: Send, E: Send>(
    items: Vec<T>,
    f: impl Fn(T) -> Result<U, E> + Sync + Send,
) -> Result<Vec<U>, E> {
    use rayon::prelude::*;
    if rayon::current_num_threads() == 1 || items.len() < 2 {
        items.into_iter().map(f).collect()
    } else {
        items.into_par_iter().with_max_len(1).map(f).collect()
    }
}

/// `f(item)` of every item in their order, or the first error.
#[cfg(not(feature = "parallel"))]
pub(crate) fn try_map<T, U, E>(items: Vec<T>, f: impl Fn(T) -> Result<U, E>) -> Result<Vec<U>, E> {
    items.into_iter().map(f).collect()
}

/// Runs `f(index, limb)` for every limb of `n` entries.
pub(crate) fn limbs(data: &mut [u64], n: usize, f: impl Fn(usize, &mut [u64]) + Sync + Send) {
    for_each(data.chunks_mut(n).collect(), f);
}

/// Both results, the first two of a pool's threads sharing the work.
#[cfg(feature = "parallel")]
pub(crate) fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    if rayon::current_num_threads() == 1 {
        (a(), b())
    } else {
        rayon::join(a, b)
    }
}

/// Both results.
#[cfg(not(feature = "parallel"))]
pub(crate) fn join<A, B>(a: impl FnOnce() -> A, b: impl FnOnce() -> B) -> (A, B) {
    (a(), b())
}
