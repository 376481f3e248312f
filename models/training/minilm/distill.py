"""Distils the polynomial student from all-MiniLM-L6-v2.

    python distill.py --out student.pt [--init FILE] [--minutes 60]

Loss: 10 (1 - cosine) + relative error of every layer + a penalty on denominators and variances that leave a narrow band, so
that each has one polynomial for all positions, [CLS] included.
"""

import argparse
import math
import random
import time
from pathlib import Path

import texts
import torch
import torch.nn.functional as F
from student import HEADS, LENGTH, POWER, MiniLM, batch, calm_outliers
from tokenizers import Tokenizer

BAND = 0.9  # of log(denominator) around the middle of its head
VARIANCE = (0.2, 1.5)
TOKENS = 512  # of a batch


def tokenizer(folder):
    own = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    own.no_padding()
    own.enable_truncation(LENGTH)
    return own


@torch.no_grad()
def fit_quadratics(student, batches):
    """The least-squares quadratic of GELU for every channel, on the values that it sees."""
    seen = [[] for _ in student.layers]
    student.polynomial = False
    for i, layer in enumerate(student.layers):
        layer.hook = layer.f1.register_forward_hook(
            lambda _m, _a, out, i=i: seen[i].append(out.reshape(-1, out.shape[-1]))
        )
    for ids in batches:
        student(*batch(ids))
    student.polynomial = True
    for layer, values in zip(student.layers, seen):
        layer.hook.remove()
        x = torch.cat(values).double()
        powers = torch.stack([x**2, x, torch.ones_like(x)], -1).transpose(0, 1)
        gram = powers.transpose(1, 2) @ powers + 1e-4 * torch.eye(3, dtype=torch.double)
        right = (powers * F.gelu(x).T[..., None]).sum(1)
        layer.quadratic.data = torch.linalg.solve(gram, right).T.float().contiguous()


@torch.no_grad()
def centre(student, batches):
    """Sets the middle of every head's band to the median of log(denominator)."""
    seen = [[] for _ in student.layers]

    def watch(name, values, real):
        if name.startswith("denominator"):
            seen[int(name[11:])].append(values[real])

    student.watch = watch
    for ids in batches:
        student(*batch(ids))
    student.watch = None
    for layer, values in zip(student.layers, seen):
        layer.centre = torch.cat(values).log().median(0).values


class Penalty:
    """Squares of what leaves the bands, in the mean and at the worst."""

    def __init__(self, student):
        self.student, self.total = student, 0.0

    def __call__(self, name, values, real):
        own = values[real]
        if name.startswith("denominator"):
            off = (own.log() - self.student.layers[int(name[11:])].centre).abs() - BAND
        elif name.startswith("norm1_") or name.startswith("norm2_"):
            log = own.log()
            off = torch.maximum(log - math.log(VARIANCE[1]), math.log(VARIANCE[0]) - log)
        else:
            if name.startswith("up"):
                self.total = self.total + 0.05 * (F.relu(own.abs() - 6) ** 2).mean()
            return
        off = F.relu(off) ** 2
        self.total = self.total + off.mean() + 0.1 * off.amax(0).mean()


@torch.no_grad()
def agreement(student, teacher, ids):
    """Cosines of student and teacher, in the order of `ids`."""
    out = torch.zeros(len(ids))
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for at in range(0, len(order), 32):
        rows = order[at : at + 32]
        own = batch([ids[i] for i in rows])
        out[rows] = (student(*own)[0] * teacher(*own)[0]).sum(1)
    return out


