"""Writes the model folder of a student: public files, weights, ranges on many texts, a few golden embeddings.

    python export.py --student student.pt --out ../../minilm
    cargo run --release -p models --bin fit -- models/minilm     # chooses the polynomials for these ranges
"""

import argparse
import json
import math
from pathlib import Path

import distill
import texts
import torch
from safetensors.torch import save_file
from student import DIM, EPSILON, HEADS, HIDDEN, LAYERS, LENGTH, NORM_EPSILON, POWER, TEACHER_NAMES, MiniLM, batch

GOLDEN = [
    "A man is playing a guitar.",
    "Someone plays an instrument",
    "Encrypted data can be computed on without being seen, which is slow but private.",
    "",
    "x = foo(y[i]) + 1;",
    "word " * 200,
]


class Seen:
    """Largest and smallest values by name; of heads, one each."""

    def __init__(self):
        self.largest, self.smallest = {}, {}

    def __call__(self, name, values, real):
        own = values[real]
        per_head = name.startswith(("denominator", "score"))
        high, low = (own.amax(0), own.amin(0)) if per_head else (own.abs().amax(), own.amin())
        self.largest[name] = torch.maximum(self.largest.get(name, high), high)
        self.smallest[name] = torch.minimum(self.smallest.get(name, low), low)

    def max(self, name):
        return self.largest[name].item()

    def norm(self, i, which):
        name = f"norm{which}_{i}"
        return {
            "variance": [self.smallest[name].item(), self.largest[name].item()],
            "normed_max": self.max(f"normed{which}_{i}"),
        }

    def layer(self, i):
        low, high = self.smallest[f"denominator{i}"], self.largest[f"denominator{i}"]
        return {
            "score_max": self.largest[f"score{i}"].tolist(),
            "denominator": [[a, b] for a, b in zip(low.tolist(), high.tolist())],
            "value_max": self.max(f"value{i}"),
            "attention_max": self.max(f"attention{i}"),
            "residual1_max": self.max(f"residual1_{i}"),
            "norm1": self.norm(i, 1),
            "up_max": self.max(f"up{i}"),
            "residual2_max": self.max(f"residual2_{i}"),
            "norm2": self.norm(i, 2),
        }


@torch.no_grad()
def ranges(student, ids):
    seen = student.watch = Seen()
    order = sorted(ids, key=len)
    for at in range(0, len(order), 32):
        student(*batch(order[at : at + 32]))
    student.watch = None
    return {
        "inputs": len(ids),
        "embedding_max": seen.max("embedding"),
        "layers": [seen.layer(i) for i in range(LAYERS)],
    }


def config():
    return {
        "model_type": "polynomial_transformer",
        "hidden_size": DIM,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": HIDDEN,
        "max_position_embeddings": LENGTH,
        "vocab_size": 30522,
        "pad_token_id": 0,
        "padding": "repeat",
        "layer_norm_eps": 1e-12,
        "plan": {"log_n": 16, "log_slots": 15},
        "norm_position": "post",
        "attention": {"power": POWER, "epsilon": EPSILON, "score_scale": 1 / POWER, "mask": "none"},
        "norm": {"kind": "layer_norm", "epsilon": NORM_EPSILON},
        "activation": {"kind": "quadratic"},
        "head": {"kind": "embedding"},
        "precision_bits": 7,
        "margin": 2.5,
    }


@torch.no_grad()
def weights(student):
    """Half precision; the gains of the heads are in the queries."""
    out = {}
    for i, layer in enumerate(student.layers):
        prefix = f"encoder.layer.{i}."
        gain = layer.gain.flatten().repeat_interleave(DIM // HEADS)
        for own, name in TEACHER_NAMES.items():
            module = getattr(layer, own)
            factor = gain if own == "q" else torch.ones(())
            weight = module.weight * (factor[:, None] if own == "q" else factor)
            out[f"{prefix}{name}.weight"] = weight.half()
            out[f"{prefix}{name}.bias"] = (module.bias * factor).half()
        out[prefix + "attention.self.shift"] = layer.shift.flatten().half()
        for name, row in zip("abc", layer.quadratic):
            # The square is completed: a must not vanish, in half precision either.
            sign = torch.where(row < 0, -1.0, 1.0)
            row = torch.where(row.abs() < 1e-4, 1e-4 * sign, row) if name == "a" else row
            out[f"{prefix}activation.{name}"] = row.half()
    return {name: value.contiguous() for name, value in out.items()}


@torch.no_grad()
def round_weights(student):
    """The student with exactly the numbers of the file, so that ranges and golden values are those of the file."""
    file = weights(student)
    for i, layer in enumerate(student.layers):
        prefix = f"encoder.layer.{i}."
        for own, name in TEACHER_NAMES.items():
            getattr(layer, own).weight.data = file[f"{prefix}{name}.weight"].float()
            getattr(layer, own).bias.data = file[f"{prefix}{name}.bias"].float()
        layer.gain.data.fill_(1)
        layer.shift.data = file[prefix + "attention.self.shift"].float().view(HEADS, 1, 1)
        layer.quadratic.data = torch.stack([file[f"{prefix}activation.{name}"].float() for name in "abc"])
    embedding = student.embedding
    embedding.words = embedding.words.half().float()
    return file


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--student", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--texts", type=int, default=10000, help="sentences of the calibration, odd ones besides")
    args = parser.parse_args()
    torch.set_num_threads(2)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    folder = next(texts.fetch("minilm", args.cache).rglob("tokenizer.json")).parent
    own = distill.tokenizer(folder)
    student = MiniLM(folder, polynomial=True).requires_grad_(False)
    student.load_state_dict(torch.load(args.student, weights_only=True))
    file = round_weights(student)

    train, _, odd, _ = texts.corpus(args.cache)
    ids = [e.ids for e in own.encode_batch(train[: args.texts] + odd[: args.texts // 5])]
    seen = ranges(student, ids)
    (out / "ranges.json").write_text(json.dumps(seen, indent=1) + "\n")
    (out / "config.json").write_text(json.dumps(config(), indent=2) + "\n")
    save_file(file, out / "model.safetensors")
    embedding = student.embedding
    tensors = {
        "embeddings.word_embeddings.weight": embedding.words.half(),
        "embeddings.position_embeddings.weight": embedding.positions,
        "embeddings.LayerNorm.weight": embedding.gamma,
        "embeddings.LayerNorm.bias": embedding.beta,
    }
    save_file({name: value.contiguous() for name, value in tensors.items()}, out / "embeddings.safetensors")
    own.enable_padding(length=LENGTH)
    own.save(str(out / "tokenizer.json"))
    own.no_padding()
    golden = []
    for text in GOLDEN:
        row = own.encode(text).ids
        with torch.no_grad():
            found, _ = student.double()(*batch([row]))
        golden.append({"text": text, "input_ids": row, "embedding": found[0].tolist()})
    (out / "golden.json").write_text(json.dumps({"cases": golden}) + "\n")
    worst = max(b / a for layer in seen["layers"] for a, b in layer["denominator"])
    norms = [layer[n]["variance"] for layer in seen["layers"] for n in ("norm1", "norm2")]
    print(f"{len(ids)} texts; widest denominator {worst:.1f}, widest variance {max(b / a for a, b in norms):.1f}")


if __name__ == "__main__":
    main()
