//! Polynomial transformers: files, refusals, and what their forward pass must satisfy.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use models::Error;
use models::model::{
    Activation, Fit, Head, Mask, Mode, NormKind, Pool, Position, TransformerConfig, TransformerWeights,
    Weight, forward, shape,
};
use models::synthetic;

/// A small shape with odd sizes.
fn small() -> TransformerConfig {
    let mut config = shape("bert-tiny").unwrap();
    config.dim = 18;
    config.n_heads = 3;
    config.hidden_dim = 25;
    config.seq_len = 7;
    config.vocab_size = 50;
    config
}

/// One of every kind of position, mask, norm, activation and head.
fn variants() -> Vec<TransformerConfig> {
    let mut all = Vec::new();
    let kinds = [
        NormKind::LayerNorm,
        NormKind::RmsNorm,
        NormKind::BatchNorm,
        NormKind::None,
    ];
    let activations = [
        Activation::Gelu,
        Activation::Quadratic,
        Activation::Polynomial {
            coefficients: vec![0.1, 0.5, 0.3, 0.0, -0.01],
        },
        Activation::Chebyshev {
            range: [-8.0, 8.0],
            coefficients: vec![2.0, 4.0, 1.5],
        },
    ];
    let heads = [
        Head::Classification {
            num_labels: 2,
            pool: Pool::Cls,
        },
        Head::Embedding,
        Head::NextToken { vocab: 11 },
        Head::Classification {
            num_labels: 2,
            pool: Pool::Mean,
        },
    ];
    for (n, ((kind, activation), head)) in kinds.into_iter().zip(activations).zip(heads).enumerate() {
        for norm_position in [Position::Post, Position::Pre] {
            for mask in [Mask::None, Mask::Causal] {
                let mut config = small();
                config.norm.kind = kind;
                config.activation = activation.clone();
                config.head = head.clone();
                config.norm_position = norm_position;
                config.attention.mask = mask;
                config.attention.visible_mean = n % 2 == 0;
                config.attention.power = [2, 4, 6, 8][n];
                all.push(config);
            }
        }
    }
    all
}

fn close(a: &[f64], b: &[f64], error: f64) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= error, "{a} and {b} differ by more than {error}");
    }
}

#[test]
fn every_kind_survives_its_files_and_can_be_evaluated() {
    for config in variants() {
        let (config, weights) = synthetic::calibrated(&config, 5).unwrap();
        let json = config.to_json().unwrap();
        assert_eq!(TransformerConfig::from_json(&json).unwrap(), config);
        let file = weights.to_safetensors(&config).unwrap();
        assert_eq!(TransformerWeights::load(&config, &file).unwrap(), weights);
        assert_eq!(
            weights.parameters(),
            TransformerWeights::shape_only(&config).parameters()
        );

        let x = &synthetic::inputs(&config, 1, 77)[0];
        let exact = forward(&config, &weights, x, Mode::Exact).unwrap();
        assert_eq!(
            exact.hidden[1].len(),
            config.seq_len * config.dim,
            "{:?}",
            config.norm
        );
        let outputs = match config.head {
            Head::NextToken { vocab } => config.seq_len * vocab,
            _ => config.outputs(),
        };
        assert_eq!(exact.output.len(), outputs);
        assert!(exact.output.iter().all(|y| y.is_finite()));
    }
}

#[test]
fn old_names_and_absent_biases_are_understood() {
    let config = small();
    let mut weights = synthetic::model(&config, 2).unwrap();
    for layer in &mut weights.layers {
        layer.shift = Vec::new();
        layer.query.bias = Vec::new();
    }
    let file = weights.to_safetensors(&config).unwrap();
    let loaded = TransformerWeights::load(&config, &file).unwrap();
    assert_eq!(loaded.layers[1].shift, [0.0; 3]);
    assert_eq!(loaded.layers[1].query.bias, [0.0; 18]);

    // what a missing tensor is called
    let mut deeper = config.clone();
    deeper.n_layers = 3;
    let error = TransformerWeights::load(&deeper, &file).unwrap_err().to_string();
    assert!(
        error.contains("encoder.layer.2.attention.self.query.weight"),
        "{error}"
    );
}

