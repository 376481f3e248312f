//! Linear maps of slots: matrices times ciphertexts.
//!
//! A ciphertext can be multiplied slot by slot and rotated; a matrix has to be made of these two. By an example, with
//! x = (x0, x1, x2, x3) in four slots that repeat, and rot_k(x)\[j\] = x\[j + k\]:
//!
//! ```text
//!     | 11 12 13 14 |   | x0 |      d_0 = (11, 22, 33, 44)
//! y = | 21 22 23 24 | . | x1 |      d_1 = (12, 23, 34, 41)
//!     | 31 32 33 34 |   | x2 |      d_2 = (13, 24, 31, 42)
//!     | 41 42 43 44 |   | x3 |      d_3 = (14, 21, 32, 43)
//! ```
//!
//! **Diagonals** (ePrint 2014/106). Slot j of y needs x\[j + k\] times the entry k places right of the diagonal, for every
//! k. Read along such a diagonal, the entries are a vector of slots, d_k\[j\] = M\[j\]\[j + k\]:
//!
//! ```text
//! y = d_0 x + d_1 rot_1(x) + d_2 rot_2(x) + d_3 rot_3(x)
//! ```
//!
//! Three rotations, each a key switch. Diagonals of zeros cost nothing, so a matrix may as well be rectangular or sparse.
//!
//! **Baby steps and giant steps** (ePrint 2018/244). With k = 2 g + b, a rotation by 2 g is taken after the sum; as it turns
//! the weights too, they are turned back before:
//!
//! ```text
//! y = (31, 42, 13, 24) = rot_-2(d_2)      y = Y_0 + rot_2(Y_1)
//!     (32, 43, 14, 21) = rot_-2(d_3)      Y_0 = d_0 x + d_1 rot_1(x)
//!                                         Y_1 = rot_-2(d_2) x + rot_-2(d_3) rot_1(x)
//! ```
//!
//! Two rotations instead of three, and for a matrix of D diagonals with n baby steps n - 1 + D/n - 1 instead of D - 1: 14
//! instead of 63 for D = 64, n = 8. Further giant steps follow Horner's rule, Y_0 + rot_2(Y_1 + rot_2(Y_2)), so that one
//! key serves them all. Several matrices on one input share the baby steps.
//!
//! **Double hoisting** (ePrint 2020/1203, section 4). A key switch has three parts: the decomposition of the mask, the inner
//! product with the key, which leaves P times the result modulo QP ([`TimesP`](crate::ring::TimesP)), and the division by
//! P. The baby steps rotate one input: they share its decomposition. Products and sums can be had before the division as
//! well as after it: a baby step is nothing but an inner product, there is one division at the end, and before a giant step
//! only the mask is divided, because it has to be decomposed again. In key switches, a baby step then costs about 1/4, a
//! giant step 2/3 to 4/5, and all together one more for the first decomposition and the last division: under 2 for the
//! example, 9 for D = 64.
//!
//! Where every four slots hold a vector of their own, a diagonal must not reach into the next four: d_1 = (12, 23, 34, 0)
//! and d_-3 = (0, 0, 0, 41) take the place of d_1, seven diagonals in all, and there are giant steps in both directions.
//!
//! ```
//! use he_ops::ckks::{Diagonals, Pattern, SlotMap};
//! use num_complex::Complex64;
//!
//! let x = [1.0, 0.0, 2.0, -1.0].map(|x| Complex64::new(x, 0.0));
//! let y = [23.0, 43.0, 63.0, 83.0].map(|y| Complex64::new(y, 0.0));
//! let diagonals = [[11.0, 22.0, 33.0, 44.0], [12.0, 23.0, 34.0, 41.0], [13.0, 24.0, 31.0, 42.0], [14.0, 21.0, 32.0, 43.0]];
//! let part = (0..).zip(diagonals).map(|(k, d)| Ok((k, Pattern::real(d.to_vec())?)));
//! let map = SlotMap::new(2, vec![part.collect::<he_ops::Result<_>>()?])?;
//! assert_eq!((map.diagonals(), map.rotations()), (4, vec![1, 2]));
//! assert_eq!(map.apply(&[&x]), y);
//!
//! let matrix: Vec<f32> = (1..5).flat_map(|row| (1..5).map(move |column| (10 * row + column) as f32)).collect();
//! let blocks = Diagonals::block_matrix(4, &matrix);
//! assert_eq!(blocks.len(), 7);
//! assert_eq!(blocks.apply(&[x, x].concat()), [y, y].concat());
//! # Ok::<(), he_ops::Error>(())
//! ```
//!
//! # The two front ends, and the engine
//!
//! | file | what it has |
//! |---|---|
//! | [`pattern`] | a weight: slots that repeat |
//! | [`slot_map`] | maps of several inputs, as a plan has them: patterns by offset |
//! | [`diagonals`] | maps of one input in f64, which can be composed: those of bootstraps |
//! | `schedule` | columns, giant steps, inner sums and their order: made once, run by the engine, counted by [`crate::cost`] |
//! | `maps` | weights encoded on the fly, several maps at once; weighted sums, which are maps without a rotation |
//! | [`prepared`] | weights kept as residues modulo QP: fast, and large |
//! | `weights` | from slots to the matrices of one prime |
//! | `columns` | rotated inputs, one block of one prime at a time |
//! | `engine` | columns times matrices; giant steps; the division |

mod columns;
pub mod diagonals;
mod engine;
mod maps;
pub mod pattern;
pub mod prepared;
pub(crate) mod schedule;
pub mod slot_map;
mod weights;

pub use diagonals::Diagonals;
pub use pattern::Pattern;
pub use prepared::LinearTransform;
pub use slot_map::{MapPart, SlotMap};
pub(crate) use weights::Layout;
