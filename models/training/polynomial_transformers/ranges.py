"""Where the values of a model were: `ranges.json`, the `fit` of `config.json`, condition numbers. Rules of the Rust crate."""

import torch

from .norms import TokenNorm
from .polynomials import inverse_sqrt_degree, reciprocal_doublings


def merge(own, found):
    for key, (lo, hi) in found.items():
        a, b = own.get(key, (lo, hi))
        own[key] = (torch.minimum(a, lo), torch.maximum(b, hi))


@torch.no_grad()
def observe(model, inputs, size=256):
    """(what, index) -> (lo, hi), per head for scores and denominators. `inputs` (n, ..)."""
    model.eval()
    seen = {}
    span = lambda v: (v.min(), v.max())
    per_head = lambda v: (v.transpose(0, 1).flatten(1).amin(1), v.transpose(0, 1).flatten(1).amax(1))
    for batch in inputs.split(size):
        model(batch)
        found = {("embedding", 0): span(model.seen["embedding"])}
        for i, layer in enumerate(model.seen["layers"]):
            found.update({(k, i): per_head(v) if k in ("scores", "denominators") else span(v) for k, v in layer.items()})
        for i, norm in enumerate(model.seen["norms"]):
            found.update({(k, i): span(v) for k, v in norm.items()})
        merge(seen, found)
    return seen


def largest(pair):
    return torch.maximum(pair[0].abs(), pair[1].abs()).double().tolist()


def to_json(seen, inputs):
    """The `Ranges` of the Rust crate. Variances of norms that do not invert are [1, 1], without meaning."""
    n_layers = sum(what == "denominators" for what, _ in seen)

    def norm(i):
        lo, hi = seen.get(("variance", i), (torch.tensor(1.0), torch.tensor(1.0)))
        return {"variance": [float(lo), float(hi)], "normed_max": largest(seen["normed", i])}

    layers = []
    for i in range(n_layers):
        one = lambda key: largest(seen[key, i])
        lo, hi = seen["denominators", i]
        layers.append({
            "score_max": one("scores"),
            "denominator": [[a, b] for a, b in zip(lo.tolist(), hi.tolist())],
            "value_max": one("values"), "attention_max": one("attention"),
            "residual1_max": one("residual1"), "norm1": norm(2 * i), "up_max": one("up"),
            "residual2_max": one("residual2"), "norm2": norm(2 * i + 1),
        })
    out = {"inputs": inputs, "layers": layers, "embedding_max": largest(seen["embedding", 0])}
    if ("normed", 2 * n_layers) in seen:
        out["final_norm"] = norm(2 * n_layers)
    return out


def fit(ranges, shape):
    """The `Fit` of the Rust crate: ranges widened by the margin, smallest degrees that meet the precision."""
    m = shape.margin
    inverts = shape.norm in ("layer_norm", "rms_norm")

    def norm(own):
        if not inverts:
            return {"variance": [1.0, 1.0], "degree": 0}
        lo, hi = own["variance"][0] / m, own["variance"][1] * m
        return {"variance": [lo, hi], "degree": inverse_sqrt_degree(lo, hi, shape.precision_bits)}

    layers = []
    for own in ranges["layers"]:
        denominator = [[lo / m, hi * m] for lo, hi in own["denominator"]]
        layers.append({
            "score_max": [v * m for v in own["score_max"]],
            "denominator": denominator,
            "reciprocal_doublings": reciprocal_doublings(denominator, shape.precision_bits),
            "norm1": norm(own["norm1"]), "norm2": norm(own["norm2"]),
            "activation": {"range": own["up_max"] * m, "degree": {"quadratic": 2, "polynomial": 4}[shape.activation]},
            "normed1_max": own["norm1"]["normed_max"] * m, "normed2_max": own["norm2"]["normed_max"] * m,
            **{k: own[k] * m for k in ("value_max", "attention_max", "residual1_max", "residual2_max", "up_max")},
        })
    out = {"layers": layers, "embedding_max": ranges["embedding_max"] * m}
    if "final_norm" in ranges:
        out["final_norm"] = norm(ranges["final_norm"])
    return out


def substitute(model, fitted):
    """Stage 3: puts the polynomials in place (`fitted` None: takes them away)."""
    norms = [n for layer in model.layers for n in (layer.norm1, layer.norm2)] + [model.final_norm]
    chosen = [None] * len(norms)
    if fitted:
        chosen = [n for layer in fitted["layers"] for n in (layer["norm1"], layer["norm2"])] + [fitted.get("final_norm")]
    for norm, own in zip(norms, chosen):
        if isinstance(norm, TokenNorm):
            norm.fit = (*own["variance"], own["degree"]) if own else None
    for i, layer in enumerate(model.layers):
        layer.attention.fit = None
        if fitted:
            own = fitted["layers"][i]
            lo, hi = torch.tensor(own["denominator"], dtype=torch.float64).T
            layer.attention.fit = (lo, hi, own["reciprocal_doublings"])
    return model


@torch.no_grad()
def outside(model, inputs, fitted, size=256):
    """Inputs with a denominator or variance outside the fitted ranges (exact forward pass)."""
    substitute(model.eval(), None)
    count = 0
    for batch in inputs.split(size):
        model(batch)
        bad = torch.zeros(len(batch), dtype=torch.bool)
        for own, layer in zip(fitted["layers"], model.seen["layers"]):
            d = layer["denominators"]
            lo, hi = (r.to(d.dtype)[:, None, None] for r in torch.tensor(own["denominator"], dtype=torch.float64).T)
            bad |= ((d < lo) | (d > hi)).flatten(1).any(1)
        count += int(bad.sum())
    return count
