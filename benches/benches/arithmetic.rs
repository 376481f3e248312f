//! Transforms and base conversion.

#![forbid(unsafe_code)]

mod common;

use benches::workloads::Op;
use criterion::{Criterion, criterion_group, criterion_main};

fn run(c: &mut Criterion) {
    common::bench(c, &[Op::NttForward, Op::NttInverse, Op::BaseConversion]);
}

criterion_group!(all, run);
criterion_main!(all);
