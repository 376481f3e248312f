"""Train everything, choose on dev, export: `python train.py`. About an hour on one CPU thread."""

import argparse
import copy
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import data
from data import CLS, PAD, SEP, SEQ_LEN, UNK
from model import Classifier, Quadratic

torch.set_num_threads(1)
MARGIN = 1.25  # calibrated range = observed range widened by this factor at both ends


@dataclass(frozen=True)
class Config:
    """Hyper-parameters, chosen on dev (see README.md)."""

    kind: str = "power"
    n_heads: int = 8
    hidden_dim: int = 64
    epochs: int = 12
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    word_dropout: float = 0.1  # probability that a word is replaced by [UNK]
    sharpness: float = 2.0  # target P(positive) = sigmoid(sharpness * rating); 0: hard labels, smoothed
    neutral: bool = True  # train on near-neutral sentences too (soft targets only)
    ema: float = 0.998  # evaluated weights: exponential moving average of the trained ones
    penalty: float = 0.3
    denominators: tuple = (0.6, 3.5)  # no penalty inside
    limit: float = 4.0  # no penalty for |score|, |pre-activation| below this
    fine_tune_epochs: int = 2
    fine_tune_lr: float = 3e-4


class Corpus:
    """Tensors of every split, the word embeddings, and which words have a delta."""

    def __init__(self, cache):
        self.cache = cache
        self.sentences = data.splits(cache)
        tokenizer = data.load_tokenizer(cache)
        self.ids, self.ratings = {}, {}
        for name, rows in self.sentences.items():
            self.ids[name] = torch.from_numpy(data.encode(tokenizer, [s.text for s in rows]))
            self.ratings[name] = torch.tensor([s.rating for s in rows])
        self.words = torch.from_numpy(data.word_embeddings(cache))
        counts = torch.bincount(
            torch.cat([self.ids["train"], self.ids["neutral"]]).flatten(), minlength=len(self.words)
        )
        self.trained = counts >= 2
        self.trained[PAD] = False

    def labels(self, name):
        return (self.ratings[name] > 0).long()

    def probes(self, n, generator):
        """Sentences of random words and random lengths (0 to 30 words): inputs unlike the data."""
        pool = self.trained.nonzero().flatten()
        ids = pool[torch.randint(len(pool), (n, SEQ_LEN), generator=generator)]
        end = torch.randint(1, SEQ_LEN, (n, 1), generator=generator)
        repeat = torch.rand(n, 1, generator=generator) < 0.2  # one word again and again
        ids = torch.where(repeat, ids[:, :1], ids)
        position = torch.arange(SEQ_LEN)
        ids = torch.where(position == end, SEP, torch.where(position > end, PAD, ids))
        ids[:, 0] = CLS
        return ids


def excess(x, lo, hi):
    """Squared distance of x from [lo, hi]: the mean, and a little of the worst."""
    d = F.relu(x - hi) + F.relu(lo - x)
    return (d * d).mean() + 0.05 * (d * d).amax()


def range_penalty(seen, probe_seen, config):
    lo, hi = (math.log(v) for v in config.denominators)
    total = excess(seen["denominators"].log(), lo, hi)
    total = total + 0.5 * excess(probe_seen["denominators"].log(), lo, hi)
    for name in ("pre_activations", "scores", "q", "k", "v"):
        total = total + excess(seen[name], -config.limit, config.limit)
    return total


@torch.no_grad()
def predict(model, ids):
    model.eval()
    return torch.cat([model(part) for part in ids.split(512)])


def accuracy(model, corpus, name):
    return (predict(model, corpus.ids[name]).argmax(1) == corpus.labels(name)).double().mean().item()


@torch.no_grad()
def observe(model, ids):
    """Ranges of the intermediate values on `ids`; denominators also per head."""
    model.eval()
    lo, hi = {}, {}
    for part in ids.split(512):
        model(part)
        for name, value in model.seen.items():
            v = value.transpose(0, 1).flatten(1) if name == "denominators" else value.flatten()[None]
            a, b = v.amin(1), v.amax(1)
            lo[name] = torch.minimum(lo.get(name, a), a)
            hi[name] = torch.maximum(hi.get(name, b), b)
    return {name: torch.stack([lo[name], hi[name]], 1) for name in lo}


