//! Circuits against straightforward f64 code, on the plain backend; and what they say of themselves.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeSet;

use common::{Numbers, eval_plain, largest_error, plan_of};
use he_ops::circuits::{
    ChebyshevSeries, Circuit, FeedForward, Head, Matrix, PowerSoftmaxAttention, Reciprocal, TokenLayout,
    TokenTransform,
};
use he_ops::ckks::Pattern;
use he_ops::graph::KeyUse;
use num_complex::Complex64;
use proptest::prelude::*;

const SLOTS: usize = 1 << 14;

/// y[t, r] = Σ_c w[r, c] x[t, c], for every token of `dim` slots.
fn matmul(x: &[Complex64], w: &[Complex64], rows: usize, cols: usize, dim: usize) -> Vec<Complex64> {
    let mut y = vec![Complex64::ZERO; x.len()];
    for (x, y) in x.chunks(dim).zip(y.chunks_mut(dim)) {
        for r in 0..rows {
            y[r] = (0..cols).map(|c| w[r * cols + c] * x[c]).sum();
        }
    }
    y
}

fn complex(re: &[f32]) -> Vec<Complex64> {
    re.iter().map(|x| Complex64::new(f64::from(*x), 0.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_linear_transform_is_a_matrix_product(
        log_dim in 0_u32..7, rows in 1_usize..64, cols in 1_usize..64, seed: u64, log_babies in 0_u32..7,
    ) {
        let dim = 1 << log_dim;
        let (rows, cols) = (1 + rows % dim, 1 + cols % dim);
        let mut numbers = Numbers(seed);
        let (re, im) = (numbers.f32s(rows * cols, 1.0), numbers.f32s(rows * cols, 1.0));
        let w: Vec<Complex64> =
            re.iter().zip(&im).map(|(re, im)| Complex64::new(f64::from(*re), f64::from(*im))).collect();
        let matrix = Matrix::complex(rows, cols, re, im).unwrap();
        let transform = TokenTransform::new(SLOTS, dim, vec![matrix]).unwrap();
        let transform = transform.with_baby_steps(1 << log_babies.min(log_dim)).unwrap();
        let x = numbers.complex(SLOTS, 1.0);
        let y = eval_plain(&transform, std::slice::from_ref(&x));
        prop_assert!(largest_error(&y, &matmul(&x, &w, rows, cols, dim)) < 1e-9);
        prop_assert_eq!(transform.depth().unwrap(), 1);
        prop_assert!(transform.plaintext_products().unwrap() < rows + cols);
    }

    #[test]
    fn a_chebyshev_series_has_its_value_at_the_least_depth(degree in 1_usize..32, seed: u64) {
        let mut numbers = Numbers(seed);
        let mut coefficients: Vec<f64> = numbers.f32s(degree + 1, 1.0).into_iter().map(f64::from).collect();
        coefficients[degree] = 1.0;
        let series = ChebyshevSeries::new(1 << 8, coefficients.clone()).unwrap();
        prop_assert_eq!(series.depth().unwrap(), (degree + 1).next_power_of_two().ilog2() as usize);
        let x = numbers.reals(1 << 8, 1.0);
        let direct = |t: f64| -> f64 { coefficients.iter().enumerate().map(|(k, c)| c * (k as f64 * t.acos()).cos()).sum() };
        let expected: Vec<Complex64> = x.iter().map(|x| Complex64::new(direct(x.re), 0.0)).collect();
        prop_assert!((series.evaluate(0.3) - direct(0.3)).abs() < 1e-9);
        // Coefficients pass through f32.
        let y = eval_at_any_depth(&series, &x);
        prop_assert!(largest_error(&y, &expected) < 1e-5, "{}", largest_error(&y, &expected));
    }
}

/// Plain evaluation on a toy ring that is deep enough for anything.
fn eval_at_any_depth(circuit: &impl Circuit, x: &[Complex64]) -> Vec<Complex64> {
    let log_n = circuit.slots().ilog2() + 1;
    let params = common::toy_params_INSECURE(log_n, circuit.depth().unwrap());
    let plan = he_ops::graph::compile_for(&common::graph_of(circuit), circuit.name(), &params).unwrap();
    common::run_plain(&plan, &[("x0", x.to_vec())])
        .remove("result")
        .unwrap()
}

#[test]
fn a_full_matrix_costs_what_the_docs_say() {
    let mut numbers = Numbers(1);
    let matrix = |numbers: &mut Numbers| Matrix::real(64, 64, numbers.f32s(64 * 64, 1.0)).unwrap();
    let one = TokenTransform::new(SLOTS, 64, vec![matrix(&mut numbers)]).unwrap();
    let profile = one.profile().unwrap();
    assert_eq!(
        (
            profile.depth,
            profile.counts.key_switches,
            profile.counts.plain_products
        ),
        (1, 15 + 7, 127)
    );
    assert_eq!(one.rotations().unwrap(), BTreeSet::from([-16, 1, 2, 4, 8, 16]));
    // Two inputs share the giant steps.
    let two = TokenTransform::new(SLOTS, 64, vec![matrix(&mut numbers), matrix(&mut numbers)]).unwrap();
    assert_eq!(two.profile().unwrap().counts.key_switches, 2 * 15 + 7);
}

#[test]
fn diagonals_of_zeros_cost_nothing() {
    let mut identity = vec![0.0; 16 * 16];
    (0..16).for_each(|i| identity[i * 17] = 1.0);
    let transform = TokenTransform::new(SLOTS, 16, vec![Matrix::real(16, 16, identity).unwrap()]).unwrap();
    let profile = transform.profile().unwrap();
    assert_eq!(
        (profile.counts.key_switches, profile.counts.plain_products),
        (0, 1)
    );
    let zero = TokenTransform::new(SLOTS, 16, vec![Matrix::real(2, 3, vec![0.0; 6]).unwrap()]).unwrap();
    let y = eval_plain(&zero, &[Numbers(2).complex(SLOTS, 1.0)]);
    assert_eq!(largest_error(&y, &vec![Complex64::ZERO; SLOTS]), 0.0);
}

#[test]
fn interpolation_approximates_a_function() {
    let gelu = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x * x * x)).tanh());
    let series = ChebyshevSeries::interpolate(1 << 12, gelu, -4.0, 4.0, 27).unwrap();
    for i in 0..=100 {
        let x = -4.0 + 0.08 * f64::from(i);
        assert!((series.evaluate(ChebyshevSeries::normalize(x, -4.0, 4.0)) - gelu(x)).abs() < 2e-4);
    }
    // An even function needs even powers only.
    let even = ChebyshevSeries::new(1 << 12, vec![0.5, 0.0, 0.3, 0.0, 0.2, 0.0, 0.0, 0.0, 0.1]).unwrap();
    assert!(even.profile().unwrap().counts.products <= 3);
}

