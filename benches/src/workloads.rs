//! The workloads of the `primitives` and `peers` runners and of the criterion benches: one setup for all of them.
//!
//! A [`Ring`] holds parameters and a client; [`Op::prepare`] makes everything that an operation needs beforehand and
//! gives a [`Workload`], which runs it again and again, and holds its result against an oracle.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use he_ops::arith::ntt::bit_reverse;
use he_ops::arith::rns::BasisConverter;
use he_ops::circuits::{ChebyshevSeries, Circuit, PowerSoftmax};
use he_ops::ckks::{
    BootstrapPreset, Bootstrapper, Ciphertext, Decryptor, Diagonals, Encoder, Encryptor, Evaluator,
    LinearTransform, Pattern, PrecisionStats,
};
use he_ops::exec::{Ckks, run};
use he_ops::graph::{Graph, Op as Primitive, Plan, compile_for};
use he_ops::rlwe::{
    EvaluationKeyConfig, EvaluationKeys, KeyGenerator, KeyPurpose, KeyUses, Params, ParamsLiteral, SecretKey,
};
use he_ops::trace::Tracer;
use num_complex::Complex64;

/// Side of the matrix of the linear transform.
pub const MATRIX: usize = 128;
/// Rotations that share one decomposition.
pub const HOISTED: usize = 32;
/// Distinct Galois keys of the hoisted rotations, taken in turn: more than any cache holds, less than all memory.
const HOISTED_KEYS: usize = 8;
/// Scores of a row of PowerSoftmax, its power, and the factors of its reciprocal.
pub const SOFTMAX: (usize, u32, u32) = (32, 4, 8);
/// Degree of the Chebyshev series.
pub const CHEBYSHEV: usize = 31;
/// log2 of the slots of the sparse bootstrap.
pub const SPARSE_LOG_SLOTS: u32 = 11;

/// A parameter set by degree, levels and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// log2 of the ring degree.
    pub log_n: u32,
    /// Rescalings.
    pub levels: usize,
    /// log2 of the scale, the size of all primes but the lowest.
    pub log_scale: u32,
}

impl Shape {
    /// The sets A, B and C that engines are compared on: 2^14 with 8 levels of 40 bits, 2^15 with 16 of 40, 2^16 with 24
    /// of 45.
    #[must_use]
    pub fn usual(log_n: u32) -> Self {
        let (levels, log_scale) = match log_n {
            ..=13 => (3, 35),
            14 => (8, 40),
            15 => (16, 40),
            _ => (24, 45),
        };
        Self {
            log_n,
            levels,
            log_scale,
        }
    }
}

/// Numbers in [-1, 1) that are the same in every run (SplitMix64).
#[derive(Debug, Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Real slots in [-size, size).
    pub fn reals(&mut self, count: usize, size: f64) -> Vec<Complex64> {
        (0..count)
            .map(|_| Complex64::new(self.unit() * size, 0.0))
            .collect()
    }

    /// Weights in [-size, size).
    pub fn weights(&mut self, count: usize, size: f64) -> Vec<f32> {
        (0..count).map(|_| (self.unit() * size) as f32).collect()
    }
}

/// Parameters, a client and its inputs.
pub struct Ring {
    /// The parameters, held against the security table.
    pub params: Params,
    encoder: Encoder,
    secret: SecretKey,
    x: Vec<Complex64>,
    y: Vec<Complex64>,
}

impl Ring {
    /// A fresh client for the leveled parameters of a shape.
    ///
    /// # Errors
    /// - the shape is not 128-bit secure, or the system gives no randomness
    pub fn new(shape: Shape) -> Result<Rc<Self>> {
        let Shape {
            log_n,
            levels,
            log_scale,
        } = shape;
        Self::with_params(&ParamsLiteral::leveled(log_n, levels, log_scale))
            .with_context(|| format!("N = 2^{log_n}, {levels} levels of {log_scale} bits"))
    }

