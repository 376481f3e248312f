//! The polynomials of a fit against the functions that they stand for, alone and in whole models.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use he_ops::circuits::ChebyshevSeries;
use models::model::{ActivationFit, Fit, LayerFit, Mode, NormFit, TransformerConfig, forward, gelu, shape};
use models::synthetic;

const SLOTS: usize = 1 << 10;

/// Largest difference of the polynomial and the exact output over fresh inputs, which must stay in all ranges.
fn largest_error(config: &TransformerConfig, seed: u64, inputs: usize) -> f64 {
    let (config, weights) = synthetic::calibrated(config, seed).unwrap();
    let fit = config.fit.as_ref().unwrap();
    let mut worst: f64 = 0.0;
    for x in synthetic::inputs(&config, inputs, seed + 1000) {
        let exact = forward(&config, &weights, &x, Mode::Exact).unwrap();
        let found = forward(&config, &weights, &x, Mode::Polynomial).unwrap();
        for (seen, fit) in exact.ranges.layers.iter().zip(&fit.layers) {
            assert!(seen.up_max < fit.up_max && seen.residual2_max < fit.residual2_max);
            for ([lo, hi], [fit_lo, fit_hi]) in seen.denominator.iter().zip(&fit.denominator) {
                assert!(fit_lo < lo && hi < fit_hi, "{seen:?}, {fit:?}");
            }
        }
        for (a, b) in exact.output.iter().zip(&found.output) {
            assert!(b.is_finite());
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

fn is_cheap_and_precise(name: &str, seed: u64, inputs: usize) {
    let config = shape(name).unwrap();
    let (fitted, _) = synthetic::calibrated(&config, seed).unwrap();
    for layer in &fitted.fit.unwrap().layers {
        assert!(layer.reciprocal_doublings <= 4, "{layer:?}");
        assert!(layer.norm1.degree <= 15 && layer.norm2.degree <= 15, "{layer:?}");
        assert!(layer.activation.degree <= 31, "{layer:?}");
        for max in &layer.score_max {
            assert!((1.5..1.5 * 3.0).contains(max), "{layer:?}");
        }
    }
    let error = largest_error(&config, seed, inputs);
    assert!(error < (-9_f64).exp2(), "{name}: {error}");
    assert!(error > 0.0);
}

#[test]
fn bert_tiny_is_cheap_and_precise() {
    for seed in [0, 1, 2, 7] {
        is_cheap_and_precise("bert-tiny", seed, 6);
    }
}

#[test]
fn minilm_is_cheap_and_precise() {
    is_cheap_and_precise("minilm-l6", 1, 2);
}

#[test]
fn a_decoder_follows_its_exact_forward() {
    let mut config = shape("pythia-70m").unwrap();
    (config.n_layers, config.dim, config.hidden_dim) = (3, 96, 200);
    let error = largest_error(&config, 1, 4);
    assert!(error < (-8_f64).exp2(), "{error}");
}

#[test]
fn report_tells_what_was_chosen_and_what_it_is_worth() {
    let mut config = shape("bert-tiny").unwrap();
    config.seq_len = 16;
    let weights = synthetic::model(&config, 4).unwrap();
    let inputs = synthetic::inputs(&config, 3, 9);
    let (fit, report) = Fit::calibrate(&config, &weights, &inputs).unwrap();
    assert_eq!(report.rows.len(), 2 * 4);
    assert_eq!(report.missed().count(), 0);
    for row in &report.rows {
        assert!(row.error <= report.target, "{report}");
        assert!(row.error_outside > row.error, "{report}");
        assert_eq!(row.degree + 1, 1 << row.depth);
    }
    assert_eq!(report.depth("1/denominator"), {
        let doublings = fit.layers.iter().map(|layer| layer.reciprocal_doublings);
        doublings.max().unwrap()
    });
    let table = report.to_string();
    assert_eq!(table.lines().count(), 2 + 8);
    assert!(
        table.contains("1/denominator") && table.contains("gelu"),
        "{table}"
    );

    // one depth less would not do
    let coarse = TransformerConfig {
        precision_bits: 4,
        ..config.clone()
    };
    let (cheap, _) = Fit::calibrate(&coarse, &weights, &inputs).unwrap();
    assert!(cheap.layers[0].activation.degree < fit.layers[0].activation.degree);
    // a wider margin costs degree, never range
    config.margin = 3.0;
    let (wide, _) = Fit::calibrate(&config, &weights, &inputs).unwrap();
    assert!(wide.layers[0].reciprocal_doublings >= fit.layers[0].reciprocal_doublings);
    let ratio = wide.layers[0].up_max / fit.layers[0].up_max;
    assert!((ratio - 2.0).abs() < 1e-12);
}

#[test]
fn hopeless_ranges_are_reported() {
    let mut config = shape("bert-tiny").unwrap();
    (config.seq_len, config.margin) = (8, 16.0);
    let weights = synthetic::model(&config, 4).unwrap();
    let (fit, report) = Fit::calibrate(&config, &weights, &synthetic::inputs(&config, 1, 0)).unwrap();
    assert!(report.missed().count() > 0, "{report}");
    assert!(report.to_string().contains("missed"));
    assert!(fit.layers.iter().all(|layer| layer.reciprocal_doublings <= 7));
    // what every denominator has as a summand is its least value, whatever the margin
    let least =
        |layer: &LayerFit| (layer.denominator.iter()).fold(f64::INFINITY, |least, [lo, _]| least.min(*lo));
    assert!(
        fit.layers
            .iter()
            .all(|layer| least(layer) >= config.attention.epsilon)
    );
}

#[test]
fn gelu_is_half_the_identity_and_an_even_part() {
    for (range, degree, bound) in [(6.0, 31, 1e-5), (9.0, 31, 1e-3), (4.0, 15, 1e-3)] {
        let series = ActivationFit { range, degree }.gelu(SLOTS).unwrap();
        assert_eq!(series.degree(), degree as usize - 1);
        for i in -100..=100 {
            let t = f64::from(i) / 100.0;
            assert!(
                (series.evaluate(t) - gelu(range * t)).abs() < bound,
                "{range} {t}"
            );
            let odd = 0.5 * (series.evaluate(t) - series.evaluate(-t));
            assert!((odd - 0.5 * range * t).abs() < 1e-13);
        }
    }
    assert!(
        ActivationFit {
            range: 6.0,
            degree: 0
        }
        .gelu(SLOTS)
        .is_err()
    );
}

#[test]
fn inverse_roots_are_of_the_order_of_one() {
    let fit = NormFit {
        variance: [0.02, 0.2],
        degree: 15,
    };
    let series = fit.inverse_sqrt(SLOTS).unwrap();
    for i in 0..=100 {
        let x = 0.02 * 10_f64.powf(f64::from(i) / 100.0);
        let value = series.evaluate(ChebyshevSeries::normalize(x, 0.02, 0.2));
        assert!((0.3..1.001).contains(&value));
        assert!((fit.gain() * value * x.sqrt() - 1.0).abs() < 1e-4);
    }
    assert!(NormFit::UNUSED.inverse_sqrt(SLOTS).is_err());
}

#[test]
fn reciprocals_have_the_range_of_their_head() {
    let mut config = shape("minilm-l6").unwrap();
    config.n_heads = 3;
    let mut layer = Fit::assumed(&config).unwrap().layers.remove(0);
    layer.denominator = vec![[0.5, 2.0], [1.0, 9.0], [0.1, 1.0]];
    layer.reciprocal_doublings = 5;
    let reciprocal = layer.reciprocal(SLOTS, 3).unwrap();
    assert_eq!(reciprocal.period(), 4);
    for (head, [lo, hi]) in layer.denominator.iter().enumerate() {
        for x in [*lo, 0.5 * (lo + hi), *hi] {
            let error = x * reciprocal.evaluate(head, x) - 1.0;
            assert!(error.abs() <= reciprocal.error_bound() * 1.000_001);
        }
    }
    assert_eq!(reciprocal.evaluate(3, 0.4), reciprocal.evaluate(2, 0.4));
}
