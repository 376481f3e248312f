"""The polynomials that stand for 1/x and 1/sqrt(x) under encryption, and the rule that chooses their degrees.

Formulas and rule are those of the Rust crate `models` (transformer/fit.rs, transformer/calibrate.rs), so that a model
evaluated here is the model that the server evaluates.
"""

import math

import numpy as np
import torch

FINEST_BITS = 10  # no approximation is asked for more
MAX_DEPTH = 7


def target(precision_bits):
    return 2.0 ** -min(precision_bits, FINEST_BITS)


def reciprocal(x, lo, hi, doublings):
    """(1 - T_m(t)/T_m(t0)) / x with m = 2^doublings, t = (hi+lo-2x)/(hi-lo), t0 = t at x = 0: the polynomial of degree
    m - 1 with the least relative error on [lo, hi], 1/T_m(t0). As a product, since
    T_2j(t0) - T_2j(t) = 2 (T_j(t0) - T_j(t)) (T_j(t0) + T_j(t)). `lo`, `hi` broadcast against x."""
    t, t0 = (hi + lo - 2 * x) / (hi - lo), (hi + lo) / (hi - lo)
    out = torch.ones_like(x)
    for _ in range(doublings):
        out = out * (t0 + t)
        t, t0 = 2 * t * t - 1, 2 * t0 * t0 - 1
    return out * 2 ** (doublings + 1) / ((hi - lo) * t0)


def reciprocal_error(lo, hi, doublings):
    return 1 / math.cosh(2**doublings * math.acosh((hi + lo) / (hi - lo)))


def reciprocal_doublings(ranges, precision_bits):
    """Smallest number of doublings whose relative error meets the target for every (lo, hi)."""
    for depth in range(1, MAX_DEPTH):
        if all(reciprocal_error(lo, hi, depth) <= target(precision_bits) for lo, hi in ranges):
            return depth
    return MAX_DEPTH


def inverse_sqrt_series(lo, hi, degree):
    """Chebyshev coefficients of sqrt(lo/x) on [lo, hi]; 1/sqrt(x) is 1/sqrt(lo) times the series."""
    return np.polynomial.chebyshev.chebinterpolate(
        lambda t: np.sqrt(lo / ((hi - lo) / 2 * t + (hi + lo) / 2)), degree
    )


def inverse_sqrt(x, lo, hi, degree):
    t = (2 * x - lo - hi) / (hi - lo)
    next_, after = torch.zeros_like(t), torch.zeros_like(t)
    series = inverse_sqrt_series(lo, hi, degree)
    for c in series[:0:-1]:
        next_, after = float(c) + 2 * t * next_ - after, next_
    return (float(series[0]) + t * next_ - after) / math.sqrt(lo)


def inverse_sqrt_degree(lo, hi, precision_bits):
    """Smallest degree 2^K - 1 whose relative error meets the target."""
    x = torch.logspace(math.log10(lo), math.log10(hi), 2001, dtype=torch.float64).clamp(lo, hi)
    for depth in range(1, MAX_DEPTH):
        degree = 2**depth - 1
        if float((inverse_sqrt(x, lo, hi, degree) * x.sqrt() - 1).abs().max()) <= target(precision_bits):
            return degree
    return 2**MAX_DEPTH - 1