    /// A fresh client for any parameters.
    ///
    /// # Errors
    /// - the parameters are not 128-bit secure, or the system gives no randomness
    pub fn with_params(literal: &ParamsLiteral) -> Result<Rc<Self>> {
        let params = Params::new(literal)?;
        let mut numbers = Numbers(1);
        Ok(Rc::new(Self {
            encoder: Encoder::new(&params),
            secret: SecretKey::generate(&params)?,
            x: numbers.reals(params.slots(), 1.0),
            y: numbers.reals(params.slots(), 1.0),
            params,
        }))
    }

    fn top(&self) -> usize {
        self.params.max_level()
    }

    /// An evaluator with exactly these keys, as a server has it after they were sent.
    fn evaluator(&self, config: &EvaluationKeyConfig, uses: &KeyUses) -> Result<Evaluator> {
        let seeded = KeyGenerator::new(&self.params, &self.secret)?;
        let mut keys = EvaluationKeys::new(&self.params);
        // One after the other: the seeded form of all keys need not be in memory at once.
        for (purpose, level) in config.iter() {
            keys.insert_seeded(seeded.key(purpose, level)?, uses)?;
        }
        Ok(Evaluator::new(&self.encoder, Arc::new(keys)))
    }

    fn encrypt(&self, values: &[Complex64], level: usize) -> Result<Ciphertext> {
        let plain = self.encoder.encode(values, level, self.params.scale(level)?)?;
        let sent = Encryptor::new(&self.params, &self.secret)?.encrypt(&plain)?;
        Ok(sent.expand(&self.params)?)
    }

    /// A ciphertext against the oracle.
    fn precision(&self, found: &Ciphertext, want: &[Complex64]) -> Result<PrecisionStats> {
        let plain = Decryptor::new(&self.params, &self.secret)?.decrypt(found)?;
        Ok(PrecisionStats::new(want, &self.encoder.decode(&plain)?))
    }

    fn key_bytes(&self, config: &EvaluationKeyConfig) -> Result<u64> {
        Ok(config.wire_bits(&self.params)? as u64 / 8)
    }
}

/// An operation that is ready to run any number of times.
pub struct Workload {
    /// What it is.
    pub op: Op,
    /// Its parameters: those of the ring, but a bootstrap has its own.
    pub params: Params,
    /// Level of its operands; of a bootstrap, the levels that it leaves to the user.
    pub levels: usize,
    /// log2 of the largest ciphertext modulus that it works on.
    pub log_q: f64,
    /// Operations in one run; times are given for one of them.
    pub per_run: u32,
    /// Bytes of the keys on the wire.
    pub key_bytes: u64,
    /// Bytes of the weights in memory, where there are any.
    pub weight_bytes: u64,
    run: Box<dyn FnMut() -> Result<()>>,
    check: Box<dyn FnMut() -> Result<Option<PrecisionStats>>>,
}

impl Workload {
    /// Runs it once.
    ///
    /// # Errors
    /// - the engine refuses an operation, which would be a defect
    pub fn run(&mut self) -> Result<()> {
        (self.run)()
    }

    /// Runs it and holds the result against an oracle in f64; nothing for integer arithmetic, which has been checked to
    /// be exact.
    ///
    /// # Errors
    /// - as [`run`](Self::run); integers that are not exact
    pub fn precision(&mut self) -> Result<Option<PrecisionStats>> {
        (self.check)()
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Op {
    /// Forward transform of one limb.
    NttForward,
    /// Inverse transform of one limb.
    NttInverse,
    /// The first digit of a key switch, converted to all other primes; all coefficients.
    BaseConversion,
    /// Relinearisation of a product of three parts.
    KeySwitch,
    /// Ciphertext times ciphertext, relinearised and rescaled.
    Multiply,
    /// Ciphertext times an encoded vector, rescaled.
    MultiplyPlain,
    /// Rotation by one slot.
    Rotate,
    /// One of 32 rotations that share a decomposition.
    RotateHoisted,
    /// A 128 x 128 matrix on every block of 128 slots, from its f32 entries.
    LinearTransform,
    /// A Chebyshev series of degree 31.
    Chebyshev,
    /// x^4 / sum x^4 on rows of 32.
    PowerSoftmax,
    /// A bootstrap of all slots.
    Bootstrap,
    /// A bootstrap of 2^11 slots.
    BootstrapSparse,
}

impl Op {
    /// All of them, from small to large.
    pub const ALL: [Op; 13] = [
        Op::NttForward,
        Op::NttInverse,
        Op::BaseConversion,
        Op::KeySwitch,
        Op::Multiply,
        Op::MultiplyPlain,
        Op::Rotate,
        Op::RotateHoisted,
        Op::LinearTransform,
        Op::Chebyshev,
        Op::PowerSoftmax,
        Op::Bootstrap,
        Op::BootstrapSparse,
    ];

    /// Name in rows and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Op::NttForward => "ntt_forward",
            Op::NttInverse => "ntt_inverse",
            Op::BaseConversion => "base_conversion",
            Op::KeySwitch => "key_switch",
            Op::Multiply => "multiply",
            Op::MultiplyPlain => "multiply_plain",
            Op::Rotate => "rotate",
            Op::RotateHoisted => "rotate_hoisted",
            Op::LinearTransform => "linear_transform",
            Op::Chebyshev => "chebyshev",
            Op::PowerSoftmax => "power_softmax",
            Op::Bootstrap => "bootstrap",
            Op::BootstrapSparse => "bootstrap_sparse",
        }
    }

