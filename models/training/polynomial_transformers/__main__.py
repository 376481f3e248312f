"""Trains a model of the zoo and its softmax twin over seeds, and writes its folder: `polynomial-transformers r8`."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import ranges
from .baseline import linear, ngrams
from .card import card
from .checkpoints import load, save, trained
from .data import IGNORED, PAD
from .export import export, write_json
from .odd import at_random, odd
from .tasks import TASKS
from .train import predict, quality


def polynomial(model, own, odds):
    """Folded, in float64, with its fit: (model, ranges, fit). Ranges are those of train, dev and `odds` odd inputs."""
    model.embedding.fold()
    inputs = torch.cat([own.inputs["train"], own.inputs["dev"]])
    if odds:
        inputs = torch.cat([inputs, odd(own, odds, torch.Generator().manual_seed(1))])
    seen = ranges.to_json(ranges.observe(model, inputs), model, len(inputs))
    model = model.double()
    return model, seen, ranges.fit(seen, model.shape)


def conditions(model, own, fitted):
    """hi/lo of the denominators: of the fit, and seen on test."""
    seen = ranges.observe(model, own.inputs["test"])
    return [
        {"layer": i, "doublings": layer["reciprocal_doublings"],
         "fit": [hi / lo for lo, hi in layer["denominator"]],
         "test": (seen["denominators", i][1] / seen["denominators", i][0]).tolist()}
        for i, layer in enumerate(fitted["layers"])
    ]


GOLDEN = [
    "",
    "The company said its first quarter net profit rose to 12 mln dlrs, or 35 cts a share.",
    "Wheat exports fell as farmers held back grain, the ministry of agriculture said.",
    "The central bank cut its key rate and the dollar fell against the yen.",
    "Oil ministers agreed to keep crude output at 16 mln barrels a day.",
    "Dear friend, you have won a prize! Click here to claim your free money now!!!",
    "Re: the patch for the build . Could you send me the log of the failing test? Thanks, Anna",
    "Ships wait at the port because of a strike. " * 20,
]


def golden(model, own, fitted):
    """Inputs and answers; of next tokens, the answer at the last token that is not padding."""
    if own.texts:
        tokenizer = Tokenizer.from_str(own.tokenizer)
        inputs = torch.tensor([e.ids for e in tokenizer.encode_batch(GOLDEN)])
        cases = [{"text": text, "input_ids": ids} for text, ids in zip(GOLDEN, inputs.tolist())]
    else:
        inputs = own.inputs["test"][:8]
        cases = [{"pixels": pixels} for pixels in inputs.tolist()]
    exact = predict(ranges.substitute(model, None), inputs)
    found = predict(ranges.substitute(model, fitted), inputs)
    if model.shape.next_token:
        last = ((inputs != PAD).sum(1) - 1).clamp_min(0)
        exact, found = (v[torch.arange(len(v)), last] for v in (exact, found))
        for case, position in zip(cases, last.tolist()):
            case["position"] = position
    for case, a, b in zip(cases, exact.tolist(), found.tolist()):
        case.update(logits_exact_division=a, logits_polynomial=b)
    return {"description": "float64 forward pass of the exported values", "cases": cases}


def exported(model, own, fitted):
    """How near the polynomials are to the division, on test and on inputs that no data set has."""
    exact = predict(ranges.substitute(model, None), own.inputs["test"])
    approximate = predict(ranges.substitute(model, fitted), own.inputs["test"])
    strange = at_random(own, 2000, torch.Generator().manual_seed(0))
    answers = predict(ranges.substitute(model, fitted), strange).flatten(1)
    finite = answers.isfinite().all(1)
    return {
        "server_parameters": model.server_parameters(),
        "agreement_with_division": float((exact.argmax(-1) == approximate.argmax(-1)).double().mean()),
        "largest_logit_difference": float((exact - approximate).abs().max()),
        "conditions": conditions(ranges.substitute(model, None), own, fitted),
        "strange_inputs": {
            "inputs": len(strange), "outside_range": ranges.outside(model, strange, fitted),
            "not_finite": int((~finite).sum()), "largest_logit": float(answers[finite].abs().max()),
        },
    }


def write_split(own, path):
    """test.tsv of the Rust side, for `evaluate --split`: texts, or pixels; the label, or the token after the text."""
    texts = own.texts.get("test") or (" ".join(map(str, row)) for row in own.inputs["test"].tolist())
    labels = own.labels["test"].view(len(own.labels["test"]), -1)[:, -1].tolist()
    rows = (f"{i}\ttest\t{y}\t{t}\n" for i, (t, y) in enumerate(zip(texts, labels)))
    path.write_text("id\tdomain\tlabel\ttext\n" + "".join(rows), encoding="utf-8")


def write_card(task, name, folder, results):
    write_json(folder / "results.json", results)
    (folder / "README.md").write_text(card(task, name, results), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--cache", type=Path, default=Path(".cache"))
    parser.add_argument("--out", type=Path, help="model folder; without it a folder of that name beside training/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="trains here")
    parser.add_argument("--seconds", type=float, help="of training, all seeds together; schedules that need more are squeezed")
    parser.add_argument("--train-only", type=Path, metavar="FILE", help="trains, and keeps what export needs in this file")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="file", help="only exports, what --train-only kept")
    parser.add_argument("--split", type=Path, help="only writes the test set to this file, for the Rust command evaluate")
    parser.add_argument("--evaluated", type=Path, help="only puts this output of evaluate --json into results.json and the card")
    parser.add_argument("--card", action="store_true", help="only writes the card anew, from results.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    task = TASKS[args.task]
    out = args.out or Path(__file__).resolve().parents[2] / args.task
    if args.card or args.evaluated:
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
        if args.evaluated:
            results["evaluated"] = json.loads(args.evaluated.read_text(encoding="utf-8"))
        return write_card(task, args.task, out, results)
    own = task.data(args.cache)
    if args.split:
        return write_split(own, args.split)
    runs = load(task, own, args.file) if args.file else trained(task, own.to(args.device), args.seeds, args.seconds)
    if args.train_only:
        return save(runs, args.train_only)
    known = own.labels["test"][own.labels["test"] != IGNORED]
    results = {
        "task": args.task, "labels": own.names, "splits": {s: len(v) for s, v in own.labels.items()},
        "majority": float(known.bincount().max() / len(known)),
        "baseline": ngrams(own, task.shape.outputs) if task.shape.next_token else linear(own), "twin": [], "exact": [], "polynomial": [],
        "shape": asdict(task.shape), "schedule": asdict(task.schedule),
    }
    best = None
    for seed, twin, model in runs:
        results["twin"].append({"seed": seed, **twin})
        model, seen, fitted = polynomial(model.cpu(), own, int(task.schedule.odd * len(own.inputs["train"])))
        results["exact"].append({"seed": seed, **quality(model, own)})
        found = {"seed": seed, **quality(ranges.substitute(model, fitted), own),
                 "condition": max(hi / lo for layer in fitted["layers"] for lo, hi in layer["denominator"]),
                 "test_inputs_outside_range": ranges.outside(model, own.inputs["test"], fitted)}
        results["polynomial"].append(found)
        print(results["twin"][-1], results["exact"][-1], found, flush=True)
        if best is None or found["dev"] > best:
            best = found["dev"]
            export(model, own, fitted, seen, out, task.patch)
            results["exported"] = {**found, **exported(model, own, fitted)}
            write_json(out / "golden.json", golden(model, own, fitted))
        write_card(task, args.task, out, results)


if __name__ == "__main__":
    main()
