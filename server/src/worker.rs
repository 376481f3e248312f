//! Evaluation on dedicated threads: a bounded queue in front, a rayon pool inside, never the async runtime.

use crate::catalog::Served;
use crate::keys::{ClientKeys, KeyCache, KeyId, KeyStore, load_keys};
use crate::problem::Problem;
use crate::progress::{Progress, Registry};
use bytes::Bytes;
use he_ops::ckks::{Ciphertext, Evaluator};
use he_ops::exec::{Ckks, run};
use he_ops::graph::Port;
use he_ops::rlwe::Params;
use he_ops::trace::{LatencyReport, Tracer};
use he_ops::wire::{
    Header, Kind, WireError, decode_ciphertext, decode_seeded_ciphertext, encode_ciphertext, encode_label,
    encode_report, expect_level_and_scale, first_frame,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// One request on its way to a worker.
pub(crate) struct Job {
    /// The model to run.
    pub model: Arc<Served>,
    /// A label is asked for, not logits.
    pub label: bool,
    /// The stored keys to run it with.
    pub key_id: KeyId,
    /// The ciphertext frames, as received.
    pub frames: Bytes,
    /// Their part of the memory for request bodies; given back with the job.
    pub _memory: OwnedSemaphorePermit,
    /// Time spent reading it.
    pub receive: Duration,
    /// Step counters for the client.
    pub progress: Arc<Progress>,
}

/// A finished evaluation.
#[derive(Debug)]
pub(crate) struct Done {
    /// Report frame, then the ciphertext frames of the outputs.
    pub body: Vec<u8>,
    /// The report, for the header.
    pub report: LatencyReport,
}

struct Queued {
    job: Job,
    since: Instant,
    answer: oneshot::Sender<Result<Done, Problem>>,
    /// The place in the queue; given back when the job is done.
    _place: OwnedSemaphorePermit,
}

/// The bounded queue and its worker threads.
pub(crate) struct Workers {
    /// Dropped to let the workers finish what is queued and end.
    sender: Mutex<Option<mpsc::Sender<Queued>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    places: Arc<Semaphore>,
    capacity: usize,
    tickets: AtomicU64,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<KeyStore>,
    cache: Arc<KeyCache<ClientKeys>>,
    registry: Arc<Registry>,
    pool: rayon::ThreadPool,
    /// Duration of the last evaluation, for `Retry-After`.
    last_ms: AtomicU64,
}

impl Workers {
    /// Starts `count` workers that share one pool, with `queue` places to wait.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn start(
        count: usize,
        pool: rayon::ThreadPool,
        queue: usize,
        store: Arc<KeyStore>,
        cache: Arc<KeyCache<ClientKeys>>,
        registry: Arc<Registry>,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            store,
            cache,
            registry,
            pool,
            last_ms: AtomicU64::new(1000),
        });
        let (sender, receiver) = mpsc::channel::<Queued>();
        let receiver = Arc::new(Mutex::new(receiver));
        let count = count.max(1);
        let mut handles = Vec::with_capacity(count);
        for i in 0..count {
            let (receiver, shared) = (Arc::clone(&receiver), Arc::clone(&shared));
            handles.push(
                std::thread::Builder::new()
                    .name(format!("he-worker-{i}"))
                    .spawn(move || {
                        loop {
                            let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                            let Ok(queued) = next else { break };
                            shared.serve(queued);
                        }
                    })?,
            );
        }
        let capacity = count + queue;
        Ok(Self {
            sender: Mutex::new(Some(sender)),
            threads: Mutex::new(handles),
            places: Arc::new(Semaphore::new(capacity)),
            capacity,
            tickets: AtomicU64::new(0),
            shared,
        })
    }

    /// Queues a job and waits for its answer. Dropping the future cancels the job: before it starts, or between two
    /// steps of the plan.
    pub(crate) async fn evaluate(&self, job: Job) -> Result<Done, Problem> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let waiting = self.capacity as u64;
            let retry_after = (waiting * self.shared.last_ms.load(Relaxed))
                .div_ceil(1000)
                .clamp(1, 600);
            return Err(Problem::busy("evaluations", self.capacity, retry_after));
        };
        let (answer, wait) = oneshot::channel();
        {
            let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(sender) = sender.as_ref() else {
                return Err(Problem::draining());
            };
            job.progress.queued(self.tickets.fetch_add(1, Relaxed) + 1);
            let queued = Queued {
                job,
                since: Instant::now(),
                answer,
                _place: place,
            };
            if sender.send(queued).is_err() {
                return Err(Problem::draining());
            }
        }
        wait.await.unwrap_or_else(|e| Err(Problem::internal(&e)))
    }

    /// Takes no more jobs, finishes the queued ones, and waits for the threads.
    pub(crate) fn drain(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

impl Shared {
    fn serve(&self, queued: Queued) {
        self.registry.taken();
        let Queued {
            job,
            since,
            answer,
            _place,
        } = queued;
        if answer.is_closed() {
            tracing::info!(model = job.model.id, "client left before the evaluation");
            return;
        }
        let waited = since.elapsed();
        // One request that hits a bug must not take the worker with it.
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.run(&job, waited, &|| answer.is_closed())
        }))
        .unwrap_or_else(|_| Err(Problem::internal(&"the evaluation panicked")));
        // A client that left while the answer was made is not an error.
        let _ = answer.send(result);
    }

    fn run(&self, job: &Job, waited: Duration, left: &(dyn Fn() -> bool + Sync)) -> Result<Done, Problem> {
        let model = &job.model;
        let params = &model.plan.params;
        let start = Instant::now();
        let inputs = decode_request(model, &job.frames)?;
        let decode = start.elapsed();

        let start = Instant::now();
        let (keys, warm) =
            self.cache
                .get_or_load(job.key_id, &model.id, model.needs.expanded_bytes, || {
                    let file = self
                        .store
                        .open_keys(job.key_id)
                        .map_err(|e| Problem::internal(&e))?;
                    let file = file.ok_or_else(|| Problem::unknown_key(&job.key_id.to_string()))?;
                    self.pool
                        .install(|| load_keys(&model.needs, &mut std::io::BufReader::new(file)))
                })?;
        let load = start.elapsed();

        let plan = match &model.decided {
            Some(decided) if job.label => decided,
            _ => &model.plan,
        };
        let mut tracer = Tracer::new();
        let mut label = None;
        let outcome = self.pool.install(|| {
            let evaluator = Evaluator::new(&model.encoder, Arc::clone(&keys.evaluation));
            let mut backend = Ckks::with_bootstrapper(&evaluator, model.bootstrapper.clone())
                .with_decision_key(keys.decision.clone());
            let outputs = run(plan, &mut backend, &inputs, &mut tracer, &mut |done, total| {
                job.progress.step(done, total);
                if left() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            label = backend.label().cloned();
            outputs
        });
        let outputs = match outcome {
            Ok(outputs) => outputs,
            Err(error @ he_ops::Error::Cancelled { .. }) => {
                tracing::info!(model = model.id, %error, "client left during the evaluation");
                return Err(Problem::broken_body("the client left"));
            }
            Err(error) => return Err(Problem::internal(&error)),
        };
        let evaluate = tracer.wall();
        self.last_ms
            .store((evaluate + decode + load).as_millis().max(1) as u64, Relaxed);

        let start = Instant::now();
        let mut reply = Vec::new();
        if let Some(label) = &label {
            reply.extend(encode_label(params, label));
        }
        for port in &plan.outputs {
            let output = outputs
                .get(&port.name)
                .ok_or_else(|| Problem::internal(&"the plan gave no output"))?;
            reply.extend(encode_ciphertext(params, output).map_err(|e| Problem::internal(&e))?);
        }
        let mut report = tracer.report(plan, self.pool.current_num_threads());
        report.push_phase("receive", job.receive);
        report.push_phase("queue", waited);
        report.push_phase("decode", decode);
        // Only the first request after an upload or an eviction pays for expanding the keys.
        if !warm {
            report.push_phase("keys", load);
        }
        report.push_phase("evaluate", evaluate);
        report.push_phase("encode", start.elapsed());
        let mut body = encode_report(params.digest(), &report).map_err(|e| Problem::internal(&e))?;
        body.extend_from_slice(&reply);
        Ok(Done { body, report })
    }
}

/// The ciphertexts of a request by name: one frame for each input of the plan, in order, and nothing else.
fn decode_request(model: &Served, mut bytes: &[u8]) -> Result<BTreeMap<String, Ciphertext>, Problem> {
    let params = &model.plan.params;
    let total = model.plan.inputs.len();
    let mut inputs = BTreeMap::new();
    for (number, (port, limit)) in (1..).zip(model.plan.inputs.iter().zip(&model.input_limits)) {
        let what = match total {
            1 => "request".to_owned(),
            _ => format!("request, ciphertext {number} of {total}"),
        };
        let wire = |error: WireError| Problem::wire(&what, &error);
        let frame = if number == total {
            // What is left over is found out with the frame.
            bytes
        } else {
            let (frame, rest) = first_frame(bytes, *limit).map_err(wire)?;
            bytes = rest;
            frame
        };
        let ciphertext = decode_input(params, port, *limit, frame).map_err(wire)?;
        inputs.insert(port.name.clone(), ciphertext);
    }
    Ok(inputs)
}

/// One input, seeded or full, at the level and scale of the plan.
fn decode_input(params: &Params, port: &Port, limit: u64, frame: &[u8]) -> Result<Ciphertext, WireError> {
    let needed = (port.level, port.scale);
    let ciphertext = if Header::parse(frame)?.kind == Kind::Ciphertext {
        let full = decode_ciphertext(params, frame, limit)?;
        if full.parts().len() != 2 {
            return Err(WireError::Field {
                what: "parts of a request",
                needed: "2".into(),
                found: full.parts().len().to_string(),
            });
        }
        expect_level_and_scale("request", (full.level(), full.scale()), needed)?;
        full
    } else {
        let seeded = decode_seeded_ciphertext(params, frame, limit)?;
        expect_level_and_scale("request", (seeded.level(), seeded.scale()), needed)?;
        seeded.expand(params)?
    };
    // Within the tolerance of the wire; the executor then asks for the exact number.
    Ok(ciphertext.with_scale_of_plan(port.scale)?)
}
