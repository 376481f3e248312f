//! The smallest polynomials that are good enough on the ranges where a model was seen.

use he_ops::circuits::ChebyshevSeries;

use crate::error::{Error, Result};
use crate::fit::margin::Margin;
use crate::fit::report::{Approximation, Report};
use crate::model::check::need;
use crate::model::config::{Activation, Position, TransformerConfig, exact_degree};
use crate::model::fit::{ActivationFit, Fit, LayerFit, NormFit};
use crate::model::functions::SLOTS;
use crate::model::reference::{Mode, forward};
use crate::model::special::gelu;
use crate::model::trace::Ranges;
use crate::model::weights::TransformerWeights;

/// Finest error that is asked for, whatever `precision_bits` says.
const FINEST_BITS: u32 = 10;
/// Highest depth of an approximation: degree 127.
const MAX_DEPTH: u32 = 7;
/// How far outside of a range the report looks.
const OUTSIDE: f64 = 1.25;
/// Points at which an error is measured.
const POINTS: u32 = 2000;

fn target(config: &TransformerConfig) -> f64 {
    (-f64::from(config.precision_bits.min(FINEST_BITS))).exp2()
}

/// Largest error over the points of an interval, by the logarithm of the points where the interval is positive.
fn worst([lo, hi]: [f64; 2], error: impl Fn(f64) -> f64) -> f64 {
    (0..=POINTS)
        .map(|i| f64::from(i) / f64::from(POINTS))
        .map(|u| {
            if lo > 0.0 {
                lo * (hi / lo).powf(u)
            } else {
                lo + (hi - lo) * u
            }
        })
        .map(|x| error(x.clamp(lo, hi)).abs())
        .fold(0.0, f64::max)
}

fn outside([lo, hi]: [f64; 2]) -> [f64; 2] {
    if lo > 0.0 {
        [lo / OUTSIDE, hi * OUTSIDE]
    } else {
        [lo * OUTSIDE, hi * OUTSIDE]
    }
}

/// The first depth from `from` on at which `at(depth) -> (choice, error)` meets the target, or the highest.
fn smallest<T>(from: u32, target: f64, at: impl Fn(u32) -> Result<(T, f64)>) -> Result<(u32, T, f64)> {
    let mut depth = from;
    loop {
        let (choice, error) = at(depth)?;
        if error <= target || depth >= MAX_DEPTH {
            return Ok((depth, choice, error));
        }
        depth += 1;
    }
}

/// Sets the number of doublings.
fn choose_reciprocal(fit: &mut LayerFit, target: f64) -> Result<Approximation> {
    let heads = fit.denominator.len();
    let with = |doublings: u32| LayerFit {
        reciprocal_doublings: doublings,
        ..fit.clone()
    };
    let (depth, reciprocal, error) = smallest(1, target, |depth| {
        let reciprocal = with(depth).reciprocal(SLOTS, heads)?;
        let error = reciprocal.error_bound();
        Ok((reciprocal, error))
    })?;
    let condition = |[lo, hi]: &[f64; 2]| hi / lo;
    let (head, range) = (fit.denominator.iter().copied().enumerate())
        .max_by(|(_, a), (_, b)| condition(a).total_cmp(&condition(b)))
        .unwrap_or((0, [1.0, 2.0]));
    fit.reciprocal_doublings = depth;
    Ok(Approximation {
        layer: None,
        what: "1/denominator",
        range,
        condition: Some(condition(&range)),
        degree: (1 << depth) - 1,
        depth,
        error,
        error_outside: worst(outside(range), |x| x * reciprocal.evaluate(head, x) - 1.0),
    })
}

/// The smallest polynomial for 1/sqrt on a range.
fn choose_norm(variance: [f64; 2], what: &'static str, target: f64) -> Result<(NormFit, Approximation)> {
    let [lo, hi] = variance;
    let error_at = |fit: &NormFit, series: &ChebyshevSeries, range| {
        let gain = fit.gain();
        worst(range, |x| {
            gain * series.evaluate(ChebyshevSeries::normalize(x, lo, hi)) * x.sqrt() - 1.0
        })
    };
    let (depth, (fit, series), error) = smallest(1, target, |depth| {
        let degree = (1 << depth) - 1;
        let fit = NormFit { variance, degree };
        let series = fit.inverse_sqrt(SLOTS)?;
        let error = error_at(&fit, &series, variance);
        Ok(((fit, series), error))
    })?;
    let row = Approximation {
        layer: None,
        what,
        range: variance,
        condition: Some(hi / lo),
        degree: fit.degree,
        depth,
        error,
        error_outside: error_at(&fit, &series, outside(variance)),
    };
    Ok((fit, row))
}

/// The smallest polynomial for GELU on [-range, range]; from degree 3 on, as the even part needs T_2.
fn choose_gelu(range: f64, target: f64) -> Result<(ActivationFit, Approximation)> {
    let error_at =
        |series: &ChebyshevSeries, interval| worst(interval, |x| series.evaluate(x / range) - gelu(x));
    let interval = [-range, range];
    let (depth, (fit, series), error) = smallest(2, target, |depth| {
        let degree = (1 << depth) - 1;
        let fit = ActivationFit { range, degree };
        let series = fit.gelu(SLOTS)?;
        let error = error_at(&series, interval);
        Ok(((fit, series), error))
    })?;
    let row = Approximation {
        layer: None,
        what: "gelu",
        range: interval,
        condition: None,
        degree: fit.degree,
        depth,
        error,
        error_outside: error_at(&series, outside(interval)),
    };
    Ok((fit, row))
}