    /// Why the operation cannot be measured at a shape: too few levels, or no bootstrap for the degree.
    #[must_use]
    pub fn obstacle(self, shape: Shape) -> Option<String> {
        match self {
            Op::Bootstrap | Op::BootstrapSparse => preset(shape.log_n)
                .is_none()
                .then(|| format!("no bootstrap for N = 2^{}", shape.log_n)),
            _ if self.depth() > shape.levels => Some(format!("it needs {} levels", self.depth())),
            _ => None,
        }
    }

    /// Levels that the operation needs below its operands.
    fn depth(self) -> usize {
        match self {
            Op::NttForward | Op::NttInverse | Op::BaseConversion | Op::Rotate | Op::RotateHoisted => 0,
            // With parameters of its own.
            Op::Bootstrap | Op::BootstrapSparse => 0,
            Op::KeySwitch | Op::Multiply | Op::MultiplyPlain | Op::LinearTransform => 1,
            Op::Chebyshev => 5,
            Op::PowerSoftmax => 11,
        }
    }

    /// Makes keys, weights and inputs, all at the highest level.
    ///
    /// # Errors
    /// - too few levels for the operation; whatever the engine refuses
    pub fn prepare(self, ring: &Rc<Ring>) -> Result<Workload> {
        ensure!(
            ring.top() >= self.depth(),
            "{} needs {} levels, {} there",
            self.name(),
            self.depth(),
            ring.top()
        );
        match self {
            Op::NttForward | Op::NttInverse => ntt(self, ring),
            Op::BaseConversion => base_conversion(ring),
            Op::KeySwitch => key_switch(ring),
            Op::Multiply => multiply(ring),
            Op::MultiplyPlain => multiply_plain(ring),
            Op::Rotate => rotate(ring),
            Op::RotateHoisted => rotate_hoisted(ring),
            Op::LinearTransform => linear_transform(ring),
            Op::Chebyshev => chebyshev(ring),
            Op::PowerSoftmax => power_softmax(ring),
            Op::Bootstrap => bootstrap(self, ring.params.log_n(), ring.params.log_n() - 1),
            Op::BootstrapSparse => bootstrap(self, ring.params.log_n(), SPARSE_LOG_SLOTS),
        }
    }
}

