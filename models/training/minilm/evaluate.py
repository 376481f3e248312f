"""Teacher, student with exact division and roots, and student with the polynomials of `config.json`, in clear.

    python evaluate.py --model ../../minilm [--sts FOLDER]

Held-out sentences: cosine to the teacher. With a folder of STS files (`YEAR_NAME.test.tsv`: score, sentence, sentence):
Spearman correlations of cosines with the human scores, the mean over the files.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import texts
import torch
from bundle import tokenizer
from polynomial_transformers.export import write_json
from polynomial_transformers.registry import minilm
from safetensors.torch import load_file
from scipy.stats import spearmanr
from student import DIM, MiniLM, batch, read_file, tensors


@torch.no_grad()
def embed(model, ids):
    out = torch.zeros(len(ids), DIM)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for at in range(0, len(order), 32):
        rows = order[at : at + 32]
        out[rows] = model(*batch([ids[i] for i in rows]))[0]
    return out


def summary(found, wanted):
    cosines = (found * wanted).sum(1)
    finite = torch.isfinite(found).all(1)
    good = cosines[finite]
    return {
        "texts": len(found),
        "cosine_mean": round(good.mean().item(), 4),
        "cosine_5_percent": round(good.quantile(0.05).item(), 4),
        "cosine_least": round(good.min().item(), 4),
        "below_0.9": int((good < 0.9).sum()),
        "not_finite": int((~finite).sum()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--model", required=True)
    parser.add_argument("--sts")
    args = parser.parse_args()
    folder = minilm(args.cache)
    own = tokenizer(folder)
    teacher = MiniLM(tensors(folder), polynomial=False)
    student = MiniLM(tensors(folder), polynomial=True)
    read_file(student, load_file(Path(args.model) / "model.safetensors"))
    fit = json.loads((Path(args.model) / "config.json").read_text())["fit"]["layers"]

    def embeddings(sentences):
        ids = [e.ids for e in own.encode_batch(sentences)]
        student.fit = None
        exact = embed(student, ids)
        student.fit = fit
        return embed(teacher, ids), exact, embed(student, ids)

    _, held, _, odd = texts.corpus(args.cache)
    results = {}
    for name, sentences in (("held_out", held), ("odd", odd)):
        wanted, exact, found = embeddings(sentences)
        results[name] = {"exact": summary(exact, wanted), "polynomial": summary(found, wanted)}
        print(name, json.dumps(results[name]), flush=True)
    if args.sts:
        rows = {}
        for file in sorted(Path(args.sts).glob("*.test.tsv")):
            lines = [line.split("\t") for line in file.read_text().splitlines()]
            lines = [line for line in lines if len(line) >= 3 and line[0].replace(".", "", 1).isdigit()]
            scores = [float(line[0]) for line in lines]
            left, right = embeddings([line[1] for line in lines]), embeddings([line[2] for line in lines])
            rho = [float(spearmanr(scores, (a * b).sum(1).nan_to_num(0)).statistic) for a, b in zip(left, right)]
            rows[file.name] = {"pairs": len(lines), "teacher": rho[0], "exact": rho[1], "polynomial": rho[2]}
            print(file.name, json.dumps(rows[file.name]), flush=True)
        mean = {k: round(float(np.mean([row[k] for row in rows.values()])), 4) for k in ("teacher", "exact", "polynomial")}
        results["sts_spearman"] = mean | {"files": len(rows), "pairs": sum(row["pairs"] for row in rows.values())}
        print("sts", json.dumps(results["sts_spearman"]))
    write_json(Path(args.model) / "results.json", results)


if __name__ == "__main__":
    main()
