"""Narrows the denominators and variances of single layers, each trained to answer as it did.

    python narrow.py --init student.pt --out narrow.pt --layers 0 [--minutes 5]

A layer sees the inputs that it had in the student at the start and is held to the outputs that it had there, so a step needs
no teacher and nothing beyond the last of `--layers`. Two thirds of the texts are odd. Every MINE steps the texts whose
denominators lie furthest out, at both ends of every head, are looked up; they come back in every batch.
"""

import argparse
import copy
import math
import random
import time

import distill
import texts
import torch
import torch.nn.functional as F
from student import MiniLM, batch, weights

MINE = 200
POOL = 1500  # texts of either kind that are searched
NARROW = ("denominator", "norm1_", "norm2_")


def one(student, i, x, real, share):
    """Output of layer i."""
    layer = student.layers[i]
    x = student.norm(f"norm1_{i}", layer.n1, x + student.attention(i, layer, x, real, share), real)
    h = layer.f1(x)
    a, b, c = layer.quadratic
    return student.norm(f"norm2_{i}", layer.n2, x + layer.f2((a * h + b) * h + c), real)


class Bands:
    """Penalty on what leaves a band of hi/lo = `ratio` around the middle of what was seen."""

    def __init__(self, ratio):
        self.half, self.middle, self.total = math.log(ratio) / 2, {}, 0.0

    def __call__(self, name, values, real):
        if name.startswith(NARROW):
            off = F.relu((values[real].log() - self.middle[name]).abs() - self.half) ** 2
            self.total = self.total + off.mean(0).sum() + off.amax(0).sum()


@torch.no_grad()
def mine(student, layers, ids, bands):
    """The texts at the ends of every head, and the widest hi/lo of every layer. Moves the middles of the bands."""
    order = sorted(ids, key=len)
    seen = {}

    def watch(name, values, real):
        if name.startswith(NARROW):
            log, padding = values.log(), ~real[..., None]
            ends = log.masked_fill(padding, math.inf).amin(1), log.masked_fill(padding, -math.inf).amax(1)
            seen.setdefault(name, []).append(ends)

    student.watch = watch
    for at in range(0, len(order), 16):
        own, real = batch(order[at : at + 16])
        x, share = student.embedding(own), weights(own, real)
        for i in range(max(layers) + 1):
            x = one(student, i, x, real, share)
    student.watch = None
    hard, widest = set(), {}
    for name, parts in seen.items():
        low, high = (torch.cat(part) for part in zip(*parts))
        bands.middle[name] = (low.amin(0) + high.amax(0)) / 2
        widest[name] = round((high.amax(0) - low.amin(0)).max().exp().item(), 1)
        hard.update((-low).topk(3, 0).indices.flatten().tolist() + high.topk(3, 0).indices.flatten().tolist())
    return [order[i] for i in sorted(hard)], widest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--init", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--layers", type=int, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--ratio", type=float, default=14, help="hi/lo of the bands")
    parser.add_argument("--penalty", type=float, default=0.05)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rng = random.Random(0)
    folder = next(texts.fetch("minilm", args.cache).rglob("tokenizer.json")).parent
    own = distill.tokenizer(folder)
    train, _, odd, _ = texts.corpus(args.cache)
    train, odd = ([e.ids for e in own.encode_batch(rng.sample(t, min(len(t), 30000)))] for t in (train, odd))
    student = MiniLM(folder, polynomial=True)
    student.load_state_dict(torch.load(args.init, weights_only=True))
    before = copy.deepcopy(student).requires_grad_(False)
    bands = Bands(args.ratio)
    trained = [p for i in args.layers for p in student.layers[i].parameters()]
    optimizer = torch.optim.AdamW(trained, lr=args.rate, weight_decay=0.0, betas=(0.9, 0.98))
    begin, step, hard, queue = time.time(), 0, [], []
    while (part := (time.time() - begin) / (60 * args.minutes)) < 1:
        if step % MINE == 0:
            found, widest = mine(student, args.layers, rng.sample(train, POOL // 3) + rng.sample(odd, POOL) + hard, bands)
            hard = found
            print(f"{step} {time.time() - begin:.0f} s: widest {widest}; {len(hard)} hard texts", flush=True)
            torch.save(student.state_dict(), args.out)
        if not queue:
            queue = distill.batches(rng.sample(train, 1000) + rng.sample(odd, 2000) + 10 * hard, rng)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 50) * max(0.02, 0.5 * (1 + math.cos(math.pi * part)))
        rows, real = batch(queue.pop())
        share = weights(rows, real)
        x, error, bands.total = before.embedding(rows), 0.0, 0.0
        student.watch = bands
        for i in range(max(args.layers) + 1):
            with torch.no_grad():
                y = one(before, i, x, real, share)
            if i in args.layers:
                found = one(student, i, x, real, share)
                error = error + ((found - y)[real] ** 2).sum() / (y[real] ** 2).sum()
            x = y
        student.watch = None
        loss = error + args.penalty * bands.total
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if torch.isfinite(norm):
            optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"{step} {time.time() - begin:.0f} s: error {error.item():.4f}, penalty {bands.total.item():.3f}", flush=True)
    _, widest = mine(student, args.layers, rng.sample(train, POOL) + rng.sample(odd, POOL) + hard, bands)
    print(f"end, step {step}: widest {widest}", flush=True)
    torch.save(student.state_dict(), args.out)


if __name__ == "__main__":
    main()
