"""Range-aware training (stage 2), and accuracy."""

import copy
import math
import time

import torch
import torch.nn.functional as F

from .data import IGNORED, SEP, UNK
from .model import Transformer
from .odd import odd
from .penalties import range_penalty


@torch.no_grad()
def predict(model, inputs, size=256):
    model.eval()
    return torch.cat([model(part) for part in inputs.split(size)])


def share(logits, labels):
    """Right labels, or right next tokens of all positions."""
    right, known = logits.argmax(-1) == labels, labels != IGNORED
    return float(right[known].double().mean())


def loss_of(logits, labels, smoothing=0.0):
    """Cross entropy with labels, or with probabilities of labels."""
    if labels.is_floating_point():
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)


def quality(model, own, splits=("dev", "test")):
    """Accuracy, also by domain where there are some, and of a model of next tokens the perplexity."""
    logits = {s: predict(model, own.inputs[s]) for s in splits}
    out = {s: share(v, own.labels[s]) for s, v in logits.items()}
    if model.shape.next_token:
        out.update({f"{s}_perplexity": float(loss_of(v, own.labels[s]).exp()) for s, v in logits.items()})
    if "test" in splits and own.sources:
        domains = [domain for _, domain in own.sources["test"]]
        of = lambda domain: torch.tensor([i for i, d in enumerate(domains) if d == domain], device=own.labels["test"].device)
        rows = {domain: of(domain) for domain in dict.fromkeys(domains)}
        out["test_by_domain"] = {d: share(logits["test"][i], own.labels["test"][i]) for d, i in rows.items()}
    return out


def better(found, best):
    """Of two qualities: less perplexity, or more right labels, on dev."""
    if best is None:
        return True
    return found["dev_perplexity"] < best["dev_perplexity"] if "dev_perplexity" in found else found["dev"] >= best["dev"]


@torch.no_grad()
def follow(average, model, keep):
    """Moves the average of a model's weights and statistics towards it."""
    for own, now in zip(average.state_dict().values(), model.state_dict().values()):
        if own.is_floating_point():
            own.lerp_(now, 1 - keep)


class Clock:
    """How far a run is: in steps or, when it may last only so many seconds, in time, whichever is further."""

    def __init__(self, steps, seconds=None):
        self.steps, self.seconds, self.done, self.start = steps, seconds, 0, time.monotonic()

    def progress(self):
        spent = (time.monotonic() - self.start) / self.seconds if self.seconds else 0.0
        return min(max(self.done / self.steps, spent), 1.0)


def rise(progress, over):
    """From 0 to 1 while the progress is less than `over`."""
    return min(progress / over, 1.0) if over else 1.0


def rate(progress, warm_up):
    """Of the learning rate, the share: a rise, then half a cosine."""
    if progress < warm_up:
        return rise(progress, warm_up)
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warm_up) / (1 - warm_up))


def train(task, own, seed, twin, model=None, seconds=None, log=print):
    """The epoch that is best on dev. `model`: go on from it (stage 1, see `model.swap`) instead of from scratch.
    `seconds`: the schedule is squeezed into this time where its epochs need more. Runs where the tensors of `own` are."""
    torch.manual_seed(seed)
    plan, device = task.schedule, own.labels["train"].device
    model = (model or Transformer(task.shape, task.embedding(own), twin)).to(device)
    average = copy.deepcopy(model)
    g = torch.Generator().manual_seed(seed)
    batches = len(own.inputs["train"]) // plan.batch
    odds = 0 if twin else int(plan.odd * plan.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=plan.weight_decay, fused=device.type == "cuda")
    # matrices in TF32, everything between them in float32
    torch.set_float32_matmul_precision("high")
    clock, best, state, epoch = Clock(plan.epochs * batches, seconds), None, None, 0
    while clock.progress() < 1:
        inputs, labels = own.epoch(g)
        strange = odd(own, odds * batches, g).to(device).split(odds) if odds else None
        for i in range(min(batches, len(inputs) // plan.batch)):
            model.train()
            part = slice(i * plan.batch, (i + 1) * plan.batch)
            x = inputs[part]
            if plan.word_dropout:
                dropped = torch.rand(x.shape, generator=g).to(device) < plan.word_dropout
                x = torch.where(dropped & (x > SEP), UNK, x)
            x = x if strange is None else torch.cat([x, strange[i]])
            loss = loss_of(model(x)[: plan.batch], labels[part], plan.smoothing)
            if not twin:
                loss = loss + plan.penalty * rise(clock.progress(), plan.tighten) * range_penalty(model.seen, plan)
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * rate(clock.progress(), plan.warm_up)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            model.project()
            clock.done += 1
            follow(average, model, min(plan.average, clock.done / (clock.done + 10)))
            if clock.progress() == 1:
                break
        average.project()
        found, epoch = quality(average, own, ["dev"]), epoch + 1
        log(f"  seed {seed} {'twin' if twin else 'polynomial'} epoch {epoch}, {100 * clock.progress():.0f} %, "
            f"{time.monotonic() - clock.start:.0f} s: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()), flush=True)
        if better(found, best):
            best, state = found, copy.deepcopy(average.state_dict())
    torch.set_float32_matmul_precision("highest")
    model.load_state_dict(state)
    return model.eval()
