"""Largest and smallest values of a student on many texts: what its polynomials are fitted to."""

import torch
from feed import patterns, shelves
from student import LAYERS


class Seen:
    """By name; of heads, one each."""

    def __init__(self):
        self.largest, self.smallest, self.texts = {}, {}, 0

    def __call__(self, name, values, real):
        own = values[real]
        per_head = name.startswith(("denominator", "score"))
        high, low = (own.amax(0), own.amin(0)) if per_head else (own.abs().amax(), own.amin())
        self.largest[name] = torch.maximum(self.largest.get(name, high), high)
        self.smallest[name] = torch.minimum(self.smallest.get(name, low), low)

    def max(self, name):
        return self.largest[name].item()

    def norm(self, i, which):
        name = f"norm{which}_{i}"
        return {
            "variance": [self.smallest[name].item(), self.largest[name].item()],
            "normed_max": self.max(f"normed{which}_{i}"),
        }

    def layer(self, i):
        low, high = self.smallest[f"denominator{i}"], self.largest[f"denominator{i}"]
        return {
            "score_max": self.largest[f"score{i}"].tolist(),
            "denominator": [[a, b] for a, b in zip(low.tolist(), high.tolist())],
            "value_max": self.max(f"value{i}"),
            "attention_max": self.max(f"attention{i}"),
            "residual1_max": self.max(f"residual1_{i}"),
            "norm1": self.norm(i, 1),
            "up_max": self.max(f"up{i}"),
            "residual2_max": self.max(f"residual2_{i}"),
            "norm2": self.norm(i, 2),
        }

    def summary(self):
        return {
            "inputs": self.texts,
            "embedding_max": self.max("embedding"),
            "layers": [self.layer(i) for i in range(LAYERS)],
        }


@torch.no_grad()
def ranges(student, runs, rng, texts, strange, tokens):
    """`texts` texts of the first run, single and several in a row; the odd ones of the second; `strange` patterns."""
    train, odd = runs
    seen = student.watch = Seen()
    for run, pieces in shelves(train, train.draw(rng, texts), tokens, rng) + shelves(odd, odd.texts()[:texts], tokens, rng):
        student(*run.batch(pieces))
        seen.texts += len(pieces)
    while strange > 0:
        ids, real = patterns(train, tokens)
        student(ids, real)
        seen.texts += len(ids)
        strange -= len(ids)
    student.watch = None
    return seen.summary()
