//! Shared by the criterion benches: the workloads of `benches::workloads` at N = 2^14, 2^15 and 2^16.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use benches::workloads::{Op, Ring, Shape, Workload};
use criterion::{Criterion, SamplingMode, Throughput};

/// A bench that cannot be set up, or whose result is wrong, must not report a time.
fn or_exit<T>(op: Op, result: anyhow::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("{}: {error:#}", op.name());
        std::process::exit(1)
    })
}

/// Benches of these operations, on all rings; with `--test` on the smallest only, so that it takes seconds. Nothing is
/// set up that the filter of the command line leaves out.
pub fn bench(c: &mut Criterion, ops: &[Op]) {
    let smoke = std::env::args().any(|arg| arg == "--test");
    let degrees: &[u32] = if smoke { &[14] } else { &[14, 15, 16] };
    for &log_n in degrees {
        let shape = Shape::usual(log_n);
        let ring: OnceCell<Rc<Ring>> = OnceCell::new();
        for &op in ops.iter().filter(|op| op.obstacle(shape).is_none()) {
            let prepare = || {
                let ring = ring.get_or_init(|| or_exit(op, Ring::new(shape)));
                let mut workload = or_exit(op, op.prepare(ring));
                or_exit(op, workload.precision());
                workload
            };
            let mut group = c.benchmark_group(op.name());
            group
                .sample_size(10)
                .sampling_mode(SamplingMode::Flat)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(3));
            if op == Op::RotateHoisted {
                group.throughput(Throughput::Elements(benches::workloads::HOISTED as u64));
            }
            let mut workload: Option<Workload> = None;
            group.bench_function(format!("2^{log_n}"), |b| {
                let workload = workload.get_or_insert_with(prepare);
                b.iter(|| or_exit(op, workload.run()));
            });
            group.finish();
        }
    }
}