fn ntt(op: Op, ring: &Rc<Ring>) -> Result<Workload> {
    let params = ring.params.clone();
    let at = ring.top();
    let modulus = *params.moduli().nth(at).context("a prime")?;
    let mut numbers = Numbers(2);
    let input: Vec<u64> = (0..params.degree())
        .map(|_| modulus.reduce(numbers.bits()))
        .collect();
    let check_params = params.clone();
    let original = input.clone();
    let check = move || -> Result<Option<PrecisionStats>> {
        let table = check_params.q_tables(at)?.last().context("a prime")?;
        let mut limb = original.clone();
        table.forward(&mut limb);
        // A few entries by Horner's rule at their roots, and the way back for all.
        for entry in [0, 1, 5, original.len() - 1] {
            let exponent = 2 * bit_reverse(entry, check_params.log_n()) as u64 + 1;
            let root = modulus.pow(table.psi(), exponent);
            let horner = |sum, &c: &u64| modulus.add(modulus.mul(sum, root), c);
            let value = original.iter().rev().fold(0, horner);
            ensure!(
                limb.get(entry) == Some(&value),
                "entry {entry} of the transform is wrong"
            );
        }
        table.inverse(&mut limb);
        ensure!(limb == original, "the inverse transform does not invert");
        Ok(None)
    };
    let mut limb = input;
    let run = move || {
        let table = params.q_tables(at)?.last().context("a prime")?;
        match op {
            Op::NttForward => table.forward(&mut limb),
            _ => table.inverse(&mut limb),
        }
        Ok(())
    };
    Ok(Workload {
        op,
        params: ring.params.clone(),
        levels: ring.top(),
        log_q: ring.params.log_q(),
        per_run: 1,
        key_bytes: 0,
        weight_bytes: 0,
        run: Box::new(run),
        check: Box::new(check),
    })
}

fn base_conversion(ring: &Rc<Ring>) -> Result<Workload> {
    let params = &ring.params;
    let (top, n) = (ring.top(), params.degree());
    let gadget = params.gadget(top)?.clone();
    let digit = gadget.digit_range(0, top);
    let q = params.q_tables(top)?;
    let p = params.p_tables(gadget.specials)?;
    let (from, others) = q.split_at(digit.end);
    let from: Vec<_> = from.iter().collect();
    let to: Vec<_> = others.iter().chain(p).collect();
    let converter = BasisConverter::new(from.iter().copied(), to.iter().copied())?;
    // Small integers x: the result must be x + u A with one small u for all primes.
    let mut numbers = Numbers(3);
    let values: Vec<i64> = (0..n)
        .map(|_| (numbers.bits() >> 34) as i64 - (1 << 29))
        .collect();
    let mut source = Vec::with_capacity(from.len() * n);
    for (k, table) in from.iter().enumerate() {
        let m = table.modulus();
        // As an inverse transform leaves it: times N.
        let mut limb: Vec<u64> = values
            .iter()
            .map(|&x| m.mul(m.reduce_i64(x), m.reduce(n as u64)))
            .collect();
        converter.prepare(k, &mut limb);
        source.extend(limb);
    }
    let mut target = vec![0; to.len() * n];
    converter.convert(&source, &mut target, n);
    let reach = from.len() as u64;
    for (t, table) in to.iter().enumerate() {
        let m = table.modulus();
        let product = from
            .iter()
            .fold(1, |acc, table| m.mul(acc, m.reduce(table.modulus().value())));
        let converted = values.iter().zip(target.chunks(n).nth(t).unwrap_or_default());
        for (j, (&x, &found)) in converted.enumerate().step_by(97) {
            let rest = m.sub(found, m.reduce_i64(x));
            let multiples = m.mul(rest, m.inv(product).context("primes that differ")?);
            let small = multiples <= reach || m.value() - multiples <= reach;
            ensure!(small, "coefficient {j} of limb {t} is converted wrongly");
        }
    }
    let run = move || {
        converter.convert(&source, &mut target, n);
        Ok(())
    };
    Ok(Workload {
        op: Op::BaseConversion,
        params: ring.params.clone(),
        levels: top,
        log_q: ring.params.log_q(),
        per_run: 1,
        key_bytes: 0,
        weight_bytes: 0,
        run: Box::new(run),
        // Checked above: the operation is deterministic.
        check: Box::new(|| Ok(None)),
    })
}

/// A workload of one evaluator: `f` gives the ciphertext that is held against `want`.
fn evaluated(
    op: Op,
    ring: &Rc<Ring>,
    config: &EvaluationKeyConfig,
    want: Vec<Complex64>,
    f: impl Fn() -> Result<Ciphertext> + 'static,
) -> Result<Workload> {
    let own = Rc::clone(ring);
    let f = Rc::new(f);
    let again = Rc::clone(&f);
    Ok(Workload {
        op,
        params: ring.params.clone(),
        levels: ring.top(),
        log_q: ring.params.log_q(),
        per_run: 1,
        key_bytes: ring.key_bytes(config)?,
        weight_bytes: 0,
        run: Box::new(move || f().map(drop)),
        check: Box::new(move || Ok(Some(own.precision(&again()?, &want)?))),
    })
}

