//! The transformers of the zoo against PyTorch, in f64: tokenizer, embeddings, both forward passes, and the fit.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use models::answer::label;
use models::model::Mode;
use models::model::{Fit, Ranges, TransformerConfig};
use models::{Bundle, Head, ModelDir};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: Option<String>,
    #[serde(default)]
    input_ids: Vec<u32>,
    #[serde(default)]
    pixels: Vec<u8>,
    /// Of a language model: the token whose successor the logits are.
    #[serde(default)]
    position: usize,
    logits_exact_division: Vec<f64>,
    logits_polynomial: Vec<f64>,
}

fn follows_pytorch(id: &str) {
    let dir = ModelDir::open(format!("{}/{id}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (bundle, model) = (Bundle::open(&dir).unwrap(), dir.model().unwrap());
    let read = |file: &str| std::fs::read(dir.path().join(file)).unwrap();
    let golden: Golden = serde_json::from_slice(&read("golden.json")).unwrap();
    assert!(golden.cases.len() >= 8);
    for case in &golden.cases {
        let x = match &case.text {
            Some(text) => {
                let embedded = bundle.embed(text).unwrap();
                assert_eq!(embedded.ids, case.input_ids, "{text:?}");
                embedded.x
            }
            None => bundle.embed_image(&case.pixels).unwrap().x,
        };
        for (mode, expected) in [
            (Mode::Exact, &case.logits_exact_division),
            (Mode::Polynomial, &case.logits_polynomial),
        ] {
            let all = model.forward(&x, mode).unwrap();
            let positions = if dir.head() == Head::NextToken {
                bundle.config().seq_len
            } else {
                1
            };
            assert_eq!(all.len(), positions * expected.len());
            let found = &all[case.position * expected.len()..][..expected.len()];
            assert_eq!(label(found), label(expected));
            for (a, b) in found.iter().zip(expected) {
                assert!(
                    (a - b).abs() <= 1e-4 * b.abs().max(1.0),
                    "{id} {mode:?}: {a}, {b} expected"
                );
            }
        }
    }

    // the degrees and margins of the training are those that this side would choose
    let config = TransformerConfig::from_json(&read("config.json")).unwrap();
    let ranges: Ranges = serde_json::from_slice(&read("ranges.json")).unwrap();
    let (fit, report) = Fit::from_ranges(&config, &ranges).unwrap();
    let trained = config.fit.unwrap();
    assert_eq!(report.missed().count(), 0, "{report}");
    for (own, theirs) in fit.layers.iter().zip(&trained.layers) {
        assert_eq!(own.reciprocal_doublings, theirs.reciprocal_doublings);
        for (a, b) in own
            .denominator
            .iter()
            .flatten()
            .zip(theirs.denominator.iter().flatten())
        {
            assert!((a - b).abs() <= 1e-6 * b.abs());
        }
        for [lo, hi] in &theirs.denominator {
            assert!(hi / lo <= 100.0, "{id}: condition number {}", hi / lo);
        }
    }
}

#[test]
fn r8_follows_pytorch() {
    follows_pytorch("r8");
}

#[test]
fn spam_follows_pytorch() {
    follows_pytorch("spam");
}

#[test]
fn fashion_follows_pytorch() {
    follows_pytorch("fashion");
}

#[test]
fn bible_follows_pytorch() {
    follows_pytorch("bible");
}
