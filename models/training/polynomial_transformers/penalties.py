"""Penalties that keep what a polynomial will see inside a narrow range."""

import math


def excess(x, lo, hi):
    """Squared distance of x (inputs, ..) from [lo, hi]: the mean, and a little of the worst of each input and of all."""
    d = (x - x.clamp(lo, hi)).square().flatten(1)
    worst = d.amax(1)
    return d.mean() + 0.05 * worst.mean() + 0.05 * worst.amax()


def range_penalty(seen, settings):
    """Over all layers: denominators and variances (by their logarithm), scores and inputs of the activation."""
    total = 0.0
    for layer in seen["layers"]:
        total = total + excess(layer["denominators"].log(), *(math.log(v) for v in settings.denominator))
        for name in ("scores", "up"):
            total = total + excess(layer[name], -settings.limit, settings.limit)
    for norm in seen["norms"]:
        if "variance" in norm:
            total = total + excess(norm["variance"].log(), *(math.log(v) for v in settings.variance))
    return total