fn products(ring: &Ring) -> Vec<Complex64> {
    ring.x.iter().zip(&ring.y).map(|(x, y)| x * y).collect()
}

fn relin(ring: &Ring) -> EvaluationKeyConfig {
    let mut config = EvaluationKeyConfig::default();
    config.require(KeyPurpose::Relin, ring.top());
    config
}

fn key_switch(ring: &Rc<Ring>) -> Result<Workload> {
    let config = relin(ring);
    let evaluator = ring.evaluator(&config, &KeyUses::new())?;
    let (x, y) = (
        ring.encrypt(&ring.x, ring.top())?,
        ring.encrypt(&ring.y, ring.top())?,
    );
    let product = evaluator.mul(&x, &y)?;
    evaluated(Op::KeySwitch, ring, &config, products(ring), move || {
        Ok(evaluator.relinearize(&product)?)
    })
}

fn multiply(ring: &Rc<Ring>) -> Result<Workload> {
    let config = relin(ring);
    let evaluator = ring.evaluator(&config, &KeyUses::new())?;
    let (x, y) = (
        ring.encrypt(&ring.x, ring.top())?,
        ring.encrypt(&ring.y, ring.top())?,
    );
    evaluated(Op::Multiply, ring, &config, products(ring), move || {
        let product = evaluator.mul(&x, &y)?;
        Ok(evaluator.relinearize_rescale(&product)?)
    })
}

fn multiply_plain(ring: &Rc<Ring>) -> Result<Workload> {
    let config = EvaluationKeyConfig::default();
    let evaluator = ring.evaluator(&config, &KeyUses::new())?;
    let x = ring.encrypt(&ring.x, ring.top())?;
    let y = ring
        .encoder
        .encode(&ring.y, ring.top(), ring.params.scale(ring.top())?)?;
    let weight_bytes = y.memory_bytes() as u64;
    let mut workload = evaluated(Op::MultiplyPlain, ring, &config, products(ring), move || {
        Ok(evaluator.rescale(&evaluator.mul_plain(&x, &y)?)?)
    })?;
    workload.weight_bytes = weight_bytes;
    Ok(workload)
}

fn rotations(ring: &Ring, steps: impl IntoIterator<Item = i64>) -> EvaluationKeyConfig {
    let mut config = EvaluationKeyConfig::default();
    for k in steps {
        config.require(KeyPurpose::Galois(ring.params.galois_element(k)), ring.top());
    }
    config
}

fn rotated(x: &[Complex64], k: usize) -> Vec<Complex64> {
    let mut out = x.to_vec();
    out.rotate_left(k);
    out
}

fn rotate(ring: &Rc<Ring>) -> Result<Workload> {
    let config = rotations(ring, [1]);
    let evaluator = ring.evaluator(&config, &KeyUses::new())?;
    let x = ring.encrypt(&ring.x, ring.top())?;
    evaluated(Op::Rotate, ring, &config, rotated(&ring.x, 1), move || {
        Ok(evaluator.rotate(&x, 1)?)
    })
}

fn rotate_hoisted(ring: &Rc<Ring>) -> Result<Workload> {
    let steps: Vec<i64> = (0..HOISTED).map(|i| 1 + (i % HOISTED_KEYS) as i64).collect();
    let config = rotations(ring, steps.iter().copied());
    let evaluator = ring.evaluator(&config, &KeyUses::new())?;
    let x = ring.encrypt(&ring.x, ring.top())?;
    let want = rotated(&ring.x, HOISTED_KEYS);
    let mut workload = evaluated(Op::RotateHoisted, ring, &config, want, move || {
        let mut turned = evaluator.rotate_hoisted(&x, &steps)?;
        turned.pop().context("a rotation")
    })?;
    workload.per_run = HOISTED as u32;
    Ok(workload)
}

