"""Range-aware training (stage 2), and accuracy."""

import copy

import torch
import torch.nn.functional as F

from .data import IGNORED
from .model import Transformer
from .penalties import range_penalty


@torch.no_grad()
def predict(model, inputs, size=256):
    model.eval()
    return torch.cat([model(part) for part in inputs.split(size)])


def accuracy(model, own, split):
    return share(predict(model, own.inputs[split]), own.labels[split])


def share(logits, labels):
    """Right labels, or right next tokens of all positions."""
    right, known = logits.argmax(-1) == labels, labels != IGNORED
    return float(right[known].double().mean())


def loss_of(logits, labels, smoothing=0.0):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)


def quality(model, own):
    """Accuracy on dev and test; of a model of next tokens also the perplexity."""
    logits = {s: predict(model, own.inputs[s]) for s in ("dev", "test")}
    out = {s: share(v, own.labels[s]) for s, v in logits.items()}
    if model.shape.next_token:
        out.update({f"{s}_perplexity": float(loss_of(v, own.labels[s]).exp()) for s, v in logits.items()})
    return out


def train(task, own, seed, twin, model=None, log=print):
    """The epoch that is best on dev. `model`: go on from it (stage 1, see `model.swap`) instead of from scratch."""
    torch.manual_seed(seed)
    plan = task.schedule
    model = model or Transformer(task.shape, task.embedding(own), twin)
    g = torch.Generator().manual_seed(seed)
    inputs, labels = own.inputs["train"], own.labels["train"]
    steps = plan.epochs * (len(inputs) // plan.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.rate, weight_decay=plan.weight_decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=steps, pct_start=0.15)
    best, state = -1.0, None
    for epoch in range(plan.epochs):
        order = torch.randperm(len(inputs), generator=g)
        for i in range(0, len(inputs) - plan.batch + 1, plan.batch):
            model.train()
            j = order[i : i + plan.batch]
            loss = loss_of(model(inputs[j]), labels[j], plan.smoothing)
            if not twin:
                loss = loss + plan.penalty * range_penalty(model.seen, plan)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate.step()
            model.project()
        dev = accuracy(model, own, "dev")
        log(f"  seed {seed} {'twin' if twin else 'polynomial'} epoch {epoch}: dev {dev:.4f}")
        if dev >= best:
            best, state = dev, copy.deepcopy(model.state_dict())
    model.load_state_dict(state)
    return model.eval()