#[test]
fn the_reciprocal_is_within_its_bound() {
    for (doublings, kappa) in [(2, 5.0), (3, 20.0), (4, 60.0)] {
        let ranges = vec![(0.3, 0.3 * kappa), (1.0, kappa), (0.1, 0.7 * kappa), (2.0, 2.05)];
        let reciprocal = Reciprocal::new(SLOTS, ranges.clone(), doublings).unwrap();
        let profile = reciprocal.profile().unwrap();
        assert_eq!(profile.depth, doublings as usize);
        assert_eq!(profile.counts.products, 2 * (doublings as usize - 1));
        let mut numbers = Numbers(3);
        let x: Vec<f64> = (0..SLOTS)
            .map(|j| {
                let (lo, hi) = ranges[j % 4];
                lo + (hi - lo) * 0.5 * (1.0 + numbers.next())
            })
            .collect();
        let t = x
            .iter()
            .enumerate()
            .map(|(j, x)| reciprocal.input_shift(j) - reciprocal.input_scale(j) * x);
        let y = eval_plain(&reciprocal, &[t.map(|t| Complex64::new(t, 0.0)).collect()]);
        for (j, (x, y)) in x.iter().zip(&y).enumerate() {
            // However narrow the interval: nothing runs out of the modulus.
            let (lo, hi) = ranges[j % 4];
            let largest = (1.0 + (lo / hi).sqrt()).powi(2) / (4.0 * lo / hi);
            assert!(y.re > 0.0 && y.re < 1.001 * largest, "{} of {largest}", y.re);
            let y = y.re * reciprocal.gain(j);
            assert!(
                (x * y - 1.0).abs() <= reciprocal.error_bound() * 1.001 + 1e-6,
                "{x} * {y}"
            );
            assert!((reciprocal.evaluate(j, *x) / y - 1.0).abs() < 1e-5);
        }
    }
}