fn linear_transform(ring: &Rc<Ring>) -> Result<Workload> {
    let (top, params) = (ring.top(), &ring.params);
    let weights = Numbers(4).weights(MATRIX * MATRIX, 1.0 / (MATRIX as f64).sqrt());
    let prime = params.moduli().nth(top).context("a prime to divide by")?.value() as f64;
    let plain_scale = params.scale(top - 1)? * prime / params.scale(top)?;
    let encode = move |ring: &Ring, weights: &[f32]| -> Result<LinearTransform> {
        let map = Diagonals::block_matrix(MATRIX, weights);
        Ok(LinearTransform::new(&ring.encoder, &map, top, plain_scale)?)
    };
    let first = encode(ring, &weights)?;
    let (config, weight_bytes) = (first.keys(), first.memory_bytes() as u64);
    drop(first);
    let evaluator = ring.evaluator(&config, &KeyUses::new())?;
    let x = ring.encrypt(&ring.x, top)?;
    let mut want = Vec::with_capacity(ring.x.len());
    for block in ring.x.chunks(MATRIX) {
        for row in weights.chunks(MATRIX) {
            want.push(row.iter().zip(block).map(|(&w, x)| f64::from(w) * x).sum());
        }
    }
    let own = Rc::clone(ring);
    let mut workload = evaluated(Op::LinearTransform, ring, &config, want, move || {
        Ok(encode(&own, &weights)?.apply(&evaluator, &x)?)
    })?;
    workload.weight_bytes = weight_bytes;
    Ok(workload)
}

fn chebyshev(ring: &Rc<Ring>) -> Result<Workload> {
    let mut numbers = Numbers(5);
    let coefficients: Vec<f64> = (0..=CHEBYSHEV).map(|_| numbers.unit() / 4.0).collect();
    let series = ChebyshevSeries::new(ring.params.slots(), coefficients)?;
    let want = ring
        .x
        .iter()
        .map(|x| Complex64::new(series.evaluate(x.re), 0.0))
        .collect();
    circuit(Op::Chebyshev, ring, &series, ring.x.clone(), want)
}

fn power_softmax(ring: &Rc<Ring>) -> Result<Workload> {
    let (scores, power, factors) = SOFTMAX;
    let softmax = PowerSoftmax::new(ring.params.slots(), scores, power, factors)?;
    // Powers of uniform numbers that sum to about one.
    let size = (f64::from(power + 1) / scores as f64).powf(1.0 / f64::from(power));
    let x: Vec<Complex64> = ring.x.iter().map(|x| x * size).collect();
    let raised = |x: &Complex64| x.re.powi(power as i32);
    let mut sums = vec![0.0; softmax.rows()];
    for block in x.chunks(softmax.rows()) {
        sums.iter_mut().zip(block).for_each(|(sum, x)| *sum += raised(x));
    }
    let want = x
        .iter()
        .zip(sums.iter().cycle())
        .map(|(x, sum)| Complex64::new(raised(x) / sum, 0.0))
        .collect();
    circuit(Op::PowerSoftmax, ring, &softmax, x, want)
}

fn preset(log_n: u32) -> Option<BootstrapPreset> {
    match log_n {
        15 => Some(BootstrapPreset::N15),
        16 => Some(BootstrapPreset::N16),
        _ => None,
    }
}

/// A bootstrap of 2^log_slots complex slots, uniform in the unit square; encoding its matrices is setup.
fn bootstrap(op: Op, log_n: u32, log_slots: u32) -> Result<Workload> {
    let preset = preset(log_n).with_context(|| format!("no bootstrap for N = 2^{log_n}"))?;
    let ring = Ring::with_params(&preset.params())?;
    let bootstrapper = Bootstrapper::new(&ring.encoder, &preset.bootstrap(log_slots))?;
    let (config, uses) = (bootstrapper.keys(), bootstrapper.key_uses());
    let evaluator = ring.evaluator(&config, &uses)?;
    let message = ring
        .x
        .iter()
        .zip(&ring.y)
        .map(|(x, y)| Complex64::new(x.re, y.re));
    let message: Vec<Complex64> = message.take(bootstrapper.slots()).collect();
    let slots: Vec<Complex64> = message.iter().copied().cycle().take(ring.x.len()).collect();
    let operand = ring.encrypt(&slots, bootstrapper.input_level())?;
    let levels = bootstrapper.output_level() - bootstrapper.input_level();
    let weight_bytes = bootstrapper.memory_bytes() as u64;
    let mut workload = evaluated(op, &ring, &config, slots, move || {
        Ok(bootstrapper.bootstrap(&evaluator, &operand)?)
    })?;
    (workload.levels, workload.weight_bytes) = (levels, weight_bytes);
    Ok(workload)
}

