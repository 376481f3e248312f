#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]
use benches::workloads::{Op, Ring, Shape};
use std::time::Instant;
fn faults() -> u64 {
    let s = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let s = s.rsplit(')').next().unwrap();
    s.split_whitespace().nth(7).unwrap().parse().unwrap()
}
fn main() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let ring = Ring::new(Shape {
            log_n: 16,
            levels: 25,
            log_scale: 50,
        })
        .unwrap();
        let names: Vec<String> = std::env::args().skip(1).collect();
        for op in Op::ALL {
            if !names.iter().any(|n| n == op.name()) {
                continue;
            }
            let mut w = op.prepare(&ring).unwrap();
            w.run().unwrap();
            for _ in 0..std::env::var("R").map_or(4, |r| r.parse().unwrap()) {
                let f = faults();
                let t = Instant::now();
                w.run().unwrap();
                println!("{} {:?} faults {}", op.name(), t.elapsed(), faults() - f);
            }
        }
    });
}
