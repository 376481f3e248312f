//! The shipped sentiment model against PyTorch, in f64: tokenizer, embeddings and both forward passes.
//!
//! `golden.json` is written by the training script together with the weights, so the numbers follow the model.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use models::answer::label;
use models::model::Mode;
use models::{Bundle, ModelDir};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    input_ids: Vec<u32>,
    logits_exact_division: Vec<f64>,
    logits_polynomial: Vec<f64>,
}

fn sentiment() -> ModelDir {
    ModelDir::open(concat!(env!("CARGO_MANIFEST_DIR"), "/sentiment")).unwrap()
}

#[test]
fn tokens_and_logits_are_those_of_pytorch() {
    let dir = sentiment();
    let (bundle, model) = (Bundle::open(&dir).unwrap(), dir.model().unwrap());
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(dir.path().join("golden.json")).unwrap()).unwrap();
    assert!(golden.cases.len() >= 10);
    let mut cut = 0;
    for case in &golden.cases {
        let embedded = bundle.embed(&case.text).unwrap();
        assert_eq!(embedded.ids, case.input_ids, "{:?}", case.text);
        cut += usize::from(embedded.truncated);
        for (mode, expected) in [
            (Mode::Exact, &case.logits_exact_division),
            (Mode::Polynomial, &case.logits_polynomial),
        ] {
            let found = model.forward(&embedded.x, mode).unwrap();
            for (a, b) in found.iter().zip(expected) {
                assert!(
                    (a - b).abs() < 1e-9,
                    "{:?} {mode:?}: {found:?}, {expected:?} expected",
                    case.text
                );
            }
        }
    }
    assert!(cut > 0, "no golden case is longer than the model takes");
}

/// The whole test split: the accuracies are those that PyTorch had, and the polynomial follows the division.
#[test]
fn accuracies_are_those_of_the_model_card() {
    let dir = sentiment();
    let (bundle, model) = (Bundle::open(&dir).unwrap(), dir.model().unwrap());
    let rows = models::bundle::split::read(&dir.path().join(models::bundle::split::FILE)).unwrap();
    let (mut agree, mut by_division, mut by_polynomial) = (0, 0, 0);
    for row in &rows {
        let x = bundle.embed(&row.text).unwrap().x;
        let [exact, polynomial] =
            [Mode::Exact, Mode::Polynomial].map(|mode| label(&model.forward(&x, mode).unwrap()));
        agree += usize::from(exact == polynomial);
        by_division += usize::from(exact == row.label);
        by_polynomial += usize::from(polynomial == row.label);
    }
    let results: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("results.json")).unwrap()).unwrap();
    let exported = &results["exported"];
    for (found, expected) in [
        (by_division, &results["evaluated"]["clear"]["exact"]["accuracy"]),
        (by_polynomial, &exported["test"]),
        (agree, &exported["agreement_with_division"]),
    ] {
        // a sentence on the fence may fall on either side in another order of summation
        let expected = expected.as_f64().unwrap() * rows.len() as f64;
        assert!(
            (found as f64 - expected).abs() < 2.5,
            "{found} sentences, {expected} in results.json"
        );
    }
}
