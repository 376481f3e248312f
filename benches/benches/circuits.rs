//! Whole circuits.

#![forbid(unsafe_code)]

mod common;

use benches::workloads::Op;
use criterion::{Criterion, criterion_group, criterion_main};

fn run(c: &mut Criterion) {
    common::bench(
        c,
        &[
            Op::LinearTransform,
            Op::Chebyshev,
            Op::PowerSoftmax,
            Op::Bootstrap,
            Op::BootstrapSparse,
        ],
    );
}

criterion_group!(all, run);
criterion_main!(all);
