//! Shared by the tests of circuits and plans: running on plain numbers, synthetic weights, a model-shaped graph.
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use he_ops::Result;
use he_ops::circuits::{
    Circuit, FeedForward, Head, Matrix, PowerSoftmaxAttention, TokenLayout, TokenTransform, twice_imag_part,
    twice_real_part,
};
use he_ops::ckks::{Bootstrapper, Ciphertext, Decryptor, Encoder, Encryptor, Evaluator, Pattern};
use he_ops::cost::Work;
use he_ops::exec::{Backend, Ckks, Outputs, Plain, predict, run};
use he_ops::graph::{Graph, Plan};
use he_ops::rlwe::{EvaluationKeys, KeyGenerator, Params, ParamsLiteral, SecretKey};
use he_ops::trace::{LatencyReport, Tracer};
use num_complex::Complex64;

/// A small ring of the given depth, far below the security table: for fast tests only.
#[allow(non_snake_case)]
pub fn toy_params_INSECURE(log_n: u32, depth: usize) -> Params {
    let mut log_q = vec![35; depth + 1];
    log_q[0] = 47;
    let log_p = vec![50; (depth + 2) * 35 / 50 + 1];
    Params::new_INSECURE(&ParamsLiteral {
        log_n,
        log_q,
        log_p,
        log_scale: 35,
    })
    .unwrap()
}

/// Small deterministic numbers in [-1, 1].
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    pub fn f32s(&mut self, count: usize, size: f64) -> Vec<f32> {
        (0..count).map(|_| (self.next() * size) as f32).collect()
    }

    pub fn reals(&mut self, count: usize, size: f64) -> Vec<Complex64> {
        (0..count)
            .map(|_| Complex64::new(self.next() * size, 0.0))
            .collect()
    }

    pub fn complex(&mut self, count: usize, size: f64) -> Vec<Complex64> {
        (0..count)
            .map(|_| Complex64::new(self.next() * size, self.next() * size))
            .collect()
    }
}

pub fn run_on<B: Backend>(
    plan: &Plan,
    backend: &mut B,
    inputs: BTreeMap<String, B::Value>,
) -> Result<Outputs<B::Value>> {
    run(plan, backend, &inputs, &mut Tracer::new(), &mut |_, _| {
        ControlFlow::Continue(())
    })
}

/// Runs a plan on plain numbers.
pub fn run_plain(plan: &Plan, inputs: &[(&str, Vec<Complex64>)]) -> BTreeMap<String, Vec<Complex64>> {
    let inputs = inputs
        .iter()
        .map(|(name, x)| ((*name).to_owned(), x.clone()))
        .collect();
    run_on(plan, &mut Plain::new(plan.params.slots()), inputs).unwrap()
}

/// Bits that the noise model predicts for the first output, and the work that it counts.
pub fn predicted(plan: &Plan, inputs: &[(&str, Vec<Complex64>)]) -> (f64, Work) {
    let mut plain = Plain::new(plan.params.slots());
    let given = inputs
        .iter()
        .map(|(name, x)| ((*name).to_owned(), x.clone()))
        .collect();
    run_on(plan, &mut plain, given).unwrap();
    let prediction = predict(plan, plain.magnitudes()).unwrap();
    (prediction.precision_bits[&plan.outputs[0].name], prediction.work)
}

/// A client and its keys for one plan.
pub struct Client {
    secret: SecretKey,
    evaluator: Evaluator,
    encoder: Encoder,
    bootstrapper: Option<Arc<Bootstrapper>>,
}

impl Client {
    pub fn new(plan: &Plan) -> Self {
        let params = &plan.params;
        let secret = SecretKey::generate(params).unwrap();
        let seeded = KeyGenerator::new(params, &secret)
            .unwrap()
            .evaluation_keys(&plan.keys(), |_, _| ())
            .unwrap();
        let keys = EvaluationKeys::from_seeded(params, &plan.key_uses(), seeded).unwrap();
        keys.satisfies(&plan.keys()).unwrap();
        let encoder = Encoder::new(params);
        Client {
            secret,
            evaluator: Evaluator::new(&encoder, Arc::new(keys)),
            bootstrapper: plan.bootstrapper(&encoder).unwrap(),
            encoder,
        }
    }

    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// A fresh encryption for one input of the plan.
    pub fn encrypt(&self, plan: &Plan, name: &str, values: &[Complex64]) -> Ciphertext {
        let params = &plan.params;
        let port = plan.inputs.iter().find(|port| port.name == name).unwrap();
        let plain = self.encoder.encode(values, port.level, port.scale).unwrap();
        let sent = Encryptor::new(params, &self.secret).unwrap();
        sent.encrypt(&plain).unwrap().expand(params).unwrap()
    }

