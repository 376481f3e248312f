//! What a key switch carries, on one ciphertext.

#![forbid(unsafe_code)]

mod common;

use benches::workloads::Op;
use criterion::{Criterion, criterion_group, criterion_main};

fn run(c: &mut Criterion) {
    common::bench(
        c,
        &[
            Op::KeySwitch,
            Op::Multiply,
            Op::MultiplyPlain,
            Op::Rotate,
            Op::RotateHoisted,
        ],
    );
}

criterion_group!(all, run);
criterion_main!(all);
