//! The shipped sentence encoder against PyTorch, in f64: tokenizer, repetition, embeddings, and what its polynomials cost.
//!
//! `golden.json` is written by `models/training/minilm/export.py` together with the weights.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use models::model::Mode;
use models::{Bundle, Head, ModelDir};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    input_ids: Vec<u32>,
    embedding: Vec<f64>,
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn embeddings_are_those_of_pytorch() {
    let dir = ModelDir::open(concat!(env!("CARGO_MANIFEST_DIR"), "/minilm")).unwrap();
    assert_eq!(dir.head(), Head::Embedding);
    let (bundle, model) = (Bundle::open(&dir).unwrap(), dir.model().unwrap());
    let golden: Golden =
        serde_json::from_slice(&std::fs::read(dir.path().join("golden.json")).unwrap()).unwrap();
    assert!(golden.cases.len() >= 5);
    // Odd texts among them: nothing, code, and more than the model takes.
    for case in &golden.cases {
        let embedded = bundle.embed(&case.text).unwrap();
        assert_eq!(embedded.ids, case.input_ids, "{:?}", case.text);
        let exact = model.forward(&embedded.x, Mode::Exact).unwrap();
        let off = 1.0 - cosine(&exact, &case.embedding);
        assert!(off < 1e-8, "{:?}: 1 - cosine {off}", case.text);
        let polynomial = model.forward(&embedded.x, Mode::Polynomial).unwrap();
        let close = cosine(&polynomial, &exact);
        assert!(close > 0.995, "{:?}: cosine {close}", case.text);
    }
}
