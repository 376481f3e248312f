//! Client and server in one value, without the network: what the engine itself takes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use he_ops::ckks::{Bootstrapper, Decryptor, Encoder, Encryptor, Evaluator};
use he_ops::exec::{Ckks, run};
use he_ops::graph::Plan;
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, SecretKey};
use he_ops::trace::{LatencyReport, Tracer};
use models::lower::Target;
use models::packing::blocks::Slots;
use models::{ModelDir, Packing};

/// A compiled model with a fresh set of keys.
pub struct Engine {
    plan: Plan,
    packing: Packing,
    secret: SecretKey,
    encoder: Encoder,
    evaluator: Evaluator,
    bootstrapper: Option<Arc<Bootstrapper>>,
    setup: Setup,
}

/// What it took to get ready, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Setup {
    /// From weights to plan.
    pub compile_ms: f64,
    /// Secret key and all evaluation keys, on the side of the client.
    pub keygen_ms: f64,
    /// Masks of the keys from their seeds, on the side of the server.
    pub expand_keys_ms: f64,
}

/// One evaluation.
pub struct Evaluated {
    /// What the client decrypts.
    pub logits: Vec<f64>,
    /// Where the time went; the evaluation only.
    pub report: LatencyReport,
    /// Packing, encoding and encrypting, in milliseconds.
    pub encrypt_ms: f64,
    /// Decrypting and decoding, in milliseconds.
    pub decrypt_ms: f64,
}

/// Milliseconds since `start`.
pub fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

impl Engine {
    /// Compiles the model and makes keys; `progress(done, total)` after each key.
    ///
    /// # Errors
    /// - the model cannot be compiled, or the system gives no randomness
    pub fn new(model: &ModelDir, progress: impl FnMut(usize, usize)) -> anyhow::Result<Self> {
        let start = Instant::now();
        let compiled = model
            .compile(&Target::default())
            .with_context(|| format!("model {}", model.id()))?;
        let compile_ms = millis(start);
        let (plan, packing) = (compiled.plan, compiled.packing);
        let params = plan.params.clone();

        let start = Instant::now();
        let secret = SecretKey::generate(&params)?;
        let keys = KeyGenerator::new(&params, &secret)?.evaluation_keys(&plan.keys(), progress)?;
        let keygen_ms = millis(start);

        let start = Instant::now();
        let keys = EvaluationKeys::from_seeded(&params, &plan.key_uses(), keys)?;
        let expand_keys_ms = millis(start);
        let encoder = Encoder::new(&params);
        Ok(Self {
            packing,
            secret,
            evaluator: Evaluator::new(&encoder, Arc::new(keys)),
            bootstrapper: plan.bootstrapper(&encoder)?,
            encoder,
            setup: Setup {
                compile_ms,
                keygen_ms,
                expand_keys_ms,
            },
            plan,
        })
    }

    /// The compiled plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What it took to get ready.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// Encrypts the embedded input, runs the plan, decrypts; `progress(done, total)` before each step.
    ///
    /// # Errors
    /// - an operation is refused, which would be a defect of the plan
    pub fn evaluate(&self, x: &[f64], mut progress: impl FnMut(usize, usize)) -> anyhow::Result<Evaluated> {
        let params = &self.plan.params;
        let start = Instant::now();
        let (slots, encryptor) = (self.packing.pack(x)?, Encryptor::new(params, &self.secret)?);
        let mut inputs = BTreeMap::new();
        for port in &self.plan.inputs {
            let values = slots.get(&port.name).context("an input of the packing")?;
            let plaintext = self
                .encoder
                .encode_repeated(values, port.level, params.scale(port.level)?)?;
            inputs.insert(port.name.clone(), encryptor.encrypt(&plaintext)?.expand(params)?);
        }
        let encrypt_ms = millis(start);

        let mut tracer = Tracer::new();
        let mut watch = |done, total| {
            progress(done, total);
            ControlFlow::Continue(())
        };
        let outputs = run(
            &self.plan,
            &mut Ckks::with_bootstrapper(&self.evaluator, self.bootstrapper.clone()),
            &inputs,
            &mut tracer,
            &mut watch,
        )?;
        let start = Instant::now();
        let decryptor = Decryptor::new(params, &self.secret)?;
        let mut answer = Slots::new();
        for (name, ciphertext) in &outputs {
            answer.insert(
                name.clone(),
                self.encoder.decode(&decryptor.decrypt(ciphertext)?)?,
            );
        }
        let logits = self.packing.unpack(&answer)?;
        let decrypt_ms = millis(start);
        let report = tracer.report(&self.plan, rayon::current_num_threads());
        Ok(Evaluated {
            logits,
            report,
            encrypt_ms,
            decrypt_ms,
        })
    }
}
