"""Distils the polynomial student from all-MiniLM-L6-v2.

    python distill.py --bundle bundle.npz --out FOLDER [--minutes 60]

Loss: 10 (1 - cosine), 3 more for the worst texts of a batch, the relative error of every layer, and a penalty on denominators,
variances and inputs of the activation that leave a band, in the mean and of the texts that are furthest out. Takes a GPU if
there is one.
"""

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from bundle import CORPORA
from feed import Feed, Run, shelves
from polynomial_transformers.activations import gelu_quadratic
from polynomial_transformers.export import write_json
from ranges import ranges
from student import HEADS, POWER, MiniLM, calm_outliers, restore, rounded, save

# No penalty inside: denominators (their median is 1), variances over their median, inputs of the activation.
DENOMINATOR = (0.3, 3.0)
VARIANCE = (0.5, 2.0)
UP = 6.0
FURTHEST = 16  # texts of a batch that are penalised once more
WORST = 16  # one in so many texts of a batch, the least like the teacher's, counts once more
RANGES = ("denominators", "variance")


def load(path, device):
    """Weights of the teacher, and the runs of the corpora."""
    with np.load(path) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    runs = {name: Run(arrays.pop(name + ".ids"), arrays.pop(name + ".starts"), device) for name in CORPORA}
    return arrays, runs


def watched(student, batches):
    """What the ranged values are on the real tokens of the batches, by (what, index): (tokens, heads)."""
    seen = {}
    student.watch = lambda key, values, real: seen.setdefault(key, []).append(values[real]) if key[0] in RANGES else None
    for ids, real in batches:
        student(ids, real)
    student.watch = None
    return {key: torch.cat(values) for key, values in seen.items()}


@torch.no_grad()
def fit_quadratics(student, batches):
    """The least-squares quadratic of GELU for every channel, on the values that it sees."""
    seen = [[] for _ in student.layers]
    student.polynomial = False
    for i, layer in enumerate(student.layers):
        layer.hook = layer.f1.register_forward_hook(lambda _m, _a, out, i=i: seen[i].append(out.reshape(-1, out.shape[-1])))
    for ids, real in batches:
        student(ids, real)
    student.polynomial = True
    for layer, values in zip(student.layers, seen):
        layer.hook.remove()
        layer.quadratic.data = gelu_quadratic(torch.cat(values)).float().contiguous()


@torch.no_grad()
def centre(student, batches):
    """Scales every head so that the median of its denominators is 1; returns the medians of the variances."""
    for i, layer in enumerate(student.layers):
        middle = watched(student, batches)["denominators", i].median(0).values.view(HEADS, 1, 1)
        layer.shift.data /= middle ** (1 / POWER)
        layer.gain.data /= middle ** (1 / POWER)
    return {key: values.median() for key, values in watched(student, batches).items() if key[0] == "variance"}


class Penalty:
    """Squares of what leaves the bands; `worst` has those of each text."""

    def __init__(self, medians):
        self.medians, self.total, self.worst = medians, 0.0, 0.0

    def __call__(self, key, values, real):
        match key[0]:
            case "denominators":
                self.add(values.log(), [math.log(v) for v in DENOMINATOR], real)
            case "variance":
                self.add((values / self.medians[key]).log(), [math.log(v) for v in VARIANCE], real)
            case "up":
                self.add(values, [-UP, UP], real, weight=0.05)

    def add(self, values, band, real, weight=1.0):
        off = weight * ((values - values.clamp(*band)) * real[..., None]) ** 2
        texts = off.amax((1, 2))
        self.total = self.total + off.mean() + 0.1 * texts.topk(min(FURTHEST, len(texts))).values.mean()
        self.worst = self.worst + texts.detach()


def batches(run, tokens=16384):
    """All texts of a run, in batches."""
    return [own.batch(pieces) for own, pieces in shelves(run, run.texts(), tokens, np.random.default_rng(0))]