    /// Encrypts, runs, decrypts.
    pub fn run(
        &self,
        plan: &Plan,
        inputs: &[(&str, Vec<Complex64>)],
    ) -> (BTreeMap<String, Vec<Complex64>>, LatencyReport) {
        let mut encrypted = BTreeMap::new();
        for (name, values) in inputs {
            encrypted.insert((*name).to_owned(), self.encrypt(plan, name, values));
        }
        let mut tracer = Tracer::new();
        let mut backend = Ckks::with_bootstrapper(&self.evaluator, self.bootstrapper.clone());
        let results = run(plan, &mut backend, &encrypted, &mut tracer, &mut |_, _| {
            ControlFlow::Continue(())
        })
        .unwrap();
        let results = results
            .iter()
            .map(|(name, value)| (name.clone(), self.decrypt(value)))
            .collect();
        (results, tracer.report(plan, 1))
    }

    pub fn decrypt(&self, value: &Ciphertext) -> Vec<Complex64> {
        let decryptor = Decryptor::new(self.encoder.params(), &self.secret).unwrap();
        self.encoder.decode(&decryptor.decrypt(value).unwrap()).unwrap()
    }
}

/// The result of a circuit on plain slots, compiled for real parameters.
pub fn eval_plain(circuit: &impl Circuit, inputs: &[Vec<Complex64>]) -> Vec<Complex64> {
    let plan = plan_of(circuit);
    let inputs = inputs
        .iter()
        .enumerate()
        .map(|(i, x)| (format!("x{i}"), x.clone()))
        .collect();
    run_on(&plan, &mut Plain::new(circuit.slots()), inputs)
        .unwrap()
        .remove("result")
        .unwrap()
}

pub fn graph_of(circuit: &impl Circuit) -> Graph {
    let mut g = Graph::new(circuit.slots());
    let inputs: Vec<_> = (0..circuit.arity()).map(|i| g.input(&format!("x{i}"))).collect();
    let result = g
        .scope("test", circuit.name(), |g| circuit.expand(g, &inputs))
        .unwrap();
    g.output("result", result);
    g
}

pub fn plan_of(circuit: &impl Circuit) -> Plan {
    he_ops::graph::compile(&graph_of(circuit), circuit.name(), 35).unwrap()
}

pub fn largest_error(a: &[Complex64], b: &[Complex64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max)
}

/// -log2 of the largest error.
pub fn precision_bits(a: &[Complex64], b: &[Complex64]) -> f64 {
    -largest_error(a, b).log2()
}

/// A one-layer classifier of the shape of the sentiment model, with synthetic weights.
pub fn classifier(slots: usize, tokens: usize, dim: usize, heads: usize, hidden: usize) -> Result<Graph> {
    let mut numbers = Numbers(7);
    let layout = TokenLayout::new(slots, tokens, dim)?;
    let size = 0.5 / (dim as f64).sqrt();
    let mut matrix = |rows| Matrix::real(rows, dim, numbers.f32s(rows * dim, size));
    let [wq, wk, wv] = [matrix(dim)?, matrix(dim)?, matrix(dim)?];
    let up = TokenTransform::new(slots, dim, vec![matrix(hidden)?, matrix(hidden)?])?;
    let mut g = Graph::new(slots);
    let z = g.input("tokens");
    let [q, k, v] = [wq, wk, wv].map(|w| TokenTransform::new(slots, dim, vec![w]));
    let (q, k, v) = g.scope("layer0.attention", "plaintext matmul", |g| -> Result<_> {
        let q = q?.expand(g, &[z])?;
        let k = k?.expand(g, &[z])?;
        let v = v?.expand(g, &[z])?;
        let bias = Pattern::real(numbers.f32s(dim, 0.1))?;
        Ok(g.category("repack", |g| {
            let (q, k, v) = (
                twice_real_part(g, q),
                twice_imag_part(g, k),
                twice_imag_part(g, v),
            );
            (
                g.add_plain(q, bias.clone()),
                g.add_plain(k, bias.clone()),
                g.add_plain(v, bias),
            )
        }))
    })?;
    let attention = PowerSoftmaxAttention::new(
        layout,
        2,
        0.01,
        vec![0.5; heads],
        (0..heads).map(|_| (0.05, 1.2)).collect(),
        3,
    )?;
    let o = g.scope("layer0.attention", "scores", |g| attention.expand(g, &[q, k, v]))?;
    let bias = Pattern::real(numbers.f32s(dim, 0.5))?;
    let feed_forward = FeedForward::new(up, bias).with_twice_real_part();
    let u = g.scope("layer0.feed_forward", "activation", |g| {
        feed_forward.expand(g, &[z, o])
    })?;
    let mut rows = || Matrix::real(2, dim, numbers.f32s(2 * dim, 0.1));
    let head = Head::new(layout, vec![rows()?, rows()?, rows()?], vec![0.1, -0.1])?;
    let logits = g.scope("classifier", "head", |g| head.expand(g, &[u, o, z]))?;
    g.output("logits", logits);
    Ok(g)
}