/// A circuit from the highest level down, as in the middle of a model.
fn circuit(
    op: Op,
    ring: &Rc<Ring>,
    circuit: &impl Circuit,
    x: Vec<Complex64>,
    want: Vec<Complex64>,
) -> Result<Workload> {
    let plan = plan_from_the_top(circuit, &ring.params)?;
    let config = plan.keys();
    let evaluator = ring.evaluator(&config, &plan.key_uses())?;
    let inputs = BTreeMap::from([("x".to_owned(), ring.encrypt(&x, ring.top())?)]);
    let tracer = RefCell::new(Tracer::new());
    evaluated(op, ring, &config, want, move || {
        *tracer.borrow_mut() = Tracer::new();
        let mut backend = Ckks::new(&evaluator);
        let mut go_on = |_, _| ControlFlow::Continue(());
        let outputs = run(&plan, &mut backend, &inputs, &mut tracer.borrow_mut(), &mut go_on)?;
        outputs.into_values().next().context("a result")
    })
}

/// The plan of a circuit that starts at the highest level of the parameters. The compiler lets an input enter at the
/// depth of the whole graph; so the graph gets as many further products as there are levels left, and the plan loses
/// them again.
fn plan_from_the_top(circuit: &impl Circuit, params: &Params) -> Result<Plan> {
    const PADDING: &str = "padding";
    let mut g = Graph::new(params.slots());
    let x = g.input("x");
    let result = g.scope("bench", circuit.name(), |g| circuit.expand(g, &[x]))?;
    let one = Pattern::constant(1.0)?;
    let padding = params.max_level() - circuit.depth()?;
    let last = g.scope(PADDING, PADDING, |g| {
        (0..padding).fold(result, |value, _| g.mul_plain(value, one.clone()))
    });
    g.output("result", last);
    let mut plan = compile_for(&g, circuit.name(), params)?;
    let Some(first) = plan.steps.iter().position(|step| step.label.layer == PADDING) else {
        return Ok(plan);
    };
    let value = match plan.steps.get(first).map(|step| &step.op) {
        Some(Primitive::WeightedSum(terms)) => terms.first().map(|(value, _)| *value),
        _ => None,
    };
    let value = value.context("a product of the padding")?;
    plan.steps.truncate(first);
    let step = plan
        .steps
        .get(value.index())
        .context("the result of the circuit")?;
    let (level, scale) = (step.level, step.scale);
    for output in &mut plan.outputs {
        (output.value, output.level, output.scale) = (value, level, scale);
    }
    ensure!(
        level == padding,
        "the circuit ends at level {level}, {padding} expected"
    );
    Ok(plan)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;

    /// All operations but the bootstraps, which have tests of their own, on the smallest secure ring that is deep enough:
    /// exact, or to the bits of the scale.
    #[test]
    fn every_workload_agrees_with_its_oracle() {
        let (small, deep) = (
            Shape::usual(13),
            Shape {
                log_n: 15,
                levels: 12,
                log_scale: 40,
            },
        );
        let rings = [small, deep].map(|shape| Ring::new(shape).unwrap());
        for op in Op::ALL {
            let ring = match (op.obstacle(small), op.obstacle(deep)) {
                _ if matches!(op, Op::Bootstrap | Op::BootstrapSparse) => continue,
                (None, _) => &rings[0],
                (Some(_), None) => &rings[1],
                (Some(_), Some(obstacle)) => panic!("{}: {obstacle}", op.name()),
            };
            let mut workload = op.prepare(ring).unwrap();
            workload.run().unwrap();
            let exact = matches!(op, Op::NttForward | Op::NttInverse | Op::BaseConversion);
            match workload.precision().unwrap() {
                None => assert!(exact, "{}", op.name()),
                Some(found) => assert!(!exact && found.min_bits > 12.0, "{}: {found}", op.name()),
            }
        }
    }
}
