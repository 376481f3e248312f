"""Training and export apart: on a machine with a GPU, and on one that has the packages and the Rust side."""

import time

import torch

from .model import Transformer
from .train import quality, train


def trained(task, own, seeds, seconds=None):
    """(seed, quality of the twin, polynomial model), one seed after the other. Each run may use an equal part of the time
    that is left of `seconds`."""
    end, left = time.monotonic() + (seconds or 0), 2 * len(seeds)

    def run(seed, twin):
        nonlocal left
        limit, left = (max(end - time.monotonic(), 1.0) / left if seconds else None), left - 1
        return train(task, own, seed, twin, seconds=limit)

    for seed in seeds:
        twin = quality(run(seed, True), own)
        print(f"seed {seed} twin", twin, flush=True)
        model = run(seed, False)
        print(f"seed {seed} polynomial", quality(model, own), flush=True)
        yield seed, twin, model


def save(runs, path):
    """After each seed, so that a run that is cut off leaves what it has."""
    kept = []
    for seed, twin, model in runs:
        kept.append({"seed": seed, "twin": twin, "state": {k: v.cpu() for k, v in model.state_dict().items()}})
        part = path.with_suffix(".part")
        torch.save(kept, part)
        part.replace(path)
        print(f"seed {seed} kept in {path.name}", flush=True)


def load(task, own, path):
    for run in torch.load(path, weights_only=True):
        model = Transformer(task.shape, task.embedding(own))
        model.load_state_dict(run["state"])
        yield run["seed"], run["twin"], model.eval()