/// Chooses all polynomials of a layer whose ranges are set; returns the rows of the report.
fn choose(config: &TransformerConfig, fit: &mut LayerFit) -> Result<Vec<Approximation>> {
    let target = target(config);
    let mut rows = vec![choose_reciprocal(fit, target)?];
    if config.norm.inverts() {
        for (norm, what) in [(&mut fit.norm1, "norm1"), (&mut fit.norm2, "norm2")] {
            let (chosen, row) = choose_norm(norm.variance, what, target)?;
            *norm = chosen;
            rows.push(row);
        }
    }
    match exact_degree(&config.activation) {
        Some(degree) => fit.activation.degree = degree,
        None => {
            let (chosen, row) = choose_gelu(fit.activation.range, target)?;
            fit.activation = chosen;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Ranges of the exact forward pass over all inputs.
fn observe(config: &TransformerConfig, weights: &TransformerWeights, inputs: &[Vec<f64>]) -> Result<Ranges> {
    let (first, rest) = inputs.split_first().ok_or(Error::Length {
        what: "inputs of the calibration",
        needed: 1,
        found: 0,
    })?;
    let mut seen = forward(config, weights, first, Mode::Exact)?.ranges;
    for x in rest {
        seen.merge(&forward(config, weights, x, Mode::Exact)?.ranges);
    }
    Ok(seen)
}

impl Fit {
    /// Plausible ranges where there are no weights: for plans from the configuration alone. **Assumed, not measured:**
    /// denominators of condition number 30 around 1, variances of condition number 20 around 1, activation inputs
    /// within 6, everything else within the usual few standard deviations. Degrees are those which these ranges need.
    ///
    /// # Errors
    /// - a degree of the activation that no circuit has
    pub fn assumed(config: &TransformerConfig) -> Result<Self> {
        let around_one = |condition: f64| [1.0 / condition.sqrt(), condition.sqrt()];
        let norm = if config.norm.inverts() {
            let (fit, _) = choose_norm(around_one(20.0), "final norm", target(config))?;
            fit
        } else {
            NormFit::UNUSED
        };
        let mut layer = LayerFit {
            score_max: vec![4.0; config.n_heads],
            denominator: vec![around_one(30.0); config.n_heads],
            reciprocal_doublings: 1,
            value_max: 6.0,
            norm1: norm.clone(),
            norm2: norm.clone(),
            activation: ActivationFit {
                range: 6.0,
                degree: 1,
            },
            attention_max: 6.0,
            residual1_max: 8.0,
            residual2_max: 8.0,
            normed1_max: 6.0,
            normed2_max: 6.0,
            up_max: 6.0,
        };
        choose(config, &mut layer)?;
        Ok(Fit {
            layers: vec![layer; config.n_layers],
            embedding_max: 6.0,
            final_norm: (config.norm_position == Position::Pre).then_some(norm),
        })
    }

    /// Runs the exact forward pass on clear inputs, (seq_len, dim) row-major each, and widens what it saw by
    /// `config.margin`: `[lo, hi]` to `[lo / margin, hi * margin]`, but no denominator or variance to less than the
    /// epsilon that is part of it.
    ///
    /// Then every approximation gets the smallest depth K (degree 2^K - 1, K at most 7) at which its error is at most
    /// 2^-precision_bits, or 2^-10 if that is larger: relative for 1/x and 1/sqrt(x), absolute for GELU.
    /// The report lists them, and those that missed it.
    ///
    /// # Errors
    /// - no input, or one of another length than `seq_len * dim`
    /// - the weights do not belong to `config`, or have no numbers
    /// - a denominator or variance was not positive and finite
    /// - the activation is a Chebyshev series that was seen outside of its own range
    pub fn calibrate(
        config: &TransformerConfig,
        weights: &TransformerWeights,
        inputs: &[Vec<f64>],
    ) -> Result<(Self, Report)> {
        Self::from_ranges(config, &observe(config, weights, inputs)?)
    }

    /// The same from ranges that somebody else saw: a training that ran the model on far more inputs.
    ///
    /// # Errors
    /// - ranges of another number of layers or heads; otherwise as [`calibrate`](Self::calibrate)
    pub fn from_ranges(config: &TransformerConfig, seen: &Ranges) -> Result<(Self, Report)> {
        let needed = config.n_layers;
        need(
            seen.layers.len() == needed,
            "ranges.layers",
            &format!("{needed}, one for each layer,"),
            seen.layers.len(),
        )?;
        let margin = Margin(config.margin);
        let (mut layers, mut rows) = (Vec::new(), Vec::new());
        for (n, seen) in seen.layers.iter().enumerate() {
            if let Activation::Chebyshev { range, .. } = &config.activation {
                let [lo, hi] = *range;
                need(
                    seen.up_max <= hi.max(-lo),
                    "activation.range",
                    &format!("at least {:.3} (seen in layer {n})", seen.up_max),
                    format!("{range:?}"),
                )?;
            }
            let mut fit = margin.layer(config, seen);
            rows.extend((choose(config, &mut fit)?.into_iter()).map(|row| Approximation {
                layer: Some(n),
                ..row
            }));
            layers.push(fit);
        }
        let mut final_norm = seen.final_norm.map(|seen| margin.norm(config, &seen));
        if let (Some(norm), true) = (&mut final_norm, config.norm.inverts()) {
            let (chosen, row) = choose_norm(norm.variance, "final norm", target(config))?;
            *norm = chosen;
            rows.push(row);
        }
        let fit = Fit {
            layers,
            embedding_max: margin.max(seen.embedding_max),
            final_norm,
        };
        fit.check(config)?;
        let report = Report {
            target: target(config),
            inputs: seen.inputs,
            rows,
        };
        Ok((fit, report))
    }
}
