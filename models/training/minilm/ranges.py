"""Largest and smallest values of a student on many texts: what its polynomials are fitted to."""

import torch
from feed import patterns, shelves
from polynomial_transformers.ranges import merge, to_json


@torch.no_grad()
def ranges(student, runs, rng, texts, strange, tokens):
    """`texts` texts of the first run, single and several in a row; the odd ones of the second; `strange` patterns."""
    train, odd = runs
    seen, inputs = {}, 0

    def watch(key, values, real):
        own = values[real]
        per_head = key[0] in ("denominators", "scores")
        merge(seen, {key: (own.amin(0), own.amax(0)) if per_head else (own.amin(), own.amax())})

    student.watch = watch
    for run, pieces in shelves(train, train.draw(rng, texts), tokens, rng) + shelves(odd, odd.texts()[:texts], tokens, rng):
        student(*run.batch(pieces))
        inputs += len(pieces)
    while strange > 0:
        ids, real = patterns(train, tokens)
        student(ids, real)
        inputs += len(ids)
        strange -= len(ids)
    student.watch = None
    return to_json(seen, inputs)
