"""Trains a model and its softmax twin over seeds, and writes the model's folder with its card.

Each seed: train with divisions, penalising values that leave a narrow range; see where the values are; put polynomials
in place of the divisions. The folder holds the seed that is best on dev: configuration, weights, embeddings, tokenizer,
ranges.json, golden.json, results.json and README.md.
"""

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
    seen = ranges.to_json(ranges.observe(model, inputs), len(inputs))
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


def golden(model, own, fitted, texts):
    """Inputs and answers; of next tokens, the answer at the last token that is not padding."""
    if own.texts:
        tokenizer = Tokenizer.from_str(own.tokenizer)
        inputs = torch.tensor([e.ids for e in tokenizer.encode_batch(texts)])
        cases = [{"text": text, "input_ids": ids} for text, ids in zip(texts, inputs.tolist())]
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
    sources = own.sources.get("test") or ((i, "test") for i in range(len(labels)))
    rows = (f"{i}\t{domain}\t{y}\t{t}\n" for (i, domain), t, y in zip(sources, texts, labels))
    path.write_text("id\tdomain\tlabel\ttext\n" + "".join(rows), encoding="utf-8")


def write_card(task, name, folder, results):
    write_json(folder / "results.json", results)
    (folder / "README.md").write_text(card(task, name, results), encoding="utf-8")


EXAMPLES = """\
examples, in models/training:
  polynomial-transformers sentiment                          trains three seeds, writes ../sentiment
  polynomial-transformers r8 --seeds 0 --out /tmp/r8          one seed, elsewhere
  polynomial-transformers bible --train-only bible.pt         on a machine with a GPU ..
  polynomial-transformers bible --from bible.pt               .. and the folder on another one
  polynomial-transformers r8 --split r8.tsv                   the test set, for the Rust command evaluate
  polynomial-transformers r8 --evaluated r8.json              what evaluate --json said, into the card

tasks:
"""


def arguments():
    tasks = "".join(f"  {name:10} {task.title}\n" for name, task in TASKS.items())
    parser = argparse.ArgumentParser(
        prog="polynomial-transformers", description=__doc__, epilog=EXAMPLES + tasks, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS, help="which model, see below")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), metavar="FOLDER", help="for downloads [.cache]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="model folder [the one of the task's name beside this folder]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="one training each [0 1 2]")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of PyTorch [1]")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="trains here [a GPU if there is one]")
    parser.add_argument("--seconds", type=float, metavar="S", help="of training, all seeds together; longer schedules are squeezed")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--train-only", type=Path, metavar="FILE", help="trains, and keeps what the export needs in this file")
    only.add_argument("--from", type=Path, metavar="FILE", dest="file", help="only exports what --train-only kept")
    only.add_argument("--split", type=Path, metavar="FILE", help="only writes the test set, for the Rust command evaluate")
    only.add_argument("--evaluated", type=Path, metavar="FILE", help="only puts this output of evaluate --json into results.json and the card")
    only.add_argument("--card", action="store_true", help="only writes the card anew, from results.json")
    return parser.parse_args()


def write_folder(task, name, own, runs, out, cache):
    """The folder of the best of the runs, and the results of all: written anew after each."""
    known = own.labels["test"][own.labels["test"] != IGNORED]
    results = {
        "task": name, "labels": own.names, "splits": {s: len(v) for s, v in own.labels.items()},
        "majority": float(known.bincount().max() / len(known)),
        "baseline": ngrams(own, task.shape.outputs) if task.shape.next_token else linear(own), "twin": [], "exact": [], "polynomial": [],
        "shape": asdict(task.shape), "schedule": asdict(task.schedule),
    }
    odds = int(task.schedule.odd * len(own.inputs["train"])) if task.schedule.odd_fitted else 0
    best = None
    for seed, twin, model in runs:
        results["twin"].append({"seed": seed, **twin})
        model, seen, fitted = polynomial(model.cpu(), own, odds)
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
            write_json(out / "golden.json", golden(model, own, fitted, task.golden))
        write_card(task, name, out, results)
    if task.test_licence:
        write_split(own, out / "test.tsv")
        (out / "DATA_LICENSE").write_text(task.test_licence(cache), encoding="utf-8")


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    task, out = TASKS[args.task], args.out or Path("..") / args.task
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
    write_folder(task, args.task, own, runs, out, args.cache)


if __name__ == "__main__":
    main()