def calibrate(model, corpus):
    """Per-head denominator ranges on train + neutral + dev, widened by MARGIN at both ends."""
    model.attention.ranges = None
    ids = torch.cat([corpus.ids[name] for name in ("train", "neutral", "dev")])
    seen = observe(model, ids)["denominators"]
    return torch.stack([seen[:, 0] / MARGIN, seen[:, 1] * MARGIN], 1)


def fit(model, corpus, config, seed, epochs, lr, frozen_norm=False, log=False):
    """Train in place; leaves the averaged weights of the best dev epoch. Returns dev accuracy."""
    g = torch.Generator().manual_seed(seed)
    names = ["train", "neutral"] if config.neutral and config.sharpness else ["train"]
    ids = torch.cat([corpus.ids[n] for n in names])
    ratings = torch.cat([corpus.ratings[n] for n in names])
    if config.sharpness:
        targets = torch.sigmoid(config.sharpness * ratings)
    else:
        targets = 0.05 + 0.9 * (ratings > 0).float()
    steps = epochs * (len(ids) // config.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.15)
    average = copy.deepcopy(model)
    best, best_state, step = -1.0, None, 0
    for epoch in range(epochs):
        order = torch.randperm(len(ids), generator=g)
        for i in range(0, len(ids) - config.batch + 1, config.batch):
            model.train()
            if frozen_norm:
                model.norm.eval()
            j = order[i : i + config.batch]
            batch = ids[j]
            drop = torch.rand(batch.shape, generator=g) < config.word_dropout
            batch = torch.where(drop & (batch > SEP), UNK, batch)
            log_p = model(batch).log_softmax(-1)
            p = targets[j]
            loss = -(p * log_p[:, 1] + (1 - p) * log_p[:, 0]).mean()
            if config.kind == "power":
                seen, probe_seen = model.seen, {}
                probe = corpus.probes(8, g)
                model.attention(model.embeddings(probe), probe == PAD, probe_seen)
                loss = loss + config.penalty * range_penalty(seen, probe_seen, config)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if isinstance(model.activation, Quadratic):
                model.activation.project()
            step += 1
            decay = min(config.ema, step / (step + 10))
            with torch.no_grad():
                for a, b in zip(average.parameters(), model.parameters()):
                    a.lerp_(b, 1 - decay)
                for a, b in zip(average.buffers(), model.buffers()):
                    if a.is_floating_point() and a is not average.embeddings.words:
                        a.lerp_(b, 1 - decay)
        if isinstance(average.activation, Quadratic):
            average.activation.project()
        dev = accuracy(average, corpus, "dev")
        if log:
            print(f"  epoch {epoch}: loss {loss.item():.3f} dev {dev:.4f}", flush=True)
        if dev >= best:
            best, best_state = dev, copy.deepcopy(average.state_dict())
    model.load_state_dict(best_state)
    model.eval()
    return best


def train(corpus, config, seed, log=False):
    torch.manual_seed(seed)
    model = Classifier(
        config.kind, corpus.words, corpus.trained, n_heads=config.n_heads,
        hidden_dim=config.hidden_dim, dropout=config.dropout,
    )
    dev = fit(model, corpus, config, seed, config.epochs, config.lr, log=log)
    return model, dev


def make_polynomial(model, corpus, config, seed, log=False):
    """A copy with the reciprocal polynomial in place of the division, fine-tuned with it."""
    model = copy.deepcopy(model)
    model.attention.ranges = calibrate(model, corpus)
    if config.fine_tune_epochs:
        fit(model, corpus, config, seed + 100, config.fine_tune_epochs, config.fine_tune_lr,
            frozen_norm=True, log=log)
    model.embeddings.fold()
    model.attention.ranges = calibrate(model, corpus)
    return model
