//! The polynomials of a fit against the functions that they stand for, on whole models.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use models::transformer::{Fit, Mode, TransformerConfig, forward, shape, synthetic};

fn largest_error(config: &TransformerConfig, seed: u64, inputs: usize) -> f64 {
    let start = std::time::Instant::now();
    let (config, weights) = synthetic::calibrated(config, seed).unwrap();
    println!("calibrated in {:?}", start.elapsed());
    let (_, report) = Fit::calibrate(&config, &weights, &synthetic::inputs(&config, 2, 99)).unwrap();
    println!("{report}");
    let mut worst: f64 = 0.0;
    for x in synthetic::inputs(&config, inputs, seed + 1000) {
        let start = std::time::Instant::now();
        let exact = forward(&config, &weights, &x, Mode::Exact).unwrap();
        println!("forward {:?}", start.elapsed());
        let found = forward(&config, &weights, &x, Mode::Polynomial).unwrap();
        println!("{:?}", exact.layers[0]);
        println!("{:?}", &exact.output[..2]);
        for (a, b) in exact.output.iter().zip(&found.output) {
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

#[test]
fn explore() {
    for name in std::env::var("SHAPES").unwrap().split(',') {
        let config = shape(name).unwrap();
        println!("{name}: {:e}", largest_error(&config, 1, 1));
    }
}