/// The formula of PowerSoftmax, one query and head at a time, with the reciprocal polynomial in the middle.
#[expect(clippy::too_many_arguments)]
fn attention_direct(
    layout: TokenLayout,
    heads: usize,
    power: i32,
    epsilon: f64,
    shift: &[f64],
    reciprocal: &Reciprocal,
    q: &[f64],
    k: &[f64],
    v: &[f64],
) -> Vec<f64> {
    let TokenLayout { tokens, dim, .. } = layout;
    let head_dim = dim / heads;
    let mut o = vec![0.0; tokens * dim];
    for t in 0..tokens {
        for (h, shift) in shift.iter().enumerate() {
            let of = |m: usize| m * dim + h * head_dim;
            let score = |m: usize| (0..head_dim).map(|a| q[of(t) + a] * k[of(m) + a]).sum::<f64>();
            let w: Vec<f64> = (0..tokens)
                .map(|m| (score(m) / (head_dim as f64).sqrt() + shift).powi(power))
                .collect();
            let denominator = w.iter().sum::<f64>() / tokens as f64 + epsilon;
            for a in 0..head_dim {
                let numerator: f64 = (0..tokens).map(|m| w[m] * v[of(m) + a]).sum::<f64>() / tokens as f64;
                o[of(t) + a] = numerator * reciprocal.evaluate(h * head_dim, denominator);
            }
        }
    }
    o
}

fn check_attention(layout: TokenLayout, heads: usize, power: u32, doublings: u32) {
    let TokenLayout { tokens, dim, .. } = layout;
    let shift: Vec<f64> = (0..heads).map(|h| 0.6 + 0.1 * h as f64).collect();
    let ranges: Vec<(f64, f64)> = (0..heads).map(|h| (0.02, 2.0 + h as f64)).collect();
    let attention =
        PowerSoftmaxAttention::new(layout, power, 0.01, shift.clone(), ranges, doublings).unwrap();
    let mut numbers = Numbers(11);
    let mut part = || (0..tokens * dim).map(|_| numbers.next()).collect::<Vec<f64>>();
    let (q, k, v) = (part(), part(), part());
    // Queries repeat in every copy; keys and values stand as a staircase.
    let pack = |x: &[f64], stairs: usize| -> Vec<Complex64> {
        let mut out = vec![Complex64::ZERO; layout.slots];
        for copy in 0..layout.copies() {
            for t in 0..tokens {
                for f in 0..dim {
                    out[layout.slot(copy, t, f)] =
                        Complex64::new(x[((t + stairs * copy) % tokens) * dim + f], 0.0);
                }
            }
        }
        out
    };
    let stairs = attention.shifts();
    let y = eval_plain(&attention, &[pack(&q, 0), pack(&k, stairs), pack(&v, stairs)]);
    let o = attention_direct(
        layout,
        heads,
        power as i32,
        0.01,
        &shift,
        attention.reciprocal(),
        &q,
        &k,
        &v,
    );
    let head_dim = dim / heads;
    let result: Vec<Complex64> = y
        .iter()
        .enumerate()
        .map(|(j, y)| y * attention.gain(j % dim / head_dim))
        .collect();
    let expected = pack(&o, 0);
    assert!(
        largest_error(&result, &expected) < 1e-5,
        "{}",
        largest_error(&result, &expected)
    );
    let depth = 3 + power.ilog2() as usize + doublings as usize;
    assert_eq!(attention.depth().unwrap(), depth);
}

#[test]
fn attention_is_the_power_softmax_formula() {
    check_attention(TokenLayout::new(SLOTS, 32, 64).unwrap(), 4, 2, 3);
    check_attention(TokenLayout::new(SLOTS, 32, 32).unwrap(), 2, 2, 2);
    check_attention(TokenLayout::new(SLOTS, 64, 64).unwrap(), 8, 4, 3);
    // One row for each copy and key: no score is packed.
    check_attention(TokenLayout::new(SLOTS, 32, 16).unwrap(), 1, 2, 2);
}

