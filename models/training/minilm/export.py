"""Writes the model folder of a student: public files, weights, ranges, a few golden embeddings.

    python export.py --student FOLDER --out ../../minilm
    cargo run --release -p models --bin fit -- models/minilm     # chooses the polynomials for these ranges
"""

import argparse
import shutil
from pathlib import Path

from bundle import tokenizer
from polynomial_transformers.export import write_json, write_tensors
from polynomial_transformers.registry import minilm
from student import DIM, EPSILON, HEADS, HIDDEN, LAYERS, LENGTH, NORM_EPSILON, POWER, MiniLM, batch, restore, rounded, tensors

GOLDEN = [
    "A man is playing a guitar.",
    "Someone plays an instrument",
    "Encrypted data can be computed on without being seen, which is slow but private.",
    "",
    "x = foo(y[i]) + 1;",
    "word " * 200,
]


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
        "margin": 2.0,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", default=".cache")
    parser.add_argument("--student", required=True, help="folder that distill.py wrote")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    folder = minilm(args.cache)
    own = tokenizer(folder)
    student = MiniLM(tensors(folder), polynomial=True).requires_grad_(False)
    restore(student, args.student)
    write_tensors(out / "model.safetensors", rounded(student))
    shutil.copy(Path(args.student) / "ranges.json", out / "ranges.json")
    write_json(out / "config.json", config())
    embedding = student.embedding
    public = {
        "embeddings.word_embeddings.weight": embedding.words.half(),
        "embeddings.position_embeddings.weight": embedding.positions,
        "embeddings.LayerNorm.weight": embedding.gamma,
        "embeddings.LayerNorm.bias": embedding.beta,
    }
    write_tensors(out / "embeddings.safetensors", public)
    own.enable_padding(length=LENGTH)
    own.save(str(out / "tokenizer.json"))
    own.no_padding()
    golden = []
    for text in GOLDEN:
        row = own.encode(text).ids
        found, _ = student.double()(*batch([row]))
        golden.append({"text": text, "input_ids": row, "embedding": found[0].tolist()})
    write_json(out / "golden.json", {"cases": golden})


if __name__ == "__main__":
    main()