@torch.no_grad()
def report(name, student, teacher, held, odd_held):
    """Prints cosines to the teacher, and the widest condition numbers."""
    cosines = [torch.cat([(student(*own)[0] * teacher(*own)[0]).sum(1) for own in part]) for part in (held, odd_held)]
    widest = {}
    for (what, index), values in watched(student, held + odd_held).items():
        ratio = float((values.amax(0) / values.amin(0)).max())
        widest[what] = max(widest.get(what, (0, 0)), (round(ratio, 1), index))
    text = [f"{c.mean():.4f} (5 % below {c.quantile(0.05):.4f}, least {c.min():.4f}, {int((c < 0.9).sum())} below .9)" for c in cosines]
    print(f"{name}: held-out cosine {text[0]}; odd {text[1]}; widest {widest}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--init", help="folder of a student to go on from")
    parser.add_argument("--out", required=True, help="folder for the files of the student")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--tokens", type=int, default=32768, help="of a batch")
    parser.add_argument("--penalty", type=float, default=1, help="weight of what leaves the bands; three times that at the end")
    parser.add_argument("--decay", type=float, default=0.999, help="of the mean over steps that is kept")
    parser.add_argument("--calibrate", type=int, default=20000, help="texts whose ranges are kept at the end; half as many patterns")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(0)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    weights, runs = load(args.bundle, device)
    feed = Feed(runs["train"], runs["odd"], args.tokens, seed=0)
    held, odd_held = batches(runs["held"]), batches(runs["odd_held"])
    print(f"{len(runs['train'])} texts, {len(runs['odd'])} odd ones, on {device}", flush=True)
    teacher = MiniLM(weights, polynomial=False).requires_grad_(False).to(device)
    student = MiniLM(weights, polynomial=True)
    some = batches(runs["held"], 2048)[:12]
    if args.init:
        restore(student, args.init)
        medians = centre(student.to(device), some)
    else:
        calm_outliers(student)
        fit_quadratics(student.to(device), some)
        medians = centre(student, some)
    report("start", student, teacher, held, odd_held)

    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.rate, weight_decay=0.0, betas=(0.9, 0.98), fused=device.type == "cuda")
    mean = copy.deepcopy(student).requires_grad_(False)
    kept = list(mean.parameters())
    begin, step = time.time(), 0
    while (part := (time.time() - begin) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 200) * max(0.02, 0.5 * (1 + math.cos(math.pi * part)))
        ids, real = feed.next()
        with torch.no_grad():
            target, wanted = teacher(ids, real)
        penalty = student.watch = Penalty(medians)
        found, hidden = student(ids, real)
        student.watch = None
        distances = 1 - (found * target).sum(1)
        distance = distances.mean()
        tail = distances.topk(max(1, len(ids) // WORST)).values.mean()
        words = real.clone()
        words[:, 0] = False
        words = words[..., None]
        layers = sum(((x - y) ** 2 * words).sum() / (y**2 * words).sum() for x, y in zip(hidden, wanted))
        loss = 10 * distance + 3 * tail + layers + args.penalty * (1 + 2 * part) * penalty.total
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        if torch.isfinite(norm):
            optimizer.step()
            for furthest in (penalty.worst, distances):
                feed.hard.keep(ids[furthest.topk(min(6, len(ids))).indices])
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(kept, trained, 1 - min(args.decay, step / (step + 10)))
        if step % 100 == 0:
            print(
                f"{step} {time.time() - begin:.0f} s: 1 - cosine {distance.item():.4f}, layers {layers.item():.3f}, "
                f"penalty {penalty.total.item():.3f}, gradient {norm:.2f}",
                flush=True,
            )
        if step % 1000 == 0:
            report(f"step {step}", mean, teacher, held, odd_held)
            save(mean, args.out)
    rounded(mean)
    save(mean, args.out)
    report(f"end, step {step}", mean, teacher, held, odd_held)
    seen = ranges(mean, (runs["train"], runs["odd"]), feed.rng, args.calibrate, args.calibrate // 2, args.tokens)
    write_json(Path(args.out) / "ranges.json", seen)
    print(f"ranges on {seen['inputs']} texts", flush=True)


if __name__ == "__main__":
    main()