#[test]
fn attention_costs_what_the_docs_say() {
    let layout = TokenLayout::new(SLOTS, 32, 64).unwrap();
    let attention =
        PowerSoftmaxAttention::new(layout, 2, 0.01, vec![0.5; 4], vec![(0.1, 2.0); 4], 3).unwrap();
    let profile = attention.profile().unwrap();
    // Rotations of k and v, sums and copies in two packed pairs, two conjugations, sums over 8 copies.
    let rotations = 2 * 3 + 2 * (4 + 4) + 2 + 2 * 3;
    // Two packed pairs, four powers, the numerator, the reciprocal, the result.
    let relinearizations = 2 + 4 + 1 + 4 + 1;
    assert_eq!(profile.counts.key_switches, rotations + relinearizations);
    assert_eq!(profile.counts.products, 4 + 4 + 4 + 4 + 1);
}

#[test]
fn the_feed_forward_squares_what_the_matrix_gives() {
    let mut numbers = Numbers(5);
    let w = numbers.f32s(32 * 32, 0.3);
    let up = TokenTransform::new(SLOTS, 32, vec![Matrix::real(32, 32, w.clone()).unwrap()]).unwrap();
    let circuit = FeedForward::new(up, Pattern::constant(1.25).unwrap());
    let x = numbers.reals(SLOTS, 1.0);
    let square = |pre: Complex64| Complex64::new((pre.re + 1.25).powi(2), 0.0);
    let products = matmul(&x, &complex(&w), 32, 32, 32);
    let expected: Vec<Complex64> = products.into_iter().map(square).collect();
    let error = largest_error(&eval_plain(&circuit, &[x]), &expected);
    assert!(error < 1e-6, "{error}");
    assert_eq!(circuit.depth().unwrap(), 2);
}

#[test]
fn the_head_sums_a_pair_of_labels_in_every_slot() {
    let layout = TokenLayout::new(SLOTS, 32, 64).unwrap();
    let mut numbers = Numbers(6);
    for (labels, period) in [(1, 1), (2, 1), (3, 2), (10, 8)] {
        let rows = numbers.f32s(labels * 64, 0.1);
        let bias: Vec<f32> = (0..labels).map(|label| 0.25 * label as f32).collect();
        let weights = Matrix::real(labels, 64, rows.clone()).unwrap();
        let head = Head::new(layout, vec![weights], bias.clone()).unwrap();
        let one = numbers.reals(32 * 64, 1.0);
        let x: Vec<Complex64> = one.iter().copied().cycle().take(SLOTS).collect();
        let logit = |label: usize| -> f64 {
            let Some(row) = rows.chunks(64).nth(label) else {
                return 0.0;
            };
            let products = one
                .iter()
                .zip(row.iter().cycle())
                .map(|(x, w)| x.re * f64::from(*w));
            products.sum::<f64>() + f64::from(bias[label])
        };
        let pair = |slot: usize| Complex64::new(logit(2 * (slot % period)), logit(2 * (slot % period) + 1));
        let pairs: Vec<Complex64> = (0..period).map(pair).collect();
        let expected: Vec<Complex64> = pairs.into_iter().cycle().take(SLOTS).collect();
        assert!(largest_error(&eval_plain(&head, &[x]), &expected) < 1e-9);
        let rotations = period - 1 + (32 * 64 / period).ilog2() as usize;
        assert_eq!(
            (head.depth().unwrap(), head.profile().unwrap().counts.key_switches),
            (1, rotations)
        );
    }
    let weights = Matrix::real(3, 64, vec![0.0; 192]).unwrap();
    assert!(Head::new(layout, vec![weights], vec![0.0; 2]).is_err());
    assert!(Head::new(layout, vec![], vec![0.0; 2]).is_err());
}

#[test]
fn a_plan_of_a_circuit_has_the_profile_that_the_circuit_told() {
    let layout = TokenLayout::new(SLOTS, 32, 64).unwrap();
    let attention =
        PowerSoftmaxAttention::new(layout, 2, 0.01, vec![0.5; 4], vec![(0.1, 2.0); 4], 3).unwrap();
    let (profile, plan) = (attention.profile().unwrap(), plan_of(&attention));
    let summary = plan.summary().unwrap();
    assert_eq!(summary.depth, profile.depth);
    assert_eq!(summary.key_switches, profile.counts.key_switches);
    assert_eq!(summary.ciphertext_products, profile.counts.products);
    let keys = plan
        .step_keys
        .keys()
        .filter(|key| matches!(key, KeyUse::Rotation(_)));
    assert!(
        keys.copied()
            .eq(profile.rotations.into_iter().map(KeyUse::Rotation))
    );
}