#[test]
fn short_json_has_defaults() {
    let json = r#"{
        "model_type": "polynomial_transformer", "hidden_size": 12, "num_hidden_layers": 3,
        "num_attention_heads": 4, "intermediate_size": 20, "max_position_embeddings": 9, "vocab_size": 30,
        "attention": {"power": 2, "epsilon": 0.01, "mask": "causal"},
        "norm": {"kind": "rms_norm", "epsilon": 1e-6},
        "activation": {"kind": "polynomial", "coefficients": [0.1, 0.5, 0.25]},
        "head": {"kind": "next_token", "vocab": 8}, "something_else": 1
    }"#;
    let config = TransformerConfig::from_json(json.as_bytes()).unwrap();
    assert_eq!(config.norm_position, Position::Post);
    assert_eq!(config.attention.mask, Mask::Causal);
    assert_eq!((config.attention.score_scale, config.margin), (1.0, 1.5));
    assert_eq!((config.precision_bits, config.head_dim()), (12, 3));
    assert!(config.fit.is_none());
}

#[test]
fn values_that_cannot_be_evaluated_are_refused_by_name() {
    type Change = fn(&mut TransformerConfig);
    let changes: [(&str, Change); 17] = [
        ("model_type", |c| c.model_type = "bert".into()),
        ("hidden_size", |c| c.dim = 0),
        ("num_hidden_layers", |c| c.n_layers = 0),
        ("num_attention_heads", |c| c.n_heads = 4),
        ("intermediate_size", |c| c.hidden_dim = 0),
        ("max_position_embeddings", |c| c.seq_len = 513),
        ("id2label", |c| c.id2label = [("0".into(), "a".into())].into()),
        ("attention.power", |c| c.attention.power = 3),
        ("attention.epsilon", |c| c.attention.epsilon = -1.0),
        ("attention.score_scale", |c| c.attention.score_scale = 0.0),
        ("norm.epsilon", |c| c.norm.epsilon = f64::NAN),
        ("activation.coefficients", |c| {
            c.activation = Activation::Polynomial {
                coefficients: vec![1.0, 0.0],
            };
        }),
        ("precision_bits", |c| c.precision_bits = 60),
        ("margin", |c| c.margin = 1.0),
        ("fit.layers", |c| c.n_layers = 3),
        ("fit.denominator", |c| {
            c.fit.as_mut().unwrap().layers[1].denominator[2] = [2.0, 1.0];
        }),
        ("fit.norm2", |c| {
            c.fit.as_mut().unwrap().layers[0].norm2.degree = 0;
        }),
    ];
    for (field, change) in changes {
        let mut config = small();
        config.fit = Some(Fit::assumed(&config).unwrap());
        config.check().unwrap();
        change(&mut config);
        match config.check() {
            Err(Error::Config { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn wrong_weights_and_inputs_are_refused() {
    let config = small();
    let mut weights = synthetic::model(&config, 1).unwrap();
    let x = vec![0.5; config.seq_len * config.dim];
    assert!(matches!(
        forward(&config, &weights, &x[1..], Mode::Exact),
        Err(Error::Length { .. })
    ));
    assert!(matches!(
        forward(&config, &weights, &x, Mode::Polynomial),
        Err(Error::Config { field: "fit", .. })
    ));
    assert!(matches!(
        Fit::calibrate(&config, &weights, &[]),
        Err(Error::Length { .. })
    ));
    let shapes = TransformerWeights::shape_only(&config);
    assert!(shapes.to_safetensors(&config).is_err());
    assert!(forward(&config, &shapes, &x, Mode::Exact).is_err());
    weights.layers[1].down.weight = Weight::Shape { rows: 18, cols: 24 };
    match forward(&config, &weights, &x, Mode::Exact) {
        Err(Error::TensorShape { tensor, .. }) => assert_eq!(tensor, "output.dense.weight"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_in_another_order_give_outputs_in_that_order() {
    let config = small();
    let weights = synthetic::model(&config, 3).unwrap();
    let x = synthetic::inputs(&config, 1, 0).remove(0);
    let reversed: Vec<f64> = x.chunks(config.dim).rev().flatten().copied().collect();
    let hidden = |x: &[f64]| {
        forward(&config, &weights, x, Mode::Exact)
            .unwrap()
            .hidden
            .remove(1)
    };
    let back: Vec<f64> = hidden(&reversed)
        .chunks(config.dim)
        .rev()
        .flatten()
        .copied()
        .collect();
    close(&hidden(&x), &back, 1e-12);
}

#[test]
fn a_causal_mask_does_not_look_ahead() {
    for visible_mean in [false, true] {
        let mut config = small();
        config.head = Head::NextToken { vocab: 5 };
        config.attention.mask = Mask::Causal;
        config.attention.visible_mean = visible_mean;
        let weights = synthetic::model(&config, 3).unwrap();
        let x = synthetic::inputs(&config, 1, 0).remove(0);
        let mut changed = x.clone();
        changed[4 * config.dim..].fill(0.25);
        let output = |x: &[f64]| forward(&config, &weights, x, Mode::Exact).unwrap().output;
        let (before, after) = (output(&x), output(&changed));
        assert_eq!(before[..4 * 5], after[..4 * 5]);
        assert_ne!(before[4 * 5..5 * 5], after[4 * 5..5 * 5]);
    }
}

#[test]
fn visible_means_change_nothing_but_the_denominators() {
    let mut config = small();
    config.attention.mask = Mask::Causal;
    config.attention.epsilon = 0.0;
    config.attention.visible_mean = true;
    let weights = synthetic::model(&config, 4).unwrap();
    let x = synthetic::inputs(&config, 1, 0).remove(0);
    let means = forward(&config, &weights, &x, Mode::Exact).unwrap();
    config.attention.visible_mean = false;
    let sums = forward(&config, &weights, &x, Mode::Exact).unwrap();
    close(&means.output, &sums.output, 1e-12);
    let condition = |[lo, hi]: [f64; 2]| hi / lo;
    let (of_means, of_sums) = (
        means.ranges.layers[0].denominator[0],
        sums.ranges.layers[0].denominator[0],
    );
    assert!(
        2.0 * condition(of_means) < condition(of_sums),
        "{of_means:?} {of_sums:?}"
    );
}

#[test]
fn one_layer_by_hand() {
    // one token, one head: attention is v, if epsilon is 0
    let mut config = small();
    (config.n_layers, config.seq_len, config.n_heads) = (1, 1, 1);
    config.attention.epsilon = 0.0;
    config.activation = Activation::Polynomial {
        coefficients: vec![0.0, 0.0, 1.0],
    };
    config.head = Head::Embedding;
    config.norm.kind = NormKind::RmsNorm;
    let weights = synthetic::model(&config, 1).unwrap();
    let layer = &weights.layers[0];
    let x = synthetic::inputs(&config, 1, 0).remove(0);
    let affine =
        |linear: &models::model::Linear, x: &[f64]| linear.weight.values().unwrap().affine(x, &linear.bias);
    let norm = |z: &[f64], gamma: &[f64]| -> Vec<f64> {
        let mean = z.iter().map(|z| z * z).sum::<f64>() / z.len() as f64 + config.norm.epsilon;
        z.iter()
            .zip(gamma)
            .map(|(z, gamma)| gamma * z / mean.sqrt())
            .collect()
    };
    let sum = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let attention = affine(&layer.output, &affine(&layer.value, &x));
    let n1 = norm(&sum(&x, &attention), &layer.norm1.gamma);
    let u: Vec<f64> = affine(&layer.up, &n1).iter().map(|u| u * u).collect();
    let expected = norm(&sum(&n1, &affine(&layer.down, &u)), &layer.norm2.gamma);
    let found = forward(&config, &weights, &x, Mode::Exact).unwrap();
    close(&found.output, &expected, 1e-12);
}