@torch.no_grad()
def spread(student, ids):
    """Largest hi/lo of a head's denominators and of a norm's variances, with their names."""
    ranges = {}

    def watch(name, values, real):
        if not name.startswith(("denominator", "norm1_", "norm2_")):
            return
        own = values[real]
        lo, hi = ranges.get(name, (math.inf, 0.0))
        ranges[name] = (torch.minimum(own.amin(0), torch.as_tensor(lo)), torch.maximum(own.amax(0), torch.as_tensor(hi)))

    student.watch = watch
    order = sorted(ids, key=len)
    for at in range(0, len(order), 32):
        student(*batch(order[at : at + 32]))
    student.watch = None
    worst = {kind: max((float((hi / lo).max()), n) for n, (lo, hi) in ranges.items() if n.startswith(kind)) for kind in ("denominator", "norm")}
    return worst


def batches(ids, rng):
    """Batches of similar length and about TOKENS tokens, in random order."""
    order = sorted(ids, key=lambda own: (len(own), rng.random()))
    out, own = [], []
    for row in order:
        if own and (len(own) + 1) * len(row) > TOKENS:
            out.append(own)
            own = []
        own.append(row)
    out.append(own)
    rng.shuffle(out)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--init", help="student to go on from")
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--penalty", type=float, default=1, help="weight of what leaves the bands")
    parser.add_argument("--odd", type=int, default=1, help="how often odd texts are seen for once of the others")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rng = random.Random(0)
    folder = next(texts.fetch("minilm", args.cache).rglob("tokenizer.json")).parent
    own = tokenizer(folder)
    train, held, odd, odd_held = ([e.ids for e in own.encode_batch(t)] for t in texts.corpus(args.cache))
    print(f"{len(train)} texts, {sum(map(len, train)) / len(train):.1f} tokens each; {len(odd)} odd ones", flush=True)
    teacher = MiniLM(folder, polynomial=False).requires_grad_(False)
    student = MiniLM(folder, polynomial=True)
    some = [train[i : i + 16] for i in range(0, 640, 16)]
    if args.init:
        student.load_state_dict(torch.load(args.init, weights_only=True))
    else:
        fit_quadratics(student, some)
        calm_outliers(student)

    def report(name):
        cos, strange = agreement(student, teacher, held[:400]), agreement(student, teacher, odd_held[:200])
        worst = spread(student, held[:400] + odd_held[:200])
        print(
            f"{name}: held-out cosine {cos.mean():.4f} (5 % below {cos.quantile(0.05):.4f}, least {cos.min():.4f}); "
            f"odd {strange.mean():.4f} (least {strange.min():.4f}); widest {worst}",
            flush=True,
        )

    centre(student, some)
    report("start")
    weights = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.rate, weight_decay=0.0, betas=(0.9, 0.98))
    begin, step, mean = time.time(), 0, None
    queue = []
    while (part := (time.time() - begin) / (60 * args.minutes)) < 1:
        if not queue:
            queue = batches(train + args.odd * odd, rng)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 50) * max(0.02, 0.5 * (1 + math.cos(math.pi * part)))
        ids, real = batch(queue.pop())
        with torch.no_grad():
            target, wanted = teacher(ids, real)
        penalty = student.watch = Penalty(student)
        found, hidden = student(ids, real)
        student.watch = None
        distance = (1 - (found * target).sum(1)).mean()
        words = real.clone()
        words[:, 0] = False
        layers = sum(((x - y)[words] ** 2).sum() / (y[words] ** 2).sum() for x, y in zip(hidden, wanted))
        loss = 10 * distance + layers + args.penalty * penalty.total
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        if torch.isfinite(norm):
            optimizer.step()
        step += 1
        mean = distance.item() if mean is None else 0.97 * mean + 0.03 * distance.item()
        if step % 100 == 0:
            print(f"{step} {time.time() - begin:.0f} s: 1 - cosine {mean:.4f}, layers {layers.item():.3f}, penalty {penalty.total.item():.3f}, gradient {norm:.2f}", flush=True)
        if step % 500 == 0:
            report(f"step {step}")
            torch.save(student.state_dict(), args.out)
    report(f"end, step {step}")
    torch.save(student.state_dict(), args.out)


if __name__ == "__main__":
    main()
